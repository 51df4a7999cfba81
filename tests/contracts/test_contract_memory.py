"""What every `Memory` does."""

from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.storage.memory import SqlMemory
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.labels import Labels
from gateway.core.ports.memory import (
    LONGEST_WORD,
    WORDS_AT_MOST,
    Memo,
    Memory,
    MemoryPlace,
    Room,
    words_asked,
    words_in,
)
from gateway.testing.stores.memory import MemoryInMemory
from tests.contracts.databases import STORES, opened

pytestmark = pytest.mark.anyio

DESK = MemoryPlace(tenant="default", name="desk")
AMPLE = Room(entries=100, bytes=100_000, after_us=0)
MEMO = Memo(
    id="m1",
    text="Refunds above 50 euros need a person",
    tags=("refunds", "policy"),
    run_id="run_1",
    step_id="run_1/2",
    agent="agent:refunds",
    labels=Labels(untrusted=frozenset({"server:web"}), regions=frozenset({"eu"})),
    at_us=10,
)


@pytest.fixture(params=STORES)
async def memory(request: pytest.FixtureRequest) -> AsyncIterator[Memory]:
    if request.param == "memory":
        yield MemoryInMemory()
        return
    async with opened(request, GATEWAY_SCHEMA) as database:
        yield SqlMemory(database)


def memo(number: int, text: str, *tags: str) -> Memo:
    return Memo(id=f"m{number}", text=text, tags=tags, at_us=number)


async def found(memory: Memory, query: str, *, place: MemoryPlace = DESK, after_us: int = 0) -> list[str]:
    return [each.id for each in await memory.search(place, query, after_us=after_us, limit=10)]


async def test_an_entry_is_found_whole_by_its_words_and_its_tags(memory: Memory) -> None:
    await memory.add(DESK, MEMO, AMPLE)

    assert await memory.search(DESK, "what about REFUNDS?", after_us=0, limit=5) == (MEMO,)
    assert await found(memory, "policy") == ["m1"]
    assert await found(memory, "nothing of the kind") == []


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("Crème brûlée", "creme BRULEE"),
        ("naïve", "naïve"),
        ("Straße 7", "strasse"),
        ("退款 政策", "政策"),
        ("order A-1007, SKU_99", "a 1007"),
        ("order A-1007, SKU_99", "sku"),
        ("mail ana@example.com today", "example"),
        ("see https://example.com/path?x=1.5e3", "path"),
        ("3.14 and 1e5 and -7", "14"),
        ("a/b/c.txt", "txt"),
        ("the parcel", "the"),
    ],
)
async def test_words_are_compared_without_case_accents_and_signs(memory: Memory, said: str, asked: str) -> None:
    await memory.add(DESK, memo(1, said), AMPLE)

    assert await found(memory, asked) == ["m1"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "  ",
        "!?",
        '"',
        "'",
        'refunds" OR "x',
        "refunds' | 'x",
        "NEAR(refunds, 2)",
        "refunds AND NOT refunds",
        "words : x",
        "place : x",
        "refunds*",
        "^refunds",
        "-refunds",
        "refunds; DROP TABLE memos",
        "a & ! (b | c) <-> d:*",
        "\\",
        "\0refunds",
        "%s %(x)s :x ?",
        "x" * 5000,
        " ".join(map(str, range(500))),
    ],
)
async def test_nothing_in_a_query_is_an_operator(memory: Memory, query: str) -> None:
    await memory.add(DESK, MEMO, AMPLE)

    assert await found(memory, query) == (["m1"] if set(words_asked(query)) & set(words_in(MEMO.text)) else [])


async def test_the_best_comes_first_and_of_equals_the_latest_each_time(memory: Memory) -> None:
    for number, text in enumerate(("parcel lost", "parcel late", "parcel lost again in customs", "invoice", "refund")):
        await memory.add(DESK, memo(number, text), AMPLE)
    for number in (7, 6, 8):
        await memory.add(DESK, memo(number, "blender broken"), AMPLE)

    assert set((await found(memory, "lost parcel"))[:2]) == {"m0", "m2"}
    assert (await found(memory, "lost parcel"))[2:] == ["m1"]
    assert [await found(memory, "blender") for _ in range(3)] == [["m8", "m7", "m6"]] * 3
    assert [each.id for each in await memory.search(DESK, "parcel blender", after_us=0, limit=2)] != []
    assert await memory.search(DESK, "parcel", after_us=0, limit=0) == ()


