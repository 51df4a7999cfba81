"""The engine's twin: what it loses when it crashes is what the engine would lose."""

import anyio
import pytest

from adapters.durable.memory import MemoryJournal, Where
from gateway.core.json import JsonObject
from gateway.core.ports.journal import Journal

pytestmark = pytest.mark.anyio


async def heard(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
    return {"heard": await journal.receive("answers", 30.0)}


@pytest.mark.parametrize("dies", ["before", "unrecorded", "after"])
async def test_a_message_that_a_process_took_and_did_not_live_to_record_is_there_for_the_next(dies: Where) -> None:
    with anyio.fail_after(30):
        dying = MemoryJournal(on_slot=lambda run_id, number, where: where == dies)
        await dying.launch(heard)
        await dying.start("run_1", {})
        await dying.send("run_1", "answers", "yes", "key")
        await dying.crashed.wait()
        await dying.aclose()
        next_one = MemoryJournal(dying.entries)
        await next_one.launch(heard)
        assert await next_one.wait("run_1") == {"heard": "yes"}
        await next_one.aclose()
