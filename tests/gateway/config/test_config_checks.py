"""What only shows across sections."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from gateway.config.checks import ROLES, standard_checks
from gateway.config.load import parse
from gateway.config.problems import ConfigurationError, Problem
from gateway.orchestration.settings import workflow


class Part(BaseModel):
    """Every field any check looks at, as the real sections call them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    roles: tuple[str, ...] = ()
    key: str = ""
    agents: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    workflows: tuple[str, ...] = ()
    planner: str = ""
    synthesiser: str = ""
    fallback: dict[str, str] = Field(default_factory=dict[str, str])
    scratchpad: dict[str, "Key"] = Field(default_factory=dict[str, "Key"])
    router: "Router | None" = None
    stages: tuple["Step", ...] = ()
    plan: tuple["Step", ...] = ()


class Key(BaseModel):
    writers: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()


class Router(BaseModel):
    person: str = ""


class Approve(BaseModel):
    role: str = ""


class Step(BaseModel):
    agent: str = ""
    tool: str = ""
    workflow: str = ""
    undo: "Step | None" = None
    approve: Approve | None = None


class Charged(BaseModel):
    agents: dict[str, int] = Field(default_factory=dict[str, int])
    tools: dict[str, int] = Field(default_factory=dict[str, int])


class Set(BaseModel):
    tools: dict[str, Step] = Field(default_factory=dict[str, Step])


class Entry(BaseModel):
    call: str = ""
    tag: str = ""


class Role(BaseModel):
    allow: tuple[str | Entry, ...] = ()
    deny: tuple[str | Entry, ...] = ()


SECTIONS = {
    **dict.fromkeys(("servers", "agents", "workflows", "principals"), dict[str, Part]),
    "roles": dict[str, Role],
    "sets": dict[str, Set],
    "budgets": Charged,
    "prices": Charged,
}
REGISTERED: Mapping[str, list[str]] = {"agents": ["foreign"]}


def problems(text: str) -> list[Problem]:
    text = text if "principals" in text else f"{text}\nprincipals: {{ana: {{}}}}"
    try:
        return list(parse(text, SECTIONS, source=Path("g"), checks=standard_checks(REGISTERED)).warnings)
    except ConfigurationError as refused:
        return list(refused.problems)


GOOD = """\
servers: {orders: {}}
agents: {refunds: {roles: [r]}, triage: {}}
workflows:
  help:
    agents: [refunds, foreign]
    tools: [orders/find]
    workflows: [other]
    planner: triage
    synthesiser: triage
    fallback: {refunds: foreign}
    stages: [{agent: refunds, undo: {tool: orders/undo}}, {workflow: other}]
    plan: [{tool: orders/x}]
  other: {}
roles:
  r: {allow: ["tool:orders/*", "tool:ord*/x", "agent:foreign", "tool:run/*", "*:orders/*", "tag:x", "*", {tag: y}]}
principals: {ana: {roles: [r]}}
sets: {desk: {tools: {a: {tool: orders/set}, b: {agent: foreign}, c: {workflow:  help}}}}
"""
NAMED = """\
servers: {orders: {}}
agents: {refunds: {}, triage: {}}
workflows:
  help:
    fallback: {refunds: foreign, orders/look: orders/seek}
    scratchpad: {price: {writers: [refunds, orders/find], readers: [triage, help]}}
    router: {person: lead}
    stages: [{agent: refunds}, {agent: refunds, approve: {role: lead}}]
roles: {lead: {}}
principals: {ana: {}}
budgets: {agents: {refunds: 1}}
prices: {agents: {triage: 1}, tools: {orders/find: 1}}
"""


@pytest.mark.parametrize("text", [GOOD, NAMED, NAMED.replace("person: lead", "person: caller")])
def test_what_fits_together_is_left_alone(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("old", "new", "severity", "path", "suggestion"),
    [
        ("fallback: {refunds", "fallback: {refund", "error", "workflows.help.fallback.refund", "refunds"),
        ("orders/look", "oders/look", "error", 'workflows.help.fallback["oders/look"]', "orders"),
        ("orders/seek", "oders/seek", "error", 'workflows.help.fallback["orders/look"]', "orders"),
        ("[refunds, ord", "[refnds, ord", "error", "workflows.help.scratchpad.price.writers[0]", "refunds"),
        ("orders/find], ", "oders/find], ", "error", "workflows.help.scratchpad.price.writers[1]", ""),
        ("[triage, help]", "[triage, hlp]", "error", "workflows.help.scratchpad.price.readers[1]", "help"),
        ("person: lead", "person: laed", "warning", "workflows.help.router.person", "lead"),
        ("role: lead", "role: leads", "warning", "workflows.help.stages[1].approve.role", "lead"),
        ("{refunds: 1}", "{refnds: 1}", "warning", "budgets.agents.refnds", "refunds"),
        ("{triage: 1}", "{trige: 1}", "warning", "prices.agents.trige", "triage"),
        ("{orders/find: 1}", "{order/find: 1}", "warning", 'prices.tools["order/find"]', "orders"),
    ],
)
def test_a_name_of_nobody_is_found_with_what_was_meant(
    old: str, new: str, severity: str, path: str, suggestion: str
) -> None:
    (problem,) = problems(NAMED.replace(old, new, 1))

    assert (problem.severity, problem.path, problem.suggestion) == (severity, path, suggestion)


