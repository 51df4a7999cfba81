"""Runs made from runs: what was done before a step is taken over, the rest is done anew."""

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from adapters.system import SystemClock
from gateway.core.errors import Conflict, Exhausted, NotFound
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.limits import Usage
from gateway.core.model import Complete
from gateway.core.ports.orchestration import Node, Outcome, Steps
from gateway.core.ports.runs import Run
from gateway.core.task import Task
from gateway.orchestration.orchestrator import Orchestrator
from gateway.testing.stores.runs import MemoryRuns
from tests.crashes import Scene
from tests.fakes_orchestration import Answering, Asked, World, answer, failing, says

pytestmark = pytest.mark.anyio

STAGES: Mapping[str, Any] = {
    "pattern": "sequential",
    "stages": [{"agent": "a"}, {"tool": "orders/find", "input": {"n": "$a.n"}}, {"agent": "c"}],
}


SLOW: Mapping[str, Any] = {"pattern": "sequential", "stages": [{"agent": "slow"}]}
CLAIMING: Mapping[str, Any] = {
    "pattern": "sequential",
    "stages": [{"agent": "a", "claims": ["account:1"]}, {"agent": "c"}],
}


async def never(asked: Asked) -> Json:
    await anyio.sleep_forever()


def counting() -> Mapping[str, Answering]:
    """Everybody answers how often they were asked for something new."""
    asked: dict[str, int] = {}

    async def count(each: Asked) -> Json:
        asked[each.target] = asked.get(each.target, 0) + 1
        return {"n": asked[each.target]}

    return {name: count for name in ("agent:a", "agent:b", "agent:c", "tool:orders/find")}


async def ended(around: World, run: Run) -> Run:
    with anyio.fail_after(30):
        while not (latest := around.runs.runs[run.id]).output:
            await around.runs.wait_events(run.id, len(around.runs.log[run.id]), 0.05)
    return latest


async def first_run(around: World) -> Run:
    result = await around.ask("go", meta={"message_id": "m"})
    assert isinstance(result, Complete)
    [run] = around.runs.runs.values()
    return run


def structured(run: Run) -> JsonObject:
    return json_object(json_object(json_object(run.output).get("content")).get("structured"))


def ids(run: Run) -> list[Json]:
    return [json_object(step)["id"] for step in json_list(structured(run)["steps"])]


async def forked(orchestrator: Orchestrator, around: World, run: Run, step: str) -> Run:
    return await ended(around, await orchestrator.control.fork(run.id, step))


async def test_a_fork_takes_over_what_was_done_and_does_the_rest_under_ids_of_its_own() -> None:
    around = Scene(settings=STAGES, agents=counting).world()
    async with around.up() as (orchestrator, _):
        run = await first_run(around)
        fork = await forked(orchestrator, around, run, "2")
    assert ids(run) == [f"{run.id}/1", f"{run.id}/2", f"{run.id}/3"]
    assert ids(fork) == [f"{run.id}/1", f"{fork.id}/2", f"{fork.id}/3"]
    assert [asked.target for asked in around.agents.asked] == [
        *("agent:a", "tool:orders/find", "agent:c"),
        *("tool:orders/find", "agent:c"),
    ]
    keys = [asked.request.idempotency_key for asked in around.agents.asked_of("tool:orders/find")]
    assert keys == [f"{run.id}/2", f"{fork.id}/2"]
    assert (fork.spec["origin"], fork.spec["origin_step"]) == (run.id, f"{run.id}/2")
    assert (fork.owner, fork.input, fork.spec["settings"]) == (run.owner, run.input, run.spec["settings"])
    [said, *_] = around.runs.log[fork.id].values()
    assert said.body["detail"] == {"event": "forked", "run": run.id, "step": f"{run.id}/2"}
    assert {(step.id, step.state) for step in await around.runs.steps(fork.id)} == {(each, "ok") for each in ids(fork)}


