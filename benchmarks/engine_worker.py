"""One process of `benchmarks.engine`: runs of many steps on the bare engine, DBOS, or the same on the whole path.

python -m benchmarks.engine_worker bare|path --data DIRECTORY --in-flight 50 --runs 200 --steps 5
"""

import argparse
import cProfile
import json
import resource
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from dbos import DBOS

from adapters.durable.dbos_journal import DbosJournal
from adapters.durable.places import PostgresServer, SqliteFile
from adapters.storage.directory import DataDirectory
from benchmarks.engine_path import open_path
from gateway.core.json import JsonObject
from gateway.core.ports.journal import Journal
from gateway.core.ports.world import Secret

OneRun = Callable[[int], Awaitable[list[float]]]
"""A run by its number; how long each of its steps took, seconds."""


def spent_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@asynccontextmanager
async def bare(directory: Path, steps: int, url: str) -> AsyncGenerator[OneRun]:
    """DBOS and its own steps, which do nothing."""
    took: dict[str, list[float]] = {}

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        times = took[run_id] = []

        async def act() -> JsonObject:
            return {"ok": True, "value": "done"}

        for _ in range(steps):
            began = time.perf_counter()
            await DBOS.run_step_async({"name": "step"}, act)
            times.append(time.perf_counter() - began)
        return {}

    place = PostgresServer(Secret(url)) if url else SqliteFile(directory / "runs.db")
    journal = DbosJournal(place, pending_limit=100_000)
    await journal.launch(body)

    async def one(number: int) -> list[float]:
        await journal.start(f"run-{number}", {"n": number})
        await journal.wait(f"run-{number}")
        return took.pop(f"run-{number}")

    try:
        yield one
    finally:
        await journal.aclose()


@asynccontextmanager
async def path(directory: Path, steps: int, url: str) -> AsyncGenerator[OneRun]:
    """A workflow of `steps` stages over an agent in memory, down the whole path."""
    async with open_path(DataDirectory(root=directory), steps, url) as call:

        async def one(number: int) -> list[float]:
            return await call(f"request-{number}")

        yield one


async def measure(options: argparse.Namespace) -> JsonObject:
    opening = bare if options.what == "bare" else path
    async with opening(options.data, options.steps, options.storage) as one:
        await one(-1)
        steps: list[float] = []
        limiter = anyio.CapacityLimiter(options.in_flight)

        async def run(number: int) -> None:
            async with limiter:
                steps.extend(await one(number))

        cpu, began = spent_s(), time.perf_counter()
        async with anyio.create_task_group() as group:
            for number in range(options.runs):
                group.start_soon(run, number)
        took = time.perf_counter() - began
        steps.sort()
        return {
            "steps_per_s": len(steps) / took,
            "p50_ms": steps[len(steps) // 2] * 1e3,
            "p99_ms": steps[int(len(steps) * 0.99)] * 1e3,
            "cpu_ms": (spent_s() - cpu) / len(steps) * 1e3,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["bare", "path"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--storage", default="", help="URL of a PostgreSQL database; by default SQLite")
    parser.add_argument("--profile", type=Path)
    options = parser.parse_args()
    options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if options.profile:
        with cProfile.Profile() as profile:
            said = anyio.run(measure, options, backend_options={"use_uvloop": True})
        profile.dump_stats(options.profile)
    else:
        said = anyio.run(measure, options, backend_options={"use_uvloop": True})
    print(json.dumps(said))


if __name__ == "__main__":
    main()
