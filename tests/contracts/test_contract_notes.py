"""What every `NoteStore` does."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from adapters.storage.notes import SqlNotes
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.ports.runs import NOTES_AT_MOST, NotePlace, NoteStore
from gateway.testing.stores.around_runs import MemoryNotes
from tests.contracts.databases import STORES, opened

pytestmark = pytest.mark.anyio

HERE = NotePlace(tenant="default", workflow="desk", owner="ana", topic="conversation", key="c1")


@pytest.fixture(params=STORES)
async def notes(request: pytest.FixtureRequest) -> AsyncIterator[NoteStore]:
    if request.param == "memory":
        yield MemoryNotes()
        return
    async with opened(request, GATEWAY_SCHEMA) as database:
        yield SqlNotes(database)


async def test_a_note_is_found_until_its_time_is_over(notes: NoteStore) -> None:
    await notes.put(HERE, "", {"worker": "agent:a"}, at_us=10, until_us=20)

    assert await notes.get(HERE, now_us=19, limit=5) == ({"worker": "agent:a"},)
    assert await notes.get(HERE, now_us=20, limit=5) == ()


async def test_the_same_id_replaces_and_nothing_takes_away(notes: NoteStore) -> None:
    await notes.put(HERE, "", 1, at_us=10, until_us=99)
    await notes.put(HERE, "", 2, at_us=11, until_us=99)
    replaced = await notes.get(HERE, now_us=12, limit=5)
    await notes.put(HERE, "", None, at_us=12, until_us=99)

    assert replaced == (2,)
    assert await notes.get(HERE, now_us=12, limit=5) == ()


async def test_several_stand_side_by_side_newest_first(notes: NoteStore) -> None:
    for number in range(4):
        await notes.put(HERE, f"step {number}", number, at_us=10 + number, until_us=99)

    assert await notes.get(HERE, now_us=20, limit=3) == (3, 2, 1)


@pytest.mark.parametrize("field", ["tenant", "workflow", "owner", "topic", "key"])
async def test_a_note_is_found_only_in_its_place(notes: NoteStore, field: str) -> None:
    await notes.put(HERE, "", 1, at_us=10, until_us=99)

    assert await notes.get(replace(HERE, **{field: "other"}), now_us=11, limit=5) == ()


async def test_no_place_grows_without_end(notes: NoteStore) -> None:
    for number in range(NOTES_AT_MOST + 3):
        await notes.put(HERE, f"{number:04}", number, at_us=10 + number, until_us=9999)

    kept = await notes.get(HERE, now_us=20, limit=NOTES_AT_MOST * 2)
    assert kept == tuple(reversed(range(3, NOTES_AT_MOST + 3)))
