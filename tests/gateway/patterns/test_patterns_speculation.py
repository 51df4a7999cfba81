"""A stage that begins on a guess: side by side where it was right, thrown away where it was wrong, never an effect."""

import anyio
import pytest

from gateway.core.errors import Denied, InvalidRequest
from gateway.core.json import Json, JsonObject, json_object
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.sequential.pattern import Sequential
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Asked, World, failing, says, told

pytestmark = pytest.mark.anyio

GUESS: JsonObject = {"on": "$classify.kind", "predict": "$task.kind", "reads": True}


def world(guess: JsonObject = GUESS, *more: JsonObject, **second: Json) -> World:
    stages = [
        {"agent": "classify"},
        {"agent": "research", "input": {"kind": "$classify.kind"}, "speculate": guess, **second},
        *more,
    ]
    workflow = WorkflowSettings.model_validate({"pattern": "sequential", "stages": stages})
    around = World(patterns={"sequential": Sequential}, workflows={"help": workflow})

    async def research(asked: Asked) -> Json:
        return {"about": asked.input["kind"], "drawbridge": {"writes": {"notes": asked.input["kind"]}}}

    around.agents.answers |= {"agent:classify": says({"kind": "refund", "score": 1}), "agent:research": research}
    return around


def decisions(around: World) -> list[JsonObject]:
    bodies = [event.body for log in around.runs.log.values() for event in log.values()]
    return [json_object(body["detail"]) for body in bodies if "decided" in str(body)]


async def test_on_a_right_guess_both_are_under_way_and_the_work_counts() -> None:
    researching = anyio.Event()

    async def classify(asked: Asked) -> Json:
        await researching.wait()
        return {"kind": "refund"}

    async def research(asked: Asked) -> Json:
        researching.set()
        return {"about": asked.input["kind"], "drawbridge": {"writes": {"notes": 1}}}

    around = world()
    around.agents.answers |= {"agent:classify": classify, "agent:research": research}
    async with around.up():
        result = told(await around.ask(data={"kind": "refund"}))
    assert result["answer"] == {"about": "refund"}
    [asked] = around.agents.asked_of("agent:research")
    assert asked.phase == "propose"
    assert [entry.value for entry in around.scratch.entries.values()] == [1]
    assert [(each["what"], each["chosen"]) for each in decisions(around)] == [("speculation", "kept")]


async def test_on_a_wrong_guess_the_work_is_stopped_and_done_anew() -> None:
    stopped: list[str] = []

    async def research(asked: Asked) -> Json:
        if asked.phase == "propose":
            try:
                await anyio.sleep_forever()
            finally:
                stopped.append(str(asked.input["kind"]))
        return {"about": asked.input["kind"]}

    around = world()
    around.agents.answers["agent:research"] = research
    async with around.up():
        result = told(await around.ask(data={"kind": "exchange"}))
    assert result["answer"] == {"about": "refund"}
    assert stopped == ["exchange"]
    assert [asked.phase for asked in around.agents.asked_of("agent:research")] == ["propose", ""]
    [decision] = decisions(around)
    assert (decision["chosen"], decision["predicted"], decision["actual"]) == ("dropped", "exchange", "refund")


@pytest.mark.parametrize(
    ("predicted", "actual", "chosen"), [(5, 5.0, "kept"), (5, 5.5, "dropped"), (1, True, "dropped")]
)
async def test_a_number_that_came_with_a_point_is_still_the_one_that_was_guessed(
    predicted: Json, actual: Json, chosen: str
) -> None:
    around = world()
    around.agents.answers["agent:classify"] = says({"kind": actual})
    async with around.up():
        await around.ask(data={"kind": predicted})
    assert [each["chosen"] for each in decisions(around)] == [chosen]


async def test_what_was_written_on_a_wrong_guess_is_nowhere() -> None:
    around = world()
    async with around.up():
        await around.ask(data={"kind": "exchange"})
    assert [entry.value for entry in around.scratch.entries.values()] == ["refund"]