async def test_a_fork_says_of_each_stage_what_it_took_over() -> None:
    async def costly(asked: Asked) -> Complete:
        return answer({}, usage=Usage(tokens=5))

    agents = {name: costly for name in ("agent:a", "tool:orders/find", "agent:c")}
    stages = [{"agent": "a"}, {"agent": "c"}]
    around = Scene(settings={"pattern": "sequential", "stages": stages}, agents=lambda: agents).world()
    async with around.up() as (orchestrator, _):
        run = await first_run(around)
        fork = await forked(orchestrator, around, run, "2")
    used: JsonObject = {"attempts": 1, "tokens": 5, "cost_usd": "0"}
    assert json_object(structured(run)["why"]) == {"stages": {"a": used, "c": used}}
    assert json_object(structured(fork)["why"]) == {"stages": {"a": {**used, "taken_over": used}, "c": used}}


async def test_a_fork_of_a_fork_takes_over_from_both() -> None:
    around = Scene(settings=STAGES, agents=counting).world()
    async with around.up() as (orchestrator, _):
        run = await first_run(around)
        fork = await forked(orchestrator, around, run, f"{run.id}/2")
        again = await forked(orchestrator, around, fork, "3")
    assert ids(again) == [f"{run.id}/1", f"{fork.id}/2", f"{again.id}/3"]
    assert len(around.agents.asked_of("agent:a")) == 1
    assert len(around.agents.asked_of("tool:orders/find")) == 2


async def test_of_steps_drawn_together_those_that_did_not_need_the_step_are_taken_over() -> None:
    class Together:
        def __init__(self, settings: JsonObject) -> None:
            pass

        async def run(self, task: Task, steps: Steps) -> Outcome:
            nodes = {
                "a": Node(target="agent:a", input={}),
                "b": Node(target="agent:b", input={}),
                "c": Node(target="agent:c", input={}, after=("a",)),
            }
            results = await steps.graph(nodes, limit=1)
            return Outcome(text="done", value={name: result.value for name, result in results.items()})

    scene = Scene(settings={"pattern": "p"}, patterns={"p": Together}, agents=counting)
    around = scene.world()
    async with around.up() as (orchestrator, _):
        run = await first_run(around)
        fork = await forked(orchestrator, around, run, "1/a")
    assert sorted(map(str, ids(fork))) == sorted([f"{fork.id}/1/a", f"{run.id}/1/b", f"{fork.id}/1/c"])
    assert structured(fork)["answer"] == {"a": {"n": 2}, "b": {"n": 1}, "c": {"n": 2}}


async def test_a_fork_has_the_scratchpad_and_the_claims_its_step_began_with() -> None:
    class Writing:
        def __init__(self, settings: JsonObject) -> None:
            pass

        async def run(self, task: Task, steps: Steps) -> Outcome:
            pad = steps.scratchpad
            await pad.claim("account:1", ttl_s=60)
            await pad.claim("account:2", ttl_s=60)
            await pad.release("account:2")
            await pad.put("key", "first", expected_version=0)
            await steps.call(Node(target="agent:writes", input={}, publishes=True, reads=("pub",)))
            await pad.put("key", "second", expected_version=1)
            seen = [[each.key, each.value, each.version] for each in (await pad.all()).values()]
            await steps.call(Node(target="agent:a", input={}, reads=("key",)))
            await pad.put("key", "third", expected_version=2)
            await pad.put("late", 1, expected_version=0)
            return Outcome(text="done", value=[*seen])

    scene = Scene(
        settings={"pattern": "p"},
        patterns={"p": Writing},
        agents=lambda: {**counting(), "agent:writes": says({}, writes={"pub": 1})},
    )
    around = scene.world()
    async with around.up() as (orchestrator, _):
        run = await first_run(around)
        [*_, step] = ids(run)
        handed = around.agents.asked_of("agent:a")[0].member["scratchpad"]
        entries = {entry.key: entry.value for entry in (await around.scratch.all(run.id)).values()}
        fork = await orchestrator.control.fork(run.id, str(step))
        claims = dict(around.scratch.claims)
        fork = await ended(around, fork)
    assert entries == {"key": "third", "late": 1, "pub": 1}
    assert around.agents.asked_of("agent:a")[1].member["scratchpad"] == handed
    assert structured(fork)["answer"] == structured(run)["answer"]
    assert {entry.key: entry.version for entry in (await around.scratch.all(fork.id)).values()} == {
        **{"key": 3, "late": 1, "pub": 1}
    }
    assert {place: held.job for place, held in claims.items()} == {("default", "account:1"): fork.id}
    assert around.scratch.claims == {}


