"""Plans and references, read from what planners and configurations write."""

from dataclasses import replace

import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject
from gateway.patterns.planned.plan import PlanRules, followers, plan_from
from gateway.patterns.shared.references import condition_from, named_in, resolved
from gateway.patterns.shared.views import Sight

RULES = PlanRules(targets=frozenset({"agent:a", "tool:x/y", "workflow:w"}), max_steps=5)


def test_a_plan_is_read_as_it_was_written() -> None:
    plan = plan_from(
        {
            "steps": [
                {"id": "one", "agent": "a", "input": "do it", "reads": ["k"], "optional": True},
                {"id": "two", "tool": "x/y", "input": {"n": 1}, "after": ["one"], "timeout_s": 3},
                {"id": "three", "workflow": "w", "after": ["two"], "output_schema": {"type": "object"}},
            ]
        },
        RULES,
    )
    one, two, three = plan.values()
    assert (one.target, one.input, one.reads, one.optional) == ("agent:a", {"instruction": "do it"}, ("k",), True)
    assert (two.target, two.input, two.after, two.timeout_s) == ("tool:x/y", {"n": 1}, ("one",), 3.0)
    assert (three.target, three.output_schema) == ("workflow:w", {"type": "object"})
    assert followers(plan, {"two"}) == {"two", "three"}
    assert followers(plan, {"one"}) == {"one", "two", "three"}


@pytest.mark.parametrize(
    "text", ['{"steps": [{"id": "s", "agent": "a"}]}', 'So:\n```json\n{"steps": [{"id": "s", "agent": "a"}]}\n```\n']
)
def test_a_plan_in_words_is_found(text: str) -> None:
    assert list(plan_from(text, RULES)) == ["s"]


@pytest.mark.parametrize("value", [None, "no plan", [], {"steps": "s"}, {"steps": [1]}, {"steps": [{"id": "s"}]}])
def test_what_is_no_plan_is_refused(value: Json) -> None:
    with pytest.raises(InvalidRequest):
        plan_from(value, RULES)


KNOWN: dict[str, Json] = {"task": {"order": 7}, "a": {"b": {"c": [1]}}, "t": "text"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("$task.order", 7),
        ("$a.b.c", [1]),
        ("$a.b.c.d", None),
        ("$ghost", None),
        ("$t", "text"),
        ("costs $5", "costs $5"),
        ({"x": ["$task.order", {"y": "$a.b"}]}, {"x": [7, {"y": {"c": [1]}}]}),
        (3, 3),
    ],
)
def test_a_reference_stands_for_what_it_names(value: Json, expected: Json) -> None:
    assert resolved(value, KNOWN) == expected


def test_references_are_found_wherever_they_stand() -> None:
    assert sorted(named_in({"x": ["$one.a", 1, {"y": "$two"}], "z": "$no reference"})) == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("$task.order == 7", True),
        ("$task.order != 7", False),
        ("$task.order >= 7", True),
        ("$task.order < 7", False),
        ("not $task.order > 7", True),
        ('$t == "text"', True),
        ("$t > 3", False),
        ("$ghost.x < 3", False),
        ("$ghost.x == null", True),
    ],
)
def test_a_condition_holds_or_does_not(text: str, holds: bool) -> None:
    assert condition_from(text).holds(KNOWN) is holds


@pytest.mark.parametrize("text", ["", "true", "$a.b is 3", "$a.b == three", "$a. == 3", "not", "$a.b =="])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        condition_from(text)


@pytest.mark.parametrize(
    ("entry", "target"),
    [
        ({"agent": "press"}, "workflow:press"),
        ({"agent": "workflow:press"}, "workflow:press"),
        ({"agent": "agent:reader"}, "agent:reader"),
        ({"agent": "shop/pay"}, "tool:shop/pay"),
        ({"workflow": "reader"}, "agent:reader"),
    ],
)
def test_a_planner_may_name_a_worker_as_it_was_told_of_it_or_by_its_name_alone(entry: JsonObject, target: str) -> None:
    rules = PlanRules(targets=frozenset({"agent:reader", "workflow:press", "tool:shop/pay"}), max_steps=4)
    plan: JsonObject = {"steps": [{"id": "a", **entry, "undo": entry}]}
    step = plan_from(plan, rules)["a"]
    assert (step.target, step.undo) == (target, (target, {}))
    with pytest.raises(InvalidRequest, match="there is only"):
        plan_from({"steps": [{"id": "a", "agent": "stranger"}]}, rules)


def test_a_planner_shows_nobody_more_of_the_task_than_the_workflow_does() -> None:
    steps: Json = {"steps": [{"id": "s", "agent": "a", "task": "full"}]}
    hidden = PlanRules(targets=RULES.targets, max_steps=5, sight=Sight(task="none"))
    assert plan_from(steps, hidden)["s"].sight == Sight(task="none")
    # A plan of the workflow's own says it for itself, and so does a planner where the workflow says nothing.
    assert plan_from(steps, replace(hidden, own=True))["s"].sight == Sight(task="full")
    assert plan_from(steps, RULES)["s"].sight == Sight(task="full")


@pytest.mark.parametrize(
    "schema", [{"properties": {"a": {"pattern": "(a+)+$"}}}, {"allOf": [{"$ref": "#"}]}, {"patternProperties": {}}]
)
def test_a_planner_writes_no_contract_that_takes_forever_to_check(schema: Json) -> None:
    steps: Json = {"steps": [{"id": "s", "agent": "a", "output_schema": schema}]}
    with pytest.raises(InvalidRequest):
        plan_from(steps, RULES)
    assert plan_from(steps, replace(RULES, own=True))["s"].output_schema == schema


def test_steps_of_the_workflows_own_plan_refer_to_the_task_and_to_nothing_else() -> None:
    own = PlanRules(targets=frozenset({"agent:a"}), max_steps=3, own=True)
    plan = plan_from({"steps": [{"id": "one", "agent": "a", "input": {"order": "$task.order"}}]}, own)
    assert plan["one"].refers
    with pytest.raises(InvalidRequest, match="one refers to"):
        plan_from({"steps": [{"id": "one", "agent": "a", "input": {"order": "$two.order"}}]}, own)
    planned = PlanRules(targets=frozenset({"agent:a"}), max_steps=3)
    assert not plan_from({"steps": [{"id": "one", "agent": "a", "input": {"n": "$two.n"}}]}, planned)["one"].refers


@pytest.mark.parametrize(
    ("claims", "allowed", "refusal"),
    [
        (["account:1"], (), "step s claims account:1, and may claim nothing: leave `claims` out"),
        (["account:1", "ship:1"], ("account:*",), "step s claims ship:1, and may claim only account:*"),
        (["account:1"], ("account:2",), "step s claims account:1, and may claim only account:2"),
        (["account:" + "1" * 300], ("account:*",), ""),
        ([f"account:{n}" for n in range(9)], ("account:*",), "step s claims 9 resources, and may at most 8"),
        (["account:1", "account:$task.account"], ("account:*",), None),
        (["account:$task.account"], ("account:$task.account",), None),
        ([], (), None),
    ],
)
def test_a_planner_claims_what_it_may_and_is_told_what_that_is(
    claims: list[Json], allowed: tuple[str, ...], refusal: str | None
) -> None:
    value: Json = {"steps": [{"id": "s", "agent": "a", "claims": claims}]}
    rules = replace(RULES, claims=allowed)
    if refusal is None:
        assert [*plan_from(value, rules)["s"].claims] == claims
        return
    with pytest.raises(InvalidRequest) as raised:
        plan_from(value, rules)
    assert raised.value.message == refusal or not refusal