@pytest.mark.parametrize(
    ("old", "new", "path", "line", "suggestion"),
    [
        ("triage: {}}", "triage: {}, orders: {}}", "agents.orders", 2, ""),
        ("servers: {orders", "servers: {foreign: {}, orders", "servers.foreign", 1, ""),
        ("orders/set", "order/set", "sets.desk.tools.a.tool", 17, "orders"),
        ("b: {agent: foreign}", "b: {agent: triag}", "sets.desk.tools.b.agent", 17, "triage"),
        ("workflow:  help", "workflow: none", "sets.desk.tools.c.workflow", 17, ""),
        ("sets: {desk", "sets: {'a/b': {}, desk", 'sets["a/b"]', 17, ""),
        ("servers: {orders", "servers: {Big: {}, orders", "servers.Big", 1, ""),
        ("servers: {orders", "servers: {run: {}, orders", "servers.run", 1, ""),
        ("servers: {orders", f"servers: {{{'x' * 25}: {{}}, orders", f"servers.{'x' * 25}", 1, ""),
        ("roles: [r]}}", "roles: [support]}}", "principals.ana.roles[0]", 16, ""),
        ("refunds: {roles: [r]}", "refunds: {roles: [r, rr]}", "agents.refunds.roles[1]", 2, "r"),
        ("{ana:", "{'a b':", 'principals["a b"]', 16, ""),
        ("[refunds, foreign]", "[refund, foreign]", "workflows.help.agents[0]", 5, "refunds"),
        ("tools: [orders/find]", "tools: [oders/find]", "workflows.help.tools[0]", 6, "orders"),
        ("tools: [orders/find]", "tools: [orders]", "workflows.help.tools[0]", 6, ""),
        ("workflows: [other]", "workflows: [othr]", "workflows.help.workflows[0]", 7, "other"),
        ("planner: triage", "planner: trige", "workflows.help.planner", 8, "triage"),
        ("synthesiser: triage", "synthesiser: nobody", "workflows.help.synthesiser", 9, ""),
        ("refunds: foreign", "refunds: forein", "workflows.help.fallback.refunds", 10, "foreign"),
        ("{agent: refunds,", "{agent: refnds,", "workflows.help.stages[0].agent", 11, "refunds"),
        ("orders/undo", "order/undo", "workflows.help.stages[0].undo.tool", 11, "orders"),
        ("{workflow: other}", "{workflow: oher}", "workflows.help.stages[1].workflow", 11, "other"),
        ("tool: orders/x", "tool: ordrs/x", "workflows.help.plan[0].tool", 12, "orders"),
    ],
)
def test_what_leads_nowhere_is_an_error_at_its_place(old: str, new: str, path: str, line: int, suggestion: str) -> None:
    (problem,) = problems(GOOD.replace(old, new))

    assert (problem.severity, problem.path, problem.line, problem.suggestion) == ("error", path, line, suggestion)


@pytest.mark.parametrize(
    ("pattern", "suggestion"),
    [
        ("tool:oders/*", "orders"),
        ("agent:refund", "refunds"),
        ("tool:x*/y", ""),
        ("*:mail/*", ""),
        ("workflow:hlp", "help"),
    ],
)
@pytest.mark.parametrize("written", ['"{}"', '{{call: "{}"}}'])
def test_a_pattern_nothing_can_match_is_a_warning(pattern: str, written: str, suggestion: str) -> None:
    (problem,) = problems(GOOD.replace('"tool:orders/*"', written.format(pattern), 1))

    assert (problem.severity, problem.path, problem.line) == ("warning", "roles.r.allow[0]", 15)
    assert problem.suggestion == suggestion


def test_a_name_taken_twice_says_where_it_was_first() -> None:
    (problem,) = problems(GOOD.replace("  other: {}", "  other: {}\n  refunds: {}"))

    assert "agents.refunds in line 2" in problem.message


def test_without_a_principal_there_is_a_warning() -> None:
    (problem,) = problems("principals: {}")

    assert (problem.severity, problem.path) == ("warning", "principals")


def test_sections_that_are_not_there_are_not_missed() -> None:
    configuration = parse("", {"principals": dict[str, Part]}, checks=standard_checks())

    assert [problem.path for problem in configuration.warnings] == ["principals"]


def test_the_roles_that_are_looked_at_are_those_a_workflow_has() -> None:
    assert workflow.ROLES == ROLES


def test_nobody_has_the_key_of_somebody_else() -> None:
    found = problems(
        "agents: {a: {key: env:K}, b: {}}\nprincipals: {ana: {key: env:K}, bo: {key: file:bo.key}, carl: {}}"
    )
    assert [(each.path, each.message) for each in found] == [
        ("agents.a.key", "principals.ana.key is the same, and a key says who calls")
    ]
