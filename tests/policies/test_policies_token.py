"""Calls by token need the scopes that were configured, and a scope alone grants nothing."""

import pytest

from gateway.core.content import plain
from gateway.core.limits import Budget
from gateway.core.model import Capability, Operation, Request, principal
from gateway.core.verdict import Allow, Deny
from policies.token import TokenPolicy

SCOPES = {
    "*": ["use"],
    "tool:orders/refund": ["orders:write", "money"],
    "tag:sensitive": ["trusted"],
    "resource:files/secret:*": ["secrets"],
}
REFUND = Capability(name="tool:orders/refund", kind="tool", owner="orders", local="refund")
LOOKUP = Capability(
    name="tool:orders/lookup", kind="tool", owner="orders", local="lookup", tags=frozenset({"sensitive"})
)
FILES = Capability(name="template:files/{+uri}", kind="template", owner="files", local="{+uri}")


def asked(capability: Capability, *scopes: str, uri: str = "", operation: Operation = "call") -> Request:
    who = principal("corp:ana", scopes=frozenset(scopes))
    return Request(
        id="req_1",
        principal=who,
        capability=capability.name,
        operation=operation,
        budget=Budget(deadline_s=1.0),
        body=plain({"uri": uri}),
    )


@pytest.mark.parametrize(
    ("capability", "scopes", "needed"),
    [
        (REFUND, ("use", "orders:write", "money"), ()),
        (REFUND, ("use", "orders:write"), ("money", "orders:write", "use")),
        (REFUND, (), ("money", "orders:write", "use")),
        (LOOKUP, ("use",), ("trusted", "use")),
        (LOOKUP, ("use", "trusted", "more"), ()),
    ],
)
def test_a_call_needs_every_scope_that_was_configured_for_it(
    capability: Capability, scopes: tuple[str, ...], needed: tuple[str, ...]
) -> None:
    policy = TokenPolicy(SCOPES)
    request = asked(capability, *scopes)

    said = policy.check_request(request, capability)

    assert (said.scopes if isinstance(said, Deny) else ()) == needed
    assert policy.plan(request.principal.agent_class, capability) == ("check" if needed else "skip")
    assert not (isinstance(said, Allow) and said.grant), "a scope is no grant"


def test_who_came_by_a_key_is_none_of_its_business() -> None:
    assert TokenPolicy(SCOPES).plan(principal("ana").agent_class, REFUND) == "skip"


def test_what_needs_a_scope_is_still_listed() -> None:
    """Or nobody would learn of the scope."""
    assert TokenPolicy(SCOPES).plan(principal("a", scopes=frozenset()).agent_class, REFUND) == "check"


def test_a_resource_behind_a_template_is_judged_by_its_own_name() -> None:
    policy = TokenPolicy(SCOPES)

    assert policy.plan(asked(FILES, "use").principal.agent_class, FILES) == "read"
    assert isinstance(policy.check_request(asked(FILES, "use", uri="open:a", operation="read"), FILES), Allow)
    assert isinstance(policy.check_request(asked(FILES, "use", uri="secret:a", operation="read"), FILES), Deny)


def test_what_is_not_listed_needs_the_scopes_of_the_templates_it_may_have_been_made_from() -> None:
    policy = TokenPolicy({"resource:files/note:{id}": ["notes"], "resource:files/note:7": ["seven"]})
    made_from = ("resource:files/{+uri}", "resource:files/note:{id}")
    note = Capability(name="resource:files/note:7", kind="resource", owner="files", local="note:7", made_from=made_from)

    said = policy.check_request(asked(note, operation="read"), note)

    assert isinstance(said, Deny)
    assert said.scopes == ("notes", "seven")


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="tool"):
        TokenPolicy({"tool": ["x"]})
