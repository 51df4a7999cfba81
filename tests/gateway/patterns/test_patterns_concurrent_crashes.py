"""Several side by side, and a gateway that dies at any instant."""

from collections.abc import Callable

import anyio
import pytest

from gateway.core.json import Json, json_object
from gateway.core.model import Complete
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, Asked, failing, says, told

pytestmark = pytest.mark.anyio


def due_diligence() -> Scene:
    """Five look at a company: one contradicts the others until it is asked again, one fails and has a stand-in, one
    fails for good; what is left is reconciled and worded."""

    async def press(asked: Asked) -> Json:
        return {"revenue": 7 if asked.member.get("note") else 9}

    async def failed(asked: Asked) -> Complete:
        return failing("not today")

    agents: dict[str, Answering] = {
        "agent:filings": says({"revenue": 7}),
        "agent:press": press,
        "agent:suits": failed,
        "agent:courts": says({"suits": 2}),
        "agent:staff": failed,
        "agent:books": says({"assets": 3}),
        "agent:one": says({"revenue": 7, "verdict": "buy"}),
        "agent:word": says("Buy."),
    }
    settings = {
        "pattern": "concurrent",
        "agents": ["filings", "press", "suits", "staff", "books"],
        "fallback": {"suits": "courts"},
        "goal_checker": {"rule": "complete"},
        "reconciler": "one",
        "synthesiser": "word",
        "concurrent": {"merge": "union"},
        "limits": {"concurrency": 2, "deadline_s": 30},
    }
    return Scene(settings=settings, agents=lambda: agents, data={"company": "X"})


def asking() -> Scene:
    """Slices of a list, reported in one form; one fails, and the caller says what becomes of it."""

    async def reader(asked: Asked) -> "Json | Complete":
        if asked.input.get("n") == 2:
            return failing("unreadable")
        return f"## [1/1] Letter\nNumber: {asked.input.get('n')}"

    settings = {
        "pattern": "concurrent",
        "agents": ["reader"],
        "concurrent": {"slices": "/letters", "deal": "each", "template": "## [i/n] Title\nNumber: number"},
        "limits": {"on_failure": "ask"},
    }
    return Scene(
        settings=settings,
        agents=lambda: {"agent:reader": reader},
        data={"letters": [{"n": 1}, {"n": 2}, {"n": 3}]},
        replies=("skip",),
    )


@pytest.mark.parametrize("where", INSTANTS)
@pytest.mark.parametrize("scene", [due_diligence, asking], ids=lambda each: each.__name__)
async def test_a_crash_changes_neither_the_answer_nor_what_was_done(scene: Callable[[], Scene], where: Instant) -> None:
    await outlives_crashes(scene(), where)


async def test_who_is_late_is_told_to_stop_and_the_rest_is_the_answer() -> None:
    async def late(asked: Asked) -> Json:
        await anyio.sleep_forever()
        return {}

    settings = {"pattern": "concurrent", "agents": ["quick", "late"], "concurrent": {"gather_s": 2}}
    around = Scene(settings=settings, agents=lambda: {"agent:quick": says({"n": 1}), "agent:late": late}).world()
    async with around.up():
        result = told(await around.ask())
    assert json_object(result["answer"])["merged"] == {"quick": {"n": 1}}
    assert result["gaps"] == [
        {"step": "late", "target": "agent:late", "error": "deadline", "reason": "still at work when time was up"}
    ]
    assert around.open_steps.steps == {}