async def test_an_agent_that_may_have_effects_only_proposes_and_commits_when_the_guess_was_right() -> None:
    around = world({"on": "$classify.kind", "predict": "refund"})
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"about": "refund"}
    proposed, committed = around.agents.asked_of("agent:research")
    assert (proposed.phase, committed.phase) == ("propose", "commit")
    assert committed.input["proposal"] == {"about": "refund"}


async def test_a_sink_refuses_to_be_speculated_on_and_waits_for_its_turn() -> None:
    around = world()

    async def research(asked: Asked) -> Json:
        if asked.phase == "propose":
            raise Denied("a step may only propose")
        return {"done": asked.input["kind"]}

    around.agents.answers["agent:research"] = research
    async with around.up():
        result = told(await around.ask(data={"kind": "refund"}))
    assert result["answer"] == {"done": "refund"}
    assert decisions(around)[0]["chosen"] == "dropped"


async def test_without_anything_to_go_by_it_waits() -> None:
    around = world()
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"about": "refund"}
    assert [asked.phase for asked in around.agents.asked_of("agent:research")] == [""]


@pytest.mark.parametrize("data", [{"kind": "refund"}, {"kind": "exchange"}, {}], ids=["right", "wrong", "none"])
async def test_the_guess_decides_nothing_about_what_the_stage_is_given(data: JsonObject) -> None:
    around = world()
    async with around.up():
        await around.ask(data=data)
    counted = around.agents.asked_of("agent:research")[-1]
    handed = json_object(json_object(counted.member["results"])["classify"])
    assert handed == {"summary": "", "value": {"kind": "refund"}}


async def test_a_stage_that_turns_out_not_to_be_needed_is_thrown_away() -> None:
    around = world(when='$classify.kind == "exchange"')
    around.agents.answers |= {"agent:last": says("the end")}
    async with around.up():
        result = told(await around.ask(data={"kind": "exchange"}))
    assert result["answer"] == {"kind": "refund", "score": 1}
    assert decisions(around)[0]["because"] == "research is not needed"


async def test_a_stage_behind_one_that_failed_the_run_is_stopped_with_it() -> None:
    async def fails(asked: Asked) -> object:
        return failing("no")

    around = world()
    around.agents.answers["agent:classify"] = fails  # pyright: ignore[reportArgumentType] - an answer is a result
    async with around.up():
        result = told(await around.ask(data={"kind": "refund"}))
    assert "stage classify failed" in str(result["error"])


@pytest.mark.parametrize(
    "second",
    [
        {"speculate": {"on": "$other.kind", "predict": 1}},
        {"speculate": {"on": "$classify", "predict": 1}},
        {"speculate": {"on": "$classify.kind", "predict": "$research.x"}},
        {"speculate": {"on": "$classify.kind", "predict": 1}, "input": {"score": "$classify.score"}},
        {"speculate": {"on": "$classify.kind", "predict": 1}, "when": "$classify.score > 1"},
        {"speculate": {"on": "$classify.kind", "predict": 1}, "claims": ["account:1"]},
        {"speculate": {"on": "$classify.kind", "predict": 1}, "approve": {"question": "Sure?"}},
        {"speculate": {"on": "$classify.kind", "predict": 1}, "undo": {"tool": "undo/it"}},
    ],
    ids=["another", "no field", "on itself", "other input", "other condition", "claims", "approval", "undo"],
)
def test_settings_that_make_no_sense_are_refused(second: JsonObject) -> None:
    with pytest.raises(InvalidRequest):
        Sequential({"stages": [{"agent": "classify"}, {"agent": "research", **second}]})


@pytest.mark.parametrize("where", INSTANTS)
@pytest.mark.parametrize("kind", ["refund", "exchange"])
async def test_speculation_survives_every_crash(where: Instant, kind: str) -> None:
    scene = Scene(
        settings=world().workflows["help"].to_json(),
        agents=lambda: world().agents.answers,
        data={"kind": kind},
        same_log=False,
    )
    await outlives_crashes(scene, where)