async def test_what_another_run_has_claimed_meanwhile_is_not_taken_over() -> None:
    class Claiming:
        def __init__(self, settings: JsonObject) -> None:
            pass

        async def run(self, task: Task, steps: Steps) -> Outcome:
            await steps.scratchpad.claim("account:1", ttl_s=60)
            return Outcome(text="done", value=(await steps.call(Node(target="agent:a", input={}))).value)

    around = Scene(settings={"pattern": "p"}, patterns={"p": Claiming}, agents=counting).world()
    async with around.up() as (orchestrator, _):
        run = await first_run(around)
        await around.scratch.claim("default", "another", "account:1", until_us=2**60, now_us=0)
        with pytest.raises(Conflict):
            await orchestrator.control.fork(run.id, "2")
        assert list(around.runs.runs) == [run.id]


async def test_a_fork_outlives_a_crash_as_any_run_does() -> None:
    around = Scene(settings=STAGES, agents=counting).world()
    async with around.up() as (_, _):
        run = await first_run(around)
    async with around.up(on_slot=lambda run_id, number, where: (number, where) == (2, "unrecorded")) as (up, journal):
        fork = await up.control.fork(run.id, "2")
        await journal.crashed.wait()
    async with around.up():
        fork = await ended(around, fork)
    assert ids(fork) == [f"{run.id}/1", f"{fork.id}/2", f"{fork.id}/3"]
    assert len(around.agents.asked_of("tool:orders/find")) == 2


async def test_nothing_is_taken_over_from_a_run_under_way_undone_or_without_the_step() -> None:
    settings = {
        "pattern": "sequential",
        "stages": [{"agent": "a", "undo": {"tool": "undo/a"}}, {"agent": "bad"}],
    }
    reached, go_on = anyio.Event(), anyio.Event()

    async def bad(asked: Asked) -> Complete:
        reached.set()
        await go_on.wait()
        return failing("no")

    scene = Scene(settings=settings, agents=lambda: {**counting(), "agent:bad": bad, "tool:undo/a": says({})})
    around = scene.world()
    async with around.up() as (orchestrator, _):
        await around.ask("go", meta={"return_immediately": True})
        await reached.wait()
        [run] = around.runs.runs.values()
        with pytest.raises(Conflict):
            await orchestrator.control.fork(run.id, "1")
        go_on.set()
        await ended(around, run)
        with pytest.raises(Conflict, match="undone"):
            await orchestrator.control.fork(run.id, "2")
        with pytest.raises(NotFound):
            await orchestrator.control.fork("run_0", "1")
    around = Scene(settings=STAGES, agents=counting).world()
    async with around.up() as (orchestrator, _):
        run = await first_run(around)
        with pytest.raises(NotFound, match=f"{run.id}/1"):
            await orchestrator.control.fork(run.id, "7")


async def test_a_canceled_run_forks_from_the_step_that_was_under_way() -> None:
    reached = anyio.Event()

    async def hangs(asked: Asked) -> Json:
        reached.set()
        if len(around.agents.asked_of("tool:orders/find")) == 1:
            await anyio.sleep_forever()
        return {}

    around = Scene(settings=STAGES, agents=lambda: {**counting(), "tool:orders/find": hangs}).world()
    async with around.up() as (orchestrator, _):
        await around.ask("go", meta={"return_immediately": True})
        await reached.wait()
        [run] = around.runs.runs.values()
        while len(await around.runs.steps(run.id)) < 2:
            await anyio.lowlevel.checkpoint()
        await orchestrator.control.cancel(run.id)
        fork = await forked(orchestrator, around, run, "2")
    assert ids(fork) == [f"{run.id}/1", f"{fork.id}/2", f"{fork.id}/3"]
    assert len(around.agents.asked_of("agent:a")) == 1


