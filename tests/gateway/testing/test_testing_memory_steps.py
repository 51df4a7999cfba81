"""`Steps` on a clock of its own: time passes as the script says, and limits hold as in a real run."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json
from gateway.core.labels import Labels
from gateway.core.limits import Budget
from gateway.core.ports.orchestration import Node, Outcome, Question, StepResult, Steps
from gateway.core.task import Task
from gateway.testing.agents import Agent, Asked, Reply, costs, fails, hangs, in_turn, says, takes
from gateway.testing.rehearsal import Rehearsal, Stage, rehearse

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class Doing:
    """A pattern made of one function."""

    act: Callable[[Steps], Awaitable[Json]]

    async def run(self, task: Task, steps: Steps) -> Outcome:
        return Outcome(text="done", value=await self.act(steps))


async def done(act: Callable[[Steps], Awaitable[Json]], stage: Stage) -> Rehearsal:
    return await rehearse(Doing(act), stage)


def node(slug: str, **more: object) -> Node:
    return Node(target=f"agent:{slug}", input={}, **more)  # pyright: ignore[reportArgumentType]


async def test_a_graph_takes_as_long_as_its_longest_way_under_its_limit() -> None:
    agents = {f"agent:{each}": takes(10, says(each)) for each in "abcd"}
    nodes = {"a": node("a"), "b": node("b"), "c": node("c"), "d": node("d", after=("a", "b"))}

    async def graph(steps: Steps, limit: int) -> Json:
        return {name: each.value for name, each in (await steps.graph(nodes, limit=limit)).items()}

    wide = await done(lambda steps: graph(steps, 3), Stage(agents=agents))
    narrow = await done(lambda steps: graph(steps, 1), Stage(agents=agents))
    assert (wide.took_s, narrow.took_s) == (20, 40)
    assert wide.outcome.value == narrow.outcome.value == {each: each for each in "abcd"}


async def test_a_graph_ends_at_its_deadline_with_what_there_is() -> None:
    agents: dict[str, Agent] = {"agent:a": takes(1, says(1)), "agent:b": hangs(), "agent:c": says(3)}
    nodes = {"a": node("a"), "b": node("b"), "c": node("c", after=("b",))}

    async def act(steps: Steps) -> Json:
        results = await steps.graph(nodes, limit=4, deadline_s=5)
        return {name: each.error for name, each in results.items()}

    seen = await done(act, Stage(agents=agents))
    assert seen.outcome.value == {"a": "", "b": "deadline", "c": "skipped"}
    assert seen.took_s == 5


async def test_a_step_that_takes_too_long_is_a_timeout() -> None:
    async def act(steps: Steps) -> Json:
        return (await steps.call(node("a", timeout_s=3))).error

    seen = await done(act, Stage(agents={"agent:a": takes(4, says(1))}))
    assert (seen.outcome.value, seen.took_s) == ("timeout", 3)


async def test_a_target_that_was_not_reached_is_tried_again_and_one_that_failed_is_not() -> None:
    async def act(steps: Steps) -> Json:
        first, second = await steps.call(node("away")), await steps.call(node("bad"))
        return [first.ok, first.attempts, second.ok, second.attempts]

    agents = {"agent:away": in_turn(fails(error="unavailable"), says(1)), "agent:bad": fails()}
    assert (await done(act, Stage(agents=agents))).outcome.value == [True, 2, False, 1]


async def test_another_attempt_at_a_step_keeps_its_id() -> None:
    async def act(steps: Steps) -> Json:
        first = await steps.call(node("a"))
        second = await steps.call(node("a", again=first.id, note="try harder"))
        return [first.id == second.id, first.attempts, second.attempts]

    seen = await done(act, Stage(agents={"agent:a": in_turn(fails(), says(1))}))
    assert seen.outcome.value == [True, 1, 2]
    assert [(asked.attempt, asked.note) for asked in seen.asked] == [(1, ""), (2, "try harder")]


@pytest.mark.parametrize(
    "budget",
    [
        Budget(deadline_s=60, calls=2),
        Budget(deadline_s=60, tokens=200),
        Budget(deadline_s=60, cost_usd=Decimal("0.02")),
    ],
)
async def test_a_budget_stops_further_steps(budget: Budget) -> None:
    async def act(steps: Steps) -> Json:
        return [(await steps.call(node("a"))).error for _ in range(4)]

    agents = {"agent:a": costs(says(1), tokens=100, cost_usd="0.01")}
    assert (await done(act, Stage(agents=agents, budget=budget))).outcome.value == ["", "", "budget", "budget"]


async def test_what_words_the_answer_may_spend_what_was_kept_back() -> None:
    async def act(steps: Steps) -> Json:
        return [(await steps.call(node("a", last=last))).error for last in (False, False, True)]

    agents = {"agent:a": costs(says(1), tokens=95)}
    stage = Stage(agents=agents, budget=Budget(deadline_s=60, tokens=100))
    assert (await done(act, stage)).outcome.value == ["", "budget", ""]


async def test_contracts_are_checked_on_both_sides() -> None:
    contract: dict[str, Json] = {"type": "object", "required": ["n"]}

    async def act(steps: Steps) -> Json:
        given = await steps.call(node("a", input_schema=contract))
        answered = await steps.call(node("a", output_schema=contract))
        return [given.error, answered.error, given.attempts, answered.attempts]

    assert (await done(act, Stage(agents={"agent:a": says({})}))).outcome.value == ["schema", "schema", 0, 1]


async def test_words_that_spell_out_what_a_contract_asks_for_count_as_it() -> None:
    async def act(steps: Steps) -> Json:
        return (await steps.call(node("a", output_schema={"type": "object", "required": ["n"]}))).value

    assert (await done(act, Stage(agents={"agent:a": says('```json\n{"n": 1}\n```')}))).outcome.value == {"n": 1}


async def test_labels_of_everything_handed_over_are_joined() -> None:
    def tainted(asked: Asked) -> Reply:
        return Reply(value=1, labels=Labels(untrusted=frozenset({asked.target})), writes={"k": 1})

    async def act(steps: Steps) -> Json:
        first = await steps.call(node("a", publishes=True))
        second = await steps.call(node("b", given={"first": first}))
        third = await steps.call(node("c", reads=("k",)))
        return [[*sorted(each.labels.untrusted)] for each in (first, second, third)]

    agents = {f"agent:{slug}": tainted for slug in "abc"}
    seen = await done(act, Stage(agents=agents))
    assert seen.outcome.value == [["agent:a"], ["agent:a", "agent:b"], ["agent:a", "agent:c"]]


async def test_a_write_that_was_overtaken_is_a_conflict() -> None:
    async def act(steps: Steps) -> Json:
        await steps.scratchpad.put("k", 0, expected_version=None)
        nodes = {each: node(each, reads=("k",), publishes=True) for each in ("a", "b")}
        return {name: each.error for name, each in (await steps.graph(nodes, limit=2)).items()}

    agents = {"agent:a": takes(1, says(1, writes={"k": 1})), "agent:b": takes(2, says(2, writes={"k": 2}))}
    seen = await done(act, Stage(agents=agents))
    assert seen.outcome.value == {"a": "", "b": "conflict"}
    assert seen.scratchpad == {"k": 1}


async def test_what_another_run_holds_cannot_be_claimed() -> None:
    async def act(steps: Steps) -> Json:
        return [
            await steps.scratchpad.claim("account:1", ttl_s=1),
            await steps.scratchpad.claim("account:2", ttl_s=1),
            (await steps.call(node("a", claims=("account:1",)))).error,
        ]

    stage = Stage(agents={"agent:a": says(1)}, taken=frozenset({"account:1"}))
    assert (await done(act, stage)).outcome.value == [False, True, "conflict"]


async def test_the_next_to_end_comes_first_and_waiting_is_bounded() -> None:
    async def act(steps: Steps) -> Json:
        for name in ("slow", "quick", "quicker"):
            await steps.begin(name, node(name))
        order: list[Json] = []
        while (found := await steps.finished(timeout_s=10)) is not None:
            order.append(found[0])
        stopped = await steps.drop("slow", reason="too slow")
        return [order, stopped.error, await steps.now()]

    agents = {
        "agent:slow": takes(30, says(1)),
        "agent:quick": takes(2, says(1)),
        "agent:quicker": takes(1, says(1)),
    }
    seen = await done(act, Stage(agents=agents))
    assert seen.outcome.value == [["quicker", "quick"], "canceled", 12.0]


async def test_people_answer_in_turn_and_then_not_at_all() -> None:
    async def act(steps: Steps) -> Json:
        first = await steps.ask(Question(prompt="which?"), timeout_s=60)
        second = await steps.ask(Question(prompt="sure?", role="chief"), timeout_s=60)
        return [first.value, second.given]

    seen = await done(act, Stage(agents={}, answers=["this one"]))
    assert seen.outcome.value == ["this one", False]
    assert [question.role for question in seen.questions] == ["", "chief"]


async def test_a_run_that_fails_is_undone_last_first() -> None:
    class Failing:
        async def run(self, task: Task, steps: Steps) -> Outcome:
            steps.compensate("tool:a/undo", {})
            steps.compensate("tool:b/undo", {})
            raise InvalidRequest("no")

    agents = {"tool:a/undo": in_turn(fails(), says(1)), "tool:b/undo": says(1)}
    seen = await rehearse(Failing(), Stage(agents=agents))
    assert seen.outcome.error == "no"
    assert [(each.target, each.ok) for each in seen.undone] == [("tool:b/undo", True), ("tool:a/undo", True)]


async def test_a_graph_that_cannot_be_run_is_refused() -> None:
    async def circle(steps: Steps) -> Json:
        await steps.graph({"a": node("a", after=("b",)), "b": node("b", after=("a",))}, limit=1)
        return None

    seen = await done(circle, Stage(agents={}))
    assert "wait for each other" in seen.outcome.error


async def test_an_agent_nobody_scripted_is_a_failure_that_says_so() -> None:
    async def act(steps: Steps) -> Json:
        result: StepResult = await steps.call(node("nobody"))
        return [result.error, result.reason]

    assert (await done(act, Stage(agents={}))).outcome.value == ["failed", "there is nothing called agent:nobody"]