@pytest.mark.parametrize("other", [replace(DESK, tenant="other"), replace(DESK, name="else")])
async def test_a_memory_is_its_tenants_and_has_a_name(memory: Memory, other: MemoryPlace) -> None:
    await memory.add(DESK, MEMO, AMPLE)
    await memory.add(other, replace(MEMO, text="refunds elsewhere"), AMPLE)

    assert [each.text for each in await memory.search(other, "refunds", after_us=0, limit=5)] == ["refunds elsewhere"]
    assert await memory.forget(other, ["m1"]) == 1
    assert await found(memory, "refunds") == ["m1"]
    assert await memory.names("default") == {"desk": 1}
    assert await memory.names("nobody") == {}


async def test_the_same_entry_is_kept_once_however_often_it_is_told(memory: Memory) -> None:
    async def tell() -> None:
        await memory.add(DESK, MEMO, AMPLE)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(tell)
    await memory.add(DESK, replace(MEMO, text="something else"), AMPLE)

    assert await memory.list(DESK, after_us=0, limit=9) == (MEMO,)
    assert await found(memory, "something") == []


async def test_the_oldest_go_when_there_is_no_room(memory: Memory) -> None:
    for number in range(6):
        await memory.add(DESK, memo(number, f"word{number} same"), replace(AMPLE, entries=4))

    assert await found(memory, "same") == ["m5", "m4", "m3", "m2"]
    assert await found(memory, "word1") == []
    await memory.add(DESK, memo(9, "x" * 30), replace(AMPLE, bytes=45))
    assert [each.id for each in await memory.list(DESK, after_us=0, limit=9)] == ["m9", "m5"]


async def test_what_is_too_old_is_not_found_and_goes(memory: Memory) -> None:
    for number in (10, 20, 30):
        await memory.add(DESK, memo(number, "same"), AMPLE)

    assert await found(memory, "same", after_us=20) == ["m30", "m20"]
    assert [each.id for each in await memory.list(DESK, after_us=20, limit=9)] == ["m30", "m20"]
    await memory.add(DESK, memo(40, "same"), replace(AMPLE, after_us=20))
    assert await found(memory, "same") == ["m40", "m30", "m20"]
    await memory.add(replace(DESK, tenant="other"), memo(10, "same"), AMPLE)
    assert await memory.lapse("desk", 30, tenant="default") == 1
    assert await memory.lapse("desk", 35) == 2
    assert await memory.lapse("desk", 35) == 0
    assert await found(memory, "same") == ["m40"]


async def test_names_are_counted_of_one_tenant_or_of_all(memory: Memory) -> None:
    await memory.add(DESK, memo(1, "same"), AMPLE)
    await memory.add(replace(DESK, tenant="other"), memo(2, "same"), AMPLE)
    await memory.add(replace(DESK, name="attic"), memo(3, "same"), AMPLE)
    assert await memory.names("default") == {"desk": 1, "attic": 1}
    assert await memory.names() == {"desk": 2, "attic": 1}


async def test_what_is_forgotten_is_not_found(memory: Memory) -> None:
    for number in range(4):
        await memory.add(DESK, memo(number, "same"), AMPLE)

    assert await memory.forget(DESK, ["m1", "m3", "m9"]) == 2
    assert await memory.forget(DESK, []) == 0
    assert await found(memory, "same") == ["m2", "m0"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=300))
def test_words_are_letters_and_digits_and_asked_for_once(text: str) -> None:
    words = words_in(text)
    assert all(word.replace("_", "x").isalnum() and 0 < len(word) <= LONGEST_WORD for word in words)
    assert not any(set(word) & set("\"'_ :*^()&|!<>\\\0") for word in words)
    assert words_in(" ".join(words)) == words
    asked = words_asked(text)
    assert len(asked) == len(set(asked)) <= WORDS_AT_MOST
