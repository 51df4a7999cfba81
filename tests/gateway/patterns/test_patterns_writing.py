"""What a step writes that is looked up first stands on the scratchpad once it was found, and not before."""

import pytest

from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.model import Complete
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, Asked, World, says, told

pytestmark = pytest.mark.anyio

VERIFY: JsonObject = {"field": "page", "tool": "docs/page", "unresolved": "fail"}


def around_lookup(found: bool, settings: JsonObject, adviser: Answering) -> tuple[World, list[list[str]]]:
    """The world, and what stood on the scratchpad at each lookup."""
    seen: list[list[str]] = []

    async def find(asked: Asked) -> Json:
        seen.append([key for _, key in around.scratch.entries])
        return {"found": found}

    agents = {"agent:a": adviser, "agent:b": says({}), "tool:docs/page": find}
    around = Scene(settings=settings, agents=lambda: agents).world()
    return around, seen


def settings_of(pattern: str, **verify: Json) -> JsonObject:
    entry: JsonObject = {"agent": "a", "verify": [{**VERIFY, **verify}]}
    if pattern == "supervisor":
        return {"pattern": "supervisor", "plan": [{"id": "cite", **entry}]}
    if pattern == "batch":
        return {"pattern": "sequential", "stages": [entry], "sequential": {"batch": {"items": "$task.items"}}}
    return {"pattern": "sequential", "stages": [entry]}


def written(around: World) -> dict[str, Json]:
    return {key: entry.value for (_, key), entry in around.scratch.entries.items()}


@pytest.mark.parametrize("pattern", ["supervisor", "sequential", "batch"])
@pytest.mark.parametrize("found", [True, False])
async def test_nothing_is_written_before_it_was_looked_up(pattern: str, found: bool) -> None:
    around, seen = around_lookup(found, settings_of(pattern), says({"page": 9}, writes={"page": 9}))
    async with around.up():
        await around.ask(data={"items": ["one"]})
    assert seen
    assert seen == [[] for _ in seen]
    assert written(around) == ({"page": 9} if found else {})


async def test_a_write_that_mentions_what_is_dropped_goes_with_it() -> None:
    writes: JsonObject = {"bad": {"see": "page P-9"}, "worse": ["P-9"], "good": "P-1"}
    settings = settings_of("supervisor", unresolved="drop")
    around, _ = around_lookup(False, settings, says({"page": "P-9", "n": 1}, writes=writes))
    async with around.up():
        result = told(await around.ask())
    assert json_object(result["answer"])["cite"] == {"n": 1}
    assert written(around) == {"good": "P-1"}


async def test_a_step_overtaken_while_it_was_looked_up_is_a_conflict() -> None:
    async def overtakes(asked: Asked) -> Json:
        return {"found": True}

    plan: list[Json] = [{"id": "cite", "agent": "a", "verify": [VERIFY]}, {"id": "other", "agent": "b"}]
    agents = {
        "agent:a": says({"page": 9}, writes={"page": 9}),
        "agent:b": says({}, writes={"page": 1}),
        "tool:docs/page": overtakes,
    }
    limits: JsonObject = {"max_rounds": 1}
    around = Scene(settings={"pattern": "supervisor", "plan": plan, "limits": limits}, agents=lambda: agents).world()
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    [gap] = map(json_object, json_list(told(result)["gaps"]))
    assert (gap["step"], gap["error"]) == ("cite", "conflict")
    assert written(around) == {"page": 1}


@pytest.mark.parametrize("where", INSTANTS)
@pytest.mark.parametrize("pattern", ["supervisor", "sequential"])
async def test_what_is_written_late_is_written_once(pattern: str, where: Instant) -> None:
    agents = {"agent:a": says({"page": 9}, writes={"page": 9}), "tool:docs/page": says({"found": True})}
    await outlives_crashes(Scene(settings=settings_of(pattern), agents=lambda: agents), where)
