"""Names as clients see them, and URI templates."""

import string

from hypothesis import given
from hypothesis import strategies as st

from adapters.mcp.names import NAME_LENGTH, exposed_names, guessed_capability
from gateway.core.model import Capability
from tests.fakes_mcp_door import agent, tool, workflow

LEGAL = frozenset(string.ascii_letters + string.digits + "_-")
OWNERS = st.text(alphabet="ab-1", min_size=1, max_size=24)
LOCALS = st.one_of(st.text(alphabet="ab_.-/é", max_size=8), st.text(alphabet="x.", min_size=40, max_size=90), st.text())
OFFERED = st.lists(st.tuples(OWNERS, LOCALS), max_size=12, unique=True)
SCOPES = st.sampled_from(["", "a"])


def capabilities(pairs: list[tuple[str, str]], scope: str) -> list[Capability]:
    """What an endpoint offers: everything, or one owner's."""
    return [tool(local, "a" if scope else owner) for owner, local in pairs]


@given(OFFERED, SCOPES)
def test_every_capability_has_one_legal_name_of_its_own(pairs: list[tuple[str, str]], scope: str) -> None:
    offered = {each.name: each for each in capabilities(pairs, scope)}
    named = exposed_names(offered.values(), scope)
    assert {each.name for each in named.values()} == set(offered)
    assert all(0 < len(name) <= NAME_LENGTH and LEGAL.issuperset(name) for name in named)


@given(OFFERED, SCOPES, st.randoms())
def test_names_do_not_depend_on_the_order_of_the_list(pairs: list[tuple[str, str]], scope: str, luck: object) -> None:
    offered = list({each.name: each for each in capabilities(pairs, scope)}.values())
    shuffled = sorted(offered, key=lambda each: hash((each.name, id(luck))))
    assert exposed_names(offered, scope) == exposed_names(shuffled, scope)


@given(OFFERED)
def test_a_name_that_needs_no_change_keeps_it_and_leads_back(pairs: list[tuple[str, str]]) -> None:
    for exposed, capability in exposed_names(capabilities(pairs, ""), "").items():
        if exposed == f"{capability.owner}__{capability.local}":
            assert guessed_capability(exposed, "", "tool") == capability.name


def test_agents_and_workflows_have_shelves_of_their_own() -> None:
    offered = [tool("refund"), agent("refunds"), workflow("support")]
    assert {name: each.name for name, each in exposed_names(offered, "").items()} == {
        "orders__refund": "tool:orders/refund",
        "agents__refunds": "agent:refunds",
        "workflows__support": "workflow:support",
    }
    assert set(exposed_names([agent("refunds")], "agents")) == {"refunds"}
    assert guessed_capability("agents__refunds", "", "tool") == "agent:refunds"
    assert guessed_capability("refunds", "agents", "tool") == "agent:refunds"
    assert guessed_capability("support", "workflows", "tool") == "workflow:support"
    assert guessed_capability("refund", "orders", "tool") == "tool:orders/refund"
    assert guessed_capability("nope", "", "tool") == "tool:nope"


def test_the_one_that_was_altered_gives_way_to_the_one_that_was_not() -> None:
    named = exposed_names([tool("a.b"), tool("a_b")], "")
    assert named["orders__a_b"].local == "a_b"
    (other,) = set(named) - {"orders__a_b"}
    assert other.startswith("orders__a_b_") and len(other) == len("orders__a_b_") + 8
