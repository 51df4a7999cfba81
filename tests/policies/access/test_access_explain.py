"""Explanations: which rule, which line, and what would turn the decision round."""

from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from gateway.core.json import Json, JsonObject
from gateway.core.model import Capability, principal
from policies.access.explain import Explanation, capability_named, explain
from policies.access.policy import AccessPolicy
from policies.access.settings import RoleSettings

ROLES: TypeAdapter[dict[str, RoleSettings]] = TypeAdapter(dict[str, RoleSettings])
LINES = {
    "roles.support.allow": 10,
    "roles.support.allow[0]": 11,
    "roles.support.allow[1]": 12,
    "roles.support.deny": 20,
    "roles.support.deny[0]": 21,
    "workflows.help.agents": 30,
}


def told(
    roles: JsonObject,
    name: str | Capability,
    arguments: Json = None,
    *,
    having: tuple[str, ...] = ("support",),
    raw_cedar: str = "",
) -> Explanation:
    policy = AccessPolicy(
        roles=ROLES.validate_python(roles),
        lines=lambda path: LINES.get(path, 0),
        grants={"workflow:help": ["agent:refunds"]},
        raw_cedar=raw_cedar,
    )
    return explain(policy, principal("ana", roles=frozenset(having)).agent_class, name, arguments)


def outcomes(said: Explanation) -> list[tuple[str, str]]:
    return [(match.rule, match.outcome) for match in said.matches]


def test_an_allow_names_its_rule_its_line_and_how_to_take_it_away() -> None:
    said = told({"support": {"allow": ["agent:*", "tool:orders/*"]}}, "tool:orders/refund")

    assert (said.decision, said.rule, said.line) == ("allow", "support.allow[1]", 12)
    assert said.change == ('add "tool:orders/refund" to roles.support.deny (line 20)',)
    assert outcomes(said) == [("support.allow[1]", "applies")]
    assert said.notes == ()


def test_a_missing_grant_names_the_line_to_add() -> None:
    said = told({"support": {"allow": ["agent:*"]}}, "tool:orders/refund")

    assert (said.decision, said.rule, said.line) == ("deny", "no-grant", 0)
    assert said.change == ('add "tool:orders/refund" to roles.support.allow (line 10)',)


def test_a_caller_without_roles_is_told_to_get_one() -> None:
    said = told({}, "tool:orders/refund", having=())

    assert said.change == ('give it a role, and write in roles: `ROLE: {allow: ["tool:orders/refund"]}`',)


def test_a_workflow_is_told_to_name_its_target() -> None:
    said = told({}, "agent:triage", having=("workflow:help",))
    other = told({}, "resource:docs/x", having=("workflow:help",))

    assert said.change == ("add 'triage' to workflows.help.agents (line 30)",)
    assert other.change == ("add 'docs/x' to workflows.help.tools",)
    assert told({}, "agent:refunds", having=("workflow:help",)).change == ()


def test_a_deny_has_to_go_and_a_grant_to_come() -> None:
    said = told({"support": {"deny": ["tool:orders/*"]}}, "tool:orders/refund")

    assert (said.decision, said.rule, said.line) == ("deny", "support.deny[0]", 21)
    assert said.change == (
        "remove or narrow roles.support.deny[0] (line 21): tool:orders/*",
        'add "tool:orders/refund" to roles.support.allow (line 10)',
    )


CONDITIONAL: JsonObject = {
    "support": {
        "allow": [{"call": "tool:orders/*", "when": "args.amount <= 100"}],
        "deny": [{"call": "tool:orders/*", "when": "args.vip == true"}],
    }
}


def test_without_arguments_it_depends_on_them() -> None:
    said = told(CONDITIONAL, "tool:orders/refund")

    assert (said.decision, said.rule, said.reason) == ("depends", "", "it depends on the arguments")
    assert outcomes(said) == [("support.allow[0]", "needs arguments"), ("support.deny[0]", "needs arguments")]


@pytest.mark.parametrize(
    ("arguments", "decision", "expected", "first_change"),
    [
        ({"amount": 5, "vip": False}, "allow", ["applies", "does not apply"], "add"),
        ({"amount": 500, "vip": False}, "deny", ["does not apply", "does not apply"], "call with arguments for which"),
        (
            {"amount": 5, "vip": True},
            "deny",
            ["applies", "applies"],
            "remove or narrow roles.support.deny[0] (line 21)",
        ),
        ({"amount": 5}, "deny", ["applies", "undecided"], "remove or narrow roles.support.deny[0] (line 21)"),
        ({"vip": False}, "deny", ["undecided", "does not apply"], "call with arguments for which args.amount <= 100"),
    ],
)
def test_conditions_are_told_one_by_one(arguments: Json, decision: str, expected: list[str], first_change: str) -> None:
    said = told(CONDITIONAL, "tool:orders/refund", arguments)

    assert said.decision == decision
    assert [match.outcome for match in said.matches] == expected
    assert said.change[0].startswith(first_change)
    notes = [match.note for match in said.matches if match.outcome == "undecided"]
    assert all(note.endswith("is missing") for note in notes)


