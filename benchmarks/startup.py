"""From start to ready with ten HTTP servers, one of them down; and memory from call 1,000 to call 10,000.

python -m benchmarks.startup
"""

import subprocess
from contextlib import ExitStack

from benchmarks import rig
from benchmarks.calls import Cell, script

SERVERS = 10
STARTS = 5
ROLES = """
roles: {bench: {allow: ["tool:*"]}}
principals: {bench: {roles: [bench], key: "env:BENCH_KEY"}}
"""


def configuration(stack: ExitStack) -> str:
    """Ten servers; nothing listens behind the last."""
    where = stack.enter_context(rig.folder())
    ports = [stack.enter_context(rig.raw_upstream(where)) for _ in range(SERVERS - 1)]
    ports.append(rig.free_port())
    servers = [f"s{number}: {{url: 'http://127.0.0.1:{port}/mcp', tags: [read]}}" for number, port in enumerate(ports)]
    return f"servers: {{{', '.join(servers)}}}" + ROLES


def starts() -> None:
    with ExitStack() as stack:
        said = configuration(stack)
        ready: list[float] = []
        for _ in range(STARTS):
            with rig.folder() as where, rig.gateway(where, said) as running:
                ready.append(running.ready_s)
        rows = [(f"{min(ready):.2f}", f"{sorted(ready)[STARTS // 2]:.2f}", f"{max(ready):.2f}")]
        rig.table(
            f"start to ready, {SERVERS} servers, one down ({STARTS} starts)", ("best s", "median s", "worst s"), rows
        )


def memory() -> None:
    with ExitStack() as stack:
        said = configuration(stack)
        where = stack.enter_context(rig.folder())
        running = stack.enter_context(rig.gateway(where, said))
        cell = Cell("memory", running.port, "s0__tool0")
        sizes: list[float] = [rig.resident_mb(running.pid)]
        for calls in (1000, 9000):
            _send(where / script(where, cell).name, running.port, calls)
            sizes.append(rig.resident_mb(running.pid))
        rows = [(*(f"{size:.0f}" for size in sizes), f"{sizes[2] - sizes[1]:+.1f}")]
        rig.table("resident MB", ("at ready", "call 1,000", "call 10,000", "growth"), rows)


def _send(lua: "rig.Path", port: int, calls: int) -> None:
    """At least so many calls."""
    done = 0
    while done < calls:
        command = [rig.need("wrk"), "-t1", "-c8", "-d1s", "-s", str(lua), f"http://127.0.0.1:{port}/mcp"]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
        if "Non-2xx" in said:
            raise SystemExit(f"not every call succeeded\n{said}")
        done += int(said.split(" requests in")[0].split()[-1])


def main() -> None:
    starts()
    memory()


if __name__ == "__main__":
    main()
