"""What orchestration costs beside the bare durable engine: steps per second and time per step, in one run.

python -m benchmarks.engine [--steps 5] [--least-steps 1000]

Both sides run workflows of the same number of steps at 1, 50 and 500 in flight, on SQLite and on PostgreSQL. `engine`:
DBOS alone with its own steps, which do nothing. `path`: a sequential workflow over an agent in memory, with everything
a real call has but the sockets: access policy, ledger, labels, run tree, events, audit on disk.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import rig
from tests.postgres import running_postgres

IN_FLIGHT = (1, 50, 500)


def worker(what: str, where: Path, url: str, *, in_flight: int, runs: int, steps: int) -> dict[str, float]:
    """One measurement, in a process of its own: an engine is one per process."""
    command = [sys.executable, "-m", "benchmarks.engine_worker", what, "--data", str(where)]
    command += ["--in-flight", str(in_flight), "--runs", str(runs), "--steps", str(steps)]
    if url:
        command += ["--storage", url]
    done = subprocess.run(command, cwd=rig.ROOT, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        raise SystemExit(f"{what} at {in_flight} in flight failed:\n{done.stderr[-2000:]}")
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return said


def rows(kind: str, options: argparse.Namespace, where: Path, server: Any) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for in_flight in IN_FLIGHT:
        runs = max(options.least_steps // options.steps, in_flight)
        sides: dict[str, dict[str, float]] = {}
        for what in ("bare", "path"):
            folder = where / f"{kind}-{what}-{in_flight}"
            shape = {"in_flight": in_flight, "runs": runs, "steps": options.steps}
            if server is None:
                sides[what] = worker(what, folder, "", **shape)
            else:
                with server.database() as url:
                    sides[what] = worker(what, folder, url, **shape)
        bare, path = sides["bare"], sides["path"]
        share = path["steps_per_s"] / bare["steps_per_s"]
        row = (
            kind,
            str(in_flight),
            f"{bare['steps_per_s']:.0f}",
            f"{path['steps_per_s']:.0f}",
            f"{share:.0%}",
            f"{path['p50_ms'] - bare['p50_ms']:+.1f}",
            f"{path['p99_ms'] - bare['p99_ms']:+.1f}",
            f"{bare['cpu_ms']:.2f}",
            f"{path['cpu_ms']:.2f}",
        )
        print("  ".join(row), file=sys.stderr)
        found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--least-steps", type=int, default=1000)
    options = parser.parse_args()
    with TemporaryDirectory() as folder, running_postgres() as server:
        where = Path(folder)
        found = [*rows("SQLite", options, where, None), *rows("PostgreSQL", options, where, server)]
    head = ("storage", "in flight", "engine/s", "path/s", "share", "p50 added ms", "p99 added ms")
    rig.table("steps on the whole path against the bare engine", (*head, "engine CPU ms", "path CPU ms"), found)


if __name__ == "__main__":
    main()
