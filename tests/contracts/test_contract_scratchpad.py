"""Every store of scratchpads keeps these promises."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from adapters.storage.scratch import SCRATCH_SCHEMA, SqlScratchStore
from gateway.core.errors import Conflict
from gateway.core.labels import Labels
from gateway.core.ports.journal import ScratchStore
from gateway.core.ports.scratchpad import Entry
from gateway.testing.stores.scratch import MemoryScratch
from tests.contracts.databases import STORES, opened

pytestmark = pytest.mark.anyio


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncGenerator[ScratchStore]:
    if request.param == "memory":
        yield MemoryScratch()
        return
    async with opened(request, SCRATCH_SCHEMA) as database:
        yield SqlScratchStore(database)


def entry(key: str, value: object, writer: str = "run/1", labels: Labels | None = None) -> Entry:
    return Entry(key=key, value=value, version=0, writer=writer, labels=labels or Labels())  # pyright: ignore[reportArgumentType]


async def test_versions_begin_at_one_and_grow_by_one(store: ScratchStore) -> None:
    assert await store.get("run", "price") is None
    first = await store.put("run", entry("price", 3), expected_version=0, once="a")
    second = await store.put("run", entry("price", {"n": [1]}, "run/2"), expected_version=1, once="b")
    third = await store.put("run", entry("price", None), expected_version=None, once="c")
    assert [first.version, second.version, third.version] == [1, 2, 3]
    assert second == Entry(key="price", value={"n": [1]}, version=2, writer="run/2")
    assert await store.get("run", "price") == third


async def test_labels_lie_beside_the_value(store: ScratchStore) -> None:
    labels = Labels(untrusted=frozenset({"agent:a"}), confidential=frozenset({"pii"}))
    await store.put("run", entry("note", "x", labels=labels), expected_version=0, once="")
    found = await store.get("run", "note")
    assert found is not None
    assert found.labels == labels


async def test_a_write_at_another_version_is_a_conflict_that_says_which(store: ScratchStore) -> None:
    await store.put("run", entry("price", 1), expected_version=0, once="a")
    for expected in (0, 2):
        with pytest.raises(Conflict) as raised:
            await store.put("run", entry("price", 2), expected_version=expected, once="")
        assert raised.value.detail == {"key": "price", "expected": expected, "actual": 1}
    assert await store.get("run", "price") == Entry(key="price", value=1, version=1, writer="run/1")


async def test_the_same_write_counts_once_and_gets_the_outcome_it_got(store: ScratchStore) -> None:
    first = await store.put("run", entry("price", 1), expected_version=0, once="slot 1")
    await store.put("run", entry("price", 2), expected_version=1, once="slot 2")
    assert await store.put("run", entry("price", 1), expected_version=0, once="slot 1") == first
    with pytest.raises(Conflict) as refused:
        await store.put("run", entry("price", 9), expected_version=0, once="slot 3")
    with pytest.raises(Conflict) as again:
        await store.put("run", entry("price", 9), expected_version=2, once="slot 3")
    assert again.value.detail == refused.value.detail
    found = await store.get("run", "price")
    assert found is not None
    assert (found.value, found.version) == (2, 2)


async def test_of_many_who_write_at_once_one_wins(store: ScratchStore) -> None:
    outcomes: list[str] = []

    async def write(n: int) -> None:
        try:
            await store.put("run", entry("price", n), expected_version=0, once=f"slot {n}")
        except Conflict:
            outcomes.append("conflict")
        else:
            outcomes.append("written")

    async with anyio.create_task_group() as group:
        for n in range(8):
            group.start_soon(write, n)
    assert sorted(outcomes) == ["conflict"] * 7 + ["written"]


async def test_runs_do_not_see_each_other(store: ScratchStore) -> None:
    await store.put("one", entry("b", 1), expected_version=0, once="x")
    await store.put("one", entry("a", 2), expected_version=0, once="y")
    await store.put("two", entry("a", 3), expected_version=0, once="x")
    assert [(key, each.value) for key, each in (await store.all("one")).items()] == [("a", 2), ("b", 1)]
    assert [(key, each.value) for key, each in (await store.all("two")).items()] == [("a", 3)]
    await store.forget("one")
    assert await store.all("one") == {}
    assert len(await store.all("two")) == 1


async def test_a_claim_keeps_the_tenants_other_runs_out_until_it_lapses(store: ScratchStore) -> None:
    async def claim(run_id: str, now_us: int, tenant: str = "t") -> bool:
        return await store.claim(tenant, run_id, "account:4711", until_us=now_us + 10, now_us=now_us)

    assert await claim("one", 0)
    assert not await claim("two", 5)
    assert await claim("one", 8)
    assert not await claim("two", 17)
    assert await claim("two", 18, tenant="other")
    assert await claim("two", 18)
    assert not await claim("one", 20)


async def test_a_claim_is_given_back_by_its_holder_only(store: ScratchStore) -> None:
    async def claim(run_id: str) -> bool:
        return await store.claim("t", run_id, "account:4711", until_us=1000, now_us=0)

    assert await claim("one")
    await store.release("t", "two", "account:4711")
    assert not await claim("two")
    await store.release("t", "one", "account:4711")
    assert await claim("two")
    await store.release_all("two")
    assert await claim("one")


async def test_what_a_run_and_those_nested_in_it_claim_keeps_others_out_until_all_gave_it_back(
    store: ScratchStore,
) -> None:
    async def claim(run_id: str, until_us: int = 1000) -> bool:
        return await store.claim("t", run_id, "account:4711", until_us=until_us, now_us=0)

    for nested, outer in (("inner", "outer"), ("innermost", "inner")):
        await store.belongs(nested, outer)
        await store.belongs(nested, outer)
    assert await claim("outer")
    assert await claim("innermost", until_us=10)
    assert not await claim("other")
    await store.release_all("outer")
    assert not await store.claim("t", "other", "account:4711", until_us=1000, now_us=20)
    assert await claim("inner")
    await store.release("t", "innermost", "account:4711")
    await store.forget("outer")
    assert not await claim("other")
    await store.release_all("inner")
    assert await claim("other")
    assert not await claim("innermost")


async def test_what_a_paused_run_has_claimed_lapses_as_much_later_as_it_was_paused(store: ScratchStore) -> None:
    async def claim(run_id: str, now_us: int, until_us: int = 10_000) -> bool:
        return await store.claim("t", run_id, "account:4711", until_us=until_us, now_us=now_us)

    assert await claim("one", 0, until_us=1000)
    for _ in range(2):
        await store.hold("one")
    assert not await claim("two", 5000)
    assert await claim("one", 5000, until_us=1000)
    assert not await claim("two", 5000)
    for _ in range(2):
        await store.let_go_on("one", 5000)
    assert not await claim("two", 5999)
    assert await claim("two", 6000)


async def test_a_pause_holds_nobody_elses_claims(store: ScratchStore) -> None:
    assert await store.claim("t", "one", "account:1", until_us=1000, now_us=0)
    assert await store.claim("t", "two", "account:2", until_us=1000, now_us=0)
    await store.hold("one")
    assert await store.claim("t", "one", "account:2", until_us=9000, now_us=1000)
    assert not await store.claim("t", "two", "account:1", until_us=9000, now_us=1000)
    await store.release_all("one")
    assert await store.claim("t", "two", "account:1", until_us=9000, now_us=1000)


async def test_claims_of_before_there_were_nested_ones_are_given_back(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "scratch.db")) as old:
        old.executescript(
            "CREATE TABLE schema_number (number INTEGER NOT NULL); INSERT INTO schema_number VALUES (1);"
            "CREATE TABLE claims (tenant TEXT, resource TEXT, run_id TEXT NOT NULL, until_us BIGINT NOT NULL,"
            " PRIMARY KEY (tenant, resource)); CREATE INDEX claims_by_run ON claims (run_id);"
            "INSERT INTO claims VALUES ('t', 'account:4711', 'one', 1000);"
        )
    store = await SqlScratchStore.open(tmp_path / "scratch.db")
    assert not await store.claim("t", "two", "account:4711", until_us=2000, now_us=0)
    await store.release_all("one")
    assert await store.claim("t", "two", "account:4711", until_us=2000, now_us=0)
    await store.aclose()


async def test_a_copy_has_what_these_writes_made_and_nothing_later(store: ScratchStore) -> None:
    await store.put("run", entry("price", 1), expected_version=0, once="slot 1")
    await store.put("run", entry("price", 2), expected_version=1, once="slot 2")
    await store.put("run", entry("price", 3), expected_version=2, once="slot 3")
    await store.put("run", entry("stock", 5), expected_version=0, once="slot 4")
    with pytest.raises(Conflict):
        await store.put("run", entry("stock", 6), expected_version=0, once="slot 5")
    assert {write.once: (write.key, write.version) for write in await store.writes("run")} == {
        **{"slot 1": ("price", 1), "slot 2": ("price", 2)},
        **{"slot 3": ("price", 3), "slot 4": ("stock", 1)},
    }
    await store.put("copy", entry("old", 1), expected_version=0, once="")
    assert await store.claim("t", "copy", "account:1", until_us=1000, now_us=0)
    await store.copy("run", "copy", ("slot 1", "slot 2", "slot 5"))
    assert {each.key: (each.value, each.version) for each in (await store.all("copy")).values()} == {"price": (2, 2)}
    assert [write.once for write in await store.writes("copy")] == ["slot 1", "slot 2"]
    assert not await store.claim("t", "other", "account:1", until_us=1000, now_us=0)
    assert (await store.put("copy", entry("price", 9), expected_version=2, once="")).version == 3
    assert (await store.all("run"))["price"].version == 3


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    opened = await SqlScratchStore.open(tmp_path / "scratch.db")
    await opened.put("run", entry("price", 1), expected_version=0, once="slot 1")
    await opened.aclose()
    again = await SqlScratchStore.open(tmp_path / "scratch.db")
    assert (await again.put("run", entry("price", 1), expected_version=0, once="slot 1")).version == 1
    await again.aclose()