def test_rules_without_condition_apply_beside_those_with_one() -> None:
    roles: JsonObject = {
        "support": {"allow": ["*"], "deny": [{"call": "tool:orders/*", "when": "args.vip == true"}]},
    }

    said = told(roles, "tool:orders/refund", {"vip": True})

    assert outcomes(said) == [("support.allow[0]", "applies"), ("support.deny[0]", "applies")]
    assert said.change == ("remove or narrow roles.support.deny[0] (line 21): tool:orders/* when args.vip == true",)


def test_a_name_without_its_server_leaves_tags_open() -> None:
    by_allow = told({"support": {"allow": ["tag:read"]}}, "tool:orders/find")
    by_deny = told({"support": {"allow": ["*"], "deny": ["tag:pay"]}}, "tool:orders/find")
    anyway = told({"support": {"allow": ["*", "tag:read"]}}, "tool:orders/find")
    denied = told({"support": {"allow": ["tag:read"], "deny": ["tool:*"]}}, "tool:orders/find")

    assert (by_allow.decision, by_allow.reason) == ("depends", "it depends on the tags of the target")
    assert outcomes(by_allow) == [("support.allow[0]", "needs tags")]
    assert by_deny.decision == "depends"
    assert (anyway.decision, denied.decision) == ("allow", "deny")
    assert "support.allow[0]" in by_allow.notes[0]


def test_a_capability_at_hand_has_its_tags() -> None:
    tagged = Capability(name="tool:orders/x", kind="tool", owner="orders", local="x", tags=frozenset({"read"}))

    said = told({"support": {"allow": ["tag:read"]}}, tagged)

    assert (said.decision, said.rule, said.notes) == ("allow", "support.allow[0]", ())


def test_a_role_nobody_wrote_is_noted() -> None:
    said = told({}, "tool:orders/x", having=("suport",))

    assert said.notes == ("there is no role 'suport' in the configuration",)


def test_a_template_is_explained_by_the_resource_asked_for() -> None:
    roles: JsonObject = {"support": {"allow": ["resource:docs/file:///public/*"]}}

    assert told(roles, "template:docs/file:///{path}").decision == "depends"
    assert told(roles, "template:docs/file:///{path}", {"uri": "file:///public/a"}).decision == "allow"
    assert told(roles, "template:docs/file:///{path}", {"uri": "file:///x"}).decision == "deny"


def test_another_tenants_capability_is_denied() -> None:
    foreign = replace(capability_named("tool:orders/x", "acme"), tags=frozenset({"read"}))

    assert told({"support": {"allow": ["*"]}}, foreign).rule == "other-tenant"


def test_cedar_written_by_hand_is_named_and_noted() -> None:
    said = told(
        {"support": {"allow": ["*"]}},
        "tool:orders/x",
        {},
        raw_cedar='@id("p") forbid(principal, action, resource) when { context.phase == "" };',
    )

    assert (said.decision, said.rule, said.line) == ("deny", "cedar.p", 0)
    assert len(said.notes) == 1


@pytest.mark.parametrize(
    "name", ["refund", "orders/refund", "tool:orders", "tol:orders/x", "tag:read", "*", "agent:a/b"]
)
def test_what_names_no_capability_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"write|there are|names"):
        told({}, name)


def test_an_explanation_is_json() -> None:
    said = told(CONDITIONAL, "tool:orders/refund").to_json()

    assert said["decision"] == "depends"
    assert said["matches"] == [
        {
            "rule": "support.allow[0]",
            "effect": "allow",
            "outcome": "needs arguments",
            "pattern": "tool:orders/*",
            "when": "args.amount <= 100",
            "via": "own",
            "path": "roles.support.allow[0]",
            "line": 11,
            "note": "",
        },
        {
            "rule": "support.deny[0]",
            "effect": "deny",
            "outcome": "needs arguments",
            "pattern": "tool:orders/*",
            "when": "args.vip == true",
            "via": "own",
            "path": "roles.support.deny[0]",
            "line": 21,
            "note": "",
        },
    ]
