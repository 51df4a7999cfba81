"""What a run costs the gateway's own files: counted, because a time would say more about the machine."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from adapters.storage.database import Database
from adapters.storage.directory import DataDirectory
from benchmarks.engine_path import open_path

pytestmark = pytest.mark.anyio

STEPS = 5


async def test_a_run_reads_nothing_and_writes_twice_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()
    read, write = Database.read, Database.write

    async def counted_read(self: Database, act: Callable[[Connection], Any]) -> Any:
        counts["reads"] += 1
        return await read(self, act)

    async def counted_write(
        self: Database, act: Callable[[Connection], Any], *, about: str = "", lasting: bool = True
    ) -> Any:
        # What tenants spend is written from time to time, and is about no run.
        counts["writes"] += bool(about)
        counts["lasting"] += bool(about) and lasting
        return await write(self, act, about=about, lasting=lasting)

    monkeypatch.setattr(Database, "read", counted_read)
    monkeypatch.setattr(Database, "write", counted_write)
    async with open_path(DataDirectory(root=tmp_path), STEPS) as call:
        await call("first")
        counts.clear()
        assert len(await call("second")) == STEPS

    # A step is opened before it leaves, and what its agent calls it is written at once; a run is stored, begins and
    # ends. The rest of what is told waits a moment, which on a busy machine may be over after each step.
    assert counts["reads"] == 0
    assert counts["lasting"] == STEPS + 2
    assert 2 * STEPS + 3 <= counts["writes"] <= 3 * STEPS + 4
