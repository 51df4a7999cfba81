"""What a workflow's settings give that its pattern does not read is refused when they are checked, and only then."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject
from gateway.core.ports.orchestration import Outcome, Steps
from gateway.core.task import Task
from gateway.orchestration.orchestrator import check
from gateway.orchestration.settings.doubts import doubts
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.plugins import load_patterns, offered

GOOD: Mapping[str, Mapping[str, Any]] = {
    "canary": {"canary": {"baseline": {"agent": "a"}, "candidate": {"agent": "b"}}},
    "concurrent": {"agents": ["a", "b"]},
    "consensus": {"agents": ["a", "b"], "judge": "j", "consensus": {"rubric": {"sense": {}}}},
    "event_driven": {"agents": ["a"]},
    "mesh": {"agents": ["a", "b"], "mesh": {"entry": "a"}},
    "plan_execute": {"planner": "p", "executor": "a"},
    "reflection": {"agents": ["a"], "critic": "c"},
    "router": {"agents": ["a"], "router": {"otherwise": {"agent": "a"}}},
    "sequential": {"stages": [{"agent": "a"}]},
    "supervisor": {"planner": "p", "agents": ["a"]},
}
BY_RULES: JsonObject = {"rules": [{"agent": "a", "keywords": ["refund"]}]}
ROLES = ("planner", "executor", "synthesiser", "classifier", "judge", "critic", "reconciler", "goal_checker")
READ: Mapping[str, tuple[str, ...]] = {
    "canary": (),
    "concurrent": ("synthesiser", "reconciler", "goal_checker"),
    "consensus": ("judge",),
    "event_driven": ("synthesiser", "goal_checker"),
    "mesh": ("synthesiser",),
    "plan_execute": ("planner", "executor", "synthesiser"),
    "reflection": ("planner", "critic", "goal_checker"),
    "router": ("classifier",),
    "sequential": (),
    "supervisor": ("planner", "critic", "synthesiser"),
}
"""Roles each pattern asks; `executor` of a reflection stands for its worker."""


def checked(pattern: str, settings: Mapping[str, Any]) -> None:
    workflow = WorkflowSettings.model_validate({"pattern": pattern, **settings})
    check(load_patterns([pattern]), {"help": workflow})


def refused(pattern: str, settings: Mapping[str, Any]) -> str:
    """The setting for which it is refused; empty where it is not."""
    try:
        checked(pattern, settings)
    except InvalidRequest as error:
        return str(error.detail.get("setting"))
    return ""


def test_every_pattern_is_held_to_what_it_reads() -> None:
    assert GOOD.keys() == READ.keys() <= {*offered()}
    for pattern, settings in GOOD.items():
        checked(pattern, settings)


@pytest.mark.parametrize("pattern", GOOD)
def test_a_role_a_pattern_never_asks_is_refused(pattern: str) -> None:
    never = [role for role in ROLES if role not in READ[pattern] and (pattern, role) != ("reflection", "executor")]
    assert {role: refused(pattern, {**GOOD[pattern], role: "somebody"}) for role in never} == {
        each: each for each in never
    }
    again = [role for role in READ[pattern] if role not in GOOD[pattern] and role != "planner"]
    assert {role: refused(pattern, {**GOOD[pattern], role: "somebody"}) for role in again} == dict.fromkeys(again, "")


@pytest.mark.parametrize("pattern", GOOD)
def test_the_block_of_another_pattern_and_options_of_plug_ins_are_refused(pattern: str) -> None:
    foreign: dict[str, JsonObject] = {
        "router": {"by_skill": True},
        "sequential": {"batch": {"items": "$task.orders"}},
        "concurrent": {"gather_s": 3},
        "supervisor": {"claims": ["account:1"]},
        "plan_execute": {"bar": 0.3},
        "consensus": {"quorum": 2},
        "mesh": {"hops": 2},
        "reflection": {"threshold": 0.4},
        "event_driven": {"queue": 3},
        "canary": {"share": 0.5},
        "options": {"anything": 1},
    }
    del foreign[pattern]
    got = {name: refused(pattern, {**GOOD[pattern], name: block}) for name, block in foreign.items()}
    assert got == {name: name for name in foreign}


@pytest.mark.parametrize(
    ("pattern", "settings", "setting"),
    [
        ("sequential", {"plan": [{"id": "a", "agent": "a"}]}, "plan"),
        ("supervisor", {"stages": [{"agent": "a"}]}, "stages"),
        ("router", {"propose": True}, "propose"),
        ("mesh", {"tools": ["orders/find"]}, "tools"),
        ("canary", {"fallback": {"a": "c"}}, "fallback"),
        ("canary", {"limits": {"max_rounds": 3}}, "limits"),
        ("canary", {"limits": {"on_failure": "ask"}}, "limits"),
    ],
)
def test_work_and_limits_a_pattern_has_no_use_for_are_refused(
    pattern: str, settings: Mapping[str, Any], setting: str
) -> None:
    assert refused(pattern, {**GOOD[pattern], **settings}) == setting


def test_a_worker_that_is_in_no_stage_is_doubted() -> None:
    stages: list[JsonObject] = [{"agent": "a"}, {"tool": "orders/find"}]
    workflow = WorkflowSettings.model_validate(
        {"pattern": "sequential", "agents": ["a", "b"], "tools": ["orders/find"], "stages": stages}
    )
    assert [*doubts(load_patterns(["sequential"]), {"help": workflow})] == [
        ("help", "b is in no stage, and is never asked")
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, ["no rule sends anything to b, and nothing else could"]),
        ({"classifier": "c"}, []),
        ({"router": {**BY_RULES, "otherwise": {"agent": "b"}}}, []),
        ({"router": {**BY_RULES, "person": "caller"}}, []),
        ({"router": {**BY_RULES, "hand_off": True}}, []),
        ({"router": {**BY_RULES, "by_skill": True}}, []),
    ],
)
def test_a_worker_to_whom_nothing_is_routed_is_doubted(settings: Mapping[str, Any], said: list[str]) -> None:
    given = {"pattern": "router", "agents": ["a", "b"], "router": BY_RULES, **settings}
    found = doubts(load_patterns(["router"]), {"help": WorkflowSettings.model_validate(given)})
    assert [doubt for _, doubt in found] == said


@pytest.mark.parametrize(
    ("pattern", "settings", "setting"),
    [
        ("router", {"agents": ["a"], "router": {}, "classifier": "c", "limits": {"calls": 1}}, "limits"),
        (
            "router",
            {"agents": ["a"], "router": {}, "classifier": {"agent": "c", "timeout_s": 9}, "limits": {"deadline_s": 5}},
            "limits",
        ),
        ("sequential", {"stages": [{"agent": "a", "tokens": 5000}], "limits": {"tokens": 100}}, "stages"),
        ("sequential", {"stages": [{"agent": "a", "cost_usd": 2}], "limits": {"cost_usd": 1}}, "stages"),
        ("canary", {"limits": {"deadline_s": 30, "timeout_s": 31}}, "limits"),
        # What is enough, if only just.
        ("router", {"agents": ["a"], "router": BY_RULES, "classifier": "c", "limits": {"calls": 1}}, ""),
        ("router", {"agents": ["a"], "router": {}, "classifier": {"rule": "words"}, "limits": {"calls": 1}}, ""),
        ("sequential", {"stages": [{"agent": "a", "tokens": 100}], "limits": {"tokens": 100}}, ""),
        ("canary", {"limits": {"deadline_s": 1}}, ""),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(pattern: str, settings: Mapping[str, Any], setting: str) -> None:
    assert refused(pattern, {**GOOD[pattern], **settings}) == setting


@pytest.mark.parametrize("pattern", GOOD)
def test_every_pattern_may_have_a_summariser_and_no_rule_is_one(pattern: str) -> None:
    assert refused(pattern, {**GOOD[pattern], "summariser": "brief"}) == ""
    with pytest.raises(ValidationError, match="no rule summarises"):
        checked(pattern, {**GOOD[pattern], "summariser": {"rule": "nonsense"}})


class Free:
    """A plug-in that does not say what it reads."""

    def __init__(self, settings: JsonObject) -> None:
        assert settings["judge"] == "j"

    async def run(self, task: Task, steps: Steps) -> Outcome:
        return Outcome(text="done")


def test_a_plug_in_that_does_not_say_what_it_reads_may_be_given_anything() -> None:
    workflow = WorkflowSettings.model_validate({"pattern": "free", "judge": "j", "options": {"x": 1}})
    check({"free": Free}, {"help": workflow})


@pytest.mark.parametrize("pattern", GOOD)
def test_a_run_that_began_with_such_settings_can_go_on(pattern: str) -> None:
    """It sets its pattern up by itself, with what it keeps."""
    role = "judge" if "judge" not in READ[pattern] else "critic"
    options: JsonObject = {"plugin": True}
    load_patterns([pattern])[pattern]({**GOOD[pattern], role: "somebody", "options": options})