async def test_a_fork_of_what_is_forgotten_meanwhile_is_refused_and_holds_nothing() -> None:
    class Forgotten(MemoryRuns):
        """What the fork is made of is pruned as it is written down."""

        async def open(self, run: Run) -> Run:
            if origin := run.spec.get("origin"):
                await journal.forget((str(origin),))
            return await super().open(run)

    around = Scene(settings=CLAIMING, agents=counting).world()
    around.runs = Forgotten()
    async with around.up() as (orchestrator, journal):
        run = await first_run(around)
        with pytest.raises(NotFound):
            await orchestrator.control.fork(run.id, "2")
        [fork] = [each for each in around.runs.runs.values() if each.id != run.id]
        assert (fork.state, await journal.state(fork.id)) == ("rejected", "")
        assert around.scratch.claims == {}
    assert len(around.agents.asked) == 2


async def test_a_fork_there_is_no_room_for_is_refused_and_holds_nothing() -> None:
    around = Scene(settings=CLAIMING, others={"slow": SLOW}, agents=lambda: {**counting(), "agent:slow": never}).world()
    async with around.up(pending_limit=1) as (orchestrator, _):
        run = await first_run(around)
        await around.ask("go", workflow="slow", meta={"return_immediately": True})
        with pytest.raises(Exhausted):
            await orchestrator.control.fork(run.id, "2")
        assert [each.state for each in around.runs.runs.values() if each.spec["origin"]] == ["rejected"]
        assert around.scratch.claims == {}


async def test_the_clock_of_a_fork_goes_on_where_its_step_began() -> None:
    settings = {**STAGES, "limits": {"deadline_s": 30}}
    around = Scene(settings=settings, agents=counting).world()
    around.clock = clock = ShiftedClock()
    async with around.up() as (orchestrator, _):
        run = await first_run(around)
        clock.shift_s = 3600
        fork = await forked(orchestrator, around, run, "2")
    assert fork.state == "completed"
    assert 3590e6 < fork.held_us < 3610e6


@pytest.mark.parametrize("pattern", ["concurrent", "consensus"])
async def test_in_a_fork_answers_are_waited_for_as_long_as_in_the_run_it_was_made_from(pattern: str) -> None:
    async def later(asked: Asked) -> Json:
        for _ in range(200):
            await anyio.lowlevel.checkpoint()
        return {"n": 2}

    settings: JsonObject = {"pattern": pattern, "agents": ["a", "b"], "limits": {"deadline_s": 30}}
    if pattern == "consensus":
        settings["consensus"] = {"rubric": {"said": {"rule": "fields", "fields": ["n"]}}}
    around = Scene(settings=settings, agents=lambda: {"agent:a": says({"n": 1}), "agent:b": later}).world()
    around.clock = clock = ShiftedClock()
    async with around.up() as (orchestrator, _):
        run = await first_run(around)
        [step] = [each.id for each in await around.runs.steps(run.id) if each.target == "agent:b"]
        clock.shift_s = 3600
        fork = await forked(orchestrator, around, run, step)
    assert (fork.state, structured(fork)["gaps"]) == ("completed", [])
    assert len(around.agents.asked_of("agent:b")) == 2


class ShiftedClock:
    """The system's, some seconds ahead."""

    def __init__(self) -> None:
        self.shift_s = 0.0
        self._system = SystemClock()

    def now_us(self) -> int:
        return self._system.now_us() + int(self.shift_s * 1e6)

    def monotonic_s(self) -> float:
        return self._system.monotonic_s() + self.shift_s
