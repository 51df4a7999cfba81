"""A new version on a share of conversations: sticky, judged by its latest answers, rolled back by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject, json_object, json_text
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.canary import Canary, Standing, failed, place_of
from gateway.patterns.sequential.pattern import Sequential
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Agents, Asked, World, failing, says, told

pytestmark = pytest.mark.anyio


def world(agents: Agents | None = None, **block: object) -> World:
    settings = {
        "pattern": "canary",
        "canary": {"baseline": {"agent": "old"}, "candidate": {"agent": "new"}, "share": 0.5, "least": 3, **block},
    }
    around = World(
        patterns={"canary": Canary, "sequential": Sequential},
        workflows={"help": WorkflowSettings.model_validate(settings)},
    )
    around.agents.answers |= {"agent:old": says({"by": "old"}), "agent:new": says({"by": "new"})}
    return around


async def asked(around: World, number: int) -> str:
    """Who answered a conversation of its own."""
    result = told(await around.ask(meta={"context_id": f"conversation {number}", "message_id": f"m{number}"}))
    return json_text(json_object(result.get("answer")).get("by"), "nobody")


async def test_each_conversation_keeps_its_version_and_the_share_is_kept() -> None:
    around = world()
    async with around.up():
        first = [await asked(around, number) for number in range(40)]
        again = told(await around.ask(meta={"context_id": "conversation 3", "message_id": "again"}))
    assert json_object(again["answer"])["by"] == first[3]
    assert 10 <= first.count("new") <= 30


async def test_the_versions_answer_is_shown_before_the_end() -> None:
    around = world(share=1.0)
    async with around.up():
        await asked(around, 1)
    [log] = around.runs.log.values()
    assert [each.body["name"] for each in log.values() if each.body["kind"] == "artifact"] == ["part-new", "answer"]


async def test_a_version_that_fails_more_often_is_rolled_back_for_good() -> None:
    around = world()

    async def broken(asked: Asked) -> object:
        return failing("not yet")

    around.agents.answers["agent:new"] = broken  # pyright: ignore[reportArgumentType]
    async with around.up():
        by = [await asked(around, number) for number in range(60)]
        runs = list(around.runs.runs)
    assert by.count("nobody") == 3
    assert set(by[by.index("old", max(place for place, who in enumerate(by) if who == "nobody")) :]) == {"old"}
    decided = [json_object(event.body.get("detail")) for run in runs for event in await around.runs.events(run)]
    rolled_back = [each for each in decided if each.get("what") == "roll-back"]
    assert [each["candidate_failed"] for each in rolled_back] == [1.0]


async def test_an_answer_of_a_workflow_is_given_as_its_own() -> None:
    around = world(candidate={"workflow": "inner"}, share=1)
    around.workflows["inner"] = WorkflowSettings.model_validate({"pattern": "sequential", "stages": [{"agent": "new"}]})
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"by": "new"}


@pytest.mark.parametrize("where", INSTANTS)
async def test_a_canary_survives_every_crash(where: Instant) -> None:
    block = {"baseline": {"agent": "old"}, "candidate": {"workflow": "inner"}, "share": 1}
    inner = {"pattern": "sequential", "stages": [{"agent": "new"}]}
    scene = Scene(
        settings={"pattern": "canary", "canary": block},
        others={"inner": inner},
        agents=lambda: {"agent:new": says({"by": "new"})},
    )
    await outlives_crashes(scene, where)


@given(st.lists(st.booleans(), max_size=60), st.lists(st.booleans(), max_size=60), st.integers(1, 60))
def test_nothing_is_rolled_back_that_does_as_well_or_has_hardly_been_tried(
    old: list[bool], new: list[bool], least: int
) -> None:
    standing = Standing(tuple(old), tuple(new))
    if len(new) < least or failed(tuple(new)) <= failed(tuple(old)):
        assert not standing.worse(least=least, worse_by=0)


async def test_a_conversation_keeps_its_version_within_another_workflow_too() -> None:
    around = world()
    outer = {"pattern": "sequential", "stages": [{"workflow": "help"}]}
    around.workflows = {**around.workflows, "outer": WorkflowSettings.model_validate(outer)}

    async def got(context: int, message: int) -> str:
        meta: JsonObject = {"context_id": f"c{context}", "message_id": f"{context}.{message}"}
        said = json_object(told(await around.ask(workflow="outer", meta=meta))["answer"])
        return json_text(json_object(said["answer"]).get("by"))

    async with around.up():
        first = [await got(context, 1) for context in range(12)]
        again = [await got(context, 2) for context in range(12)]
    assert first == again
    assert {*first} == {"old", "new"}


@given(st.text())
def test_a_conversation_has_one_place(context_id: str) -> None:
    assert 0 <= place_of(context_id) < 1
    assert place_of(context_id) == place_of(context_id)


@pytest.mark.parametrize(
    "block",
    [{}, {"baseline": {"agent": "a"}}, {"baseline": {"agent": "a"}, "candidate": {"agent": "a"}}],
)
def test_versions_that_are_missing_or_the_same_are_refused(block: JsonObject) -> None:
    with pytest.raises(InvalidRequest):
        Canary({"canary": block})
