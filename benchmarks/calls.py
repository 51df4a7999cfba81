"""tools/call through the gateway, against a direct call and against plain nginx, in one run.

    python -m benchmarks.calls [--seconds 2] [--rounds 3] [--fastmcp]

The gateway (or nginx) has one core, wrk and the upstream the other. CPU per call is what the kernel accounts to the
process and all its threads; rates on shared machines wander, CPU per call does not. `--fastmcp` compares with a FastMCP
proxy, which has to be installed (`pip install fastmcp`).
"""

import argparse
import importlib.util
import re
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import rig

CONFIGURATION = """
servers:
  raw:
    url: http://127.0.0.1:{port}/mcp
    tools: {{tool0: {{tags: [read]}}}}
  old:
    url: http://127.0.0.1:{legacy}/mcp
    tools: {{tool0: {{tags: [read]}}}}
roles: {{bench: {{allow: ["tool:raw/*", "tool:old/*"]}}}}
principals: {{bench: {{roles: [bench], key: "env:BENCH_KEY"}}}}
"""
META = (
    '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
    '"io.modelcontextprotocol/clientInfo":{"name":"wrk","version":"1"},'
    '"io.modelcontextprotocol/clientCapabilities":{}}'
)


@dataclass(slots=True)
class Cell:
    """One row of the table."""

    name: str
    port: int
    tool: str
    pid: int = 0
    """Whose CPU is counted; 0 for nobody's."""
    session: str = ""
    rates: list[float] = field(default_factory=list[float])
    cpu_us: list[float] = field(default_factory=list[float])
    p50_us: list[float] = field(default_factory=list[float])


def script(where: Path, cell: Cell) -> Path:
    """What wrk sends."""
    modern = not cell.session
    params = f'"name":"{cell.tool}","arguments":{{"text":"hello"}}' + (f",{META}" if modern else "")
    body = f'{{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{{{params}}}}}'
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "authorization": f"Bearer {rig.KEY}",
        "mcp-protocol-version": "2026-07-28" if modern else "2025-11-25",
    }
    headers |= {"mcp-method": "tools/call", "mcp-name": cell.tool} if modern else {"mcp-session-id": cell.session}
    lines = ['wrk.method = "POST"', *(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items())]
    # Ids differ, as a session demands of requests under way at once; formatted once, so that wrk stays cheap.
    lines += ["local ready, at = {}, 0", f"local body = [==[{body}]==]", "init = function()"]
    lines += ["  for id = 1, 2048 do ready[id] = wrk.format(nil, nil, nil, string.format(body, id)) end", "end"]
    lines += ["request = function()", "  at = at % 2048 + 1", "  return ready[at]", "end"]
    path = where / f"{cell.name.replace(' ', '-')}.lua"
    path.write_text("\n".join(lines))
    return path


def load(where: Path, cell: Cell, connections: int, seconds: int) -> tuple[float, float]:
    """(calls per second, p50 us). Stops the benchmark at the first answer that is no success."""
    command = [
        "taskset",
        "-c",
        rig.OTHER_CORE,
        rig.need("wrk"),
        "-t1",
        "--timeout",
        "30s",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
    ]
    command += ["-s", str(script(where, cell)), f"http://127.0.0.1:{cell.port}/mcp"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"{cell.name}: not every call succeeded\n{said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    p50 = re.search(r"50%\s+([\d.]+)(us|ms|s)", said)
    if rate is None or p50 is None:
        raise SystemExit(f"wrk said something unexpected:\n{said}")
    return float(rate.group(1)), float(p50.group(1)) * {"us": 1, "ms": 1e3, "s": 1e6}[p50.group(2)]


def measure(where: Path, cell: Cell, connections: int, seconds: int) -> None:
    before = rig.cpu_s(cell.pid) if cell.pid else 0.0
    rate, p50_us = load(where, cell, connections, seconds)
    used = rig.cpu_s(cell.pid) - before if cell.pid else 0.0
    cell.rates.append(rate)
    cell.cpu_us.append(used / max(rate * seconds, 1.0) * 1e6)
    cell.p50_us.append(p50_us)


def legacy_session(port: int) -> str:
    """A session of the 2025-11-25 revision at the gateway."""
    body = (
        '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
        '"capabilities":{},"clientInfo":{"name":"wrk","version":"1"}}}'
    )
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/mcp",
        data=body.encode(),
        headers={
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "authorization": f"Bearer {rig.KEY}",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        session: str = response.headers["mcp-session-id"]
    return session


def fastmcp(stack: ExitStack, where: Path, upstream: int) -> Cell | None:
    """A FastMCP proxy in its default mode, where it is installed."""
    if importlib.util.find_spec("fastmcp") is None:
        print("fastmcp is not installed: no row for it")
        return None
    port = rig.free_port()
    program = where / "proxy.py"
    program.write_text(
        "from fastmcp import FastMCP\nfrom fastmcp.server import create_proxy\n"
        f"create_proxy('http://127.0.0.1:{upstream}/mcp').run('http', port={port}, stateless_http=True)\n"
    )
    started = stack.enter_context(
        rig.process(sys.executable, str(program), core=rig.GATEWAY_CORE, log=where / "fastmcp.log")
    )
    rig.wait_for_port(port, 60)
    return Cell("FastMCP proxy", port, "tool0", started.pid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=2, help="of one round; whole seconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fastmcp", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        where = stack.enter_context(rig.folder())
        upstream = stack.enter_context(rig.raw_upstream(where))
        legacy = stack.enter_context(rig.raw_upstream(where, legacy=True))
        proxied, worker = stack.enter_context(rig.nginx(where, upstream))
        running = stack.enter_context(rig.gateway(where, CONFIGURATION.format(port=upstream, legacy=legacy)))
        session = legacy_session(running.port)
        cells = [
            Cell("direct", upstream, "tool0"),
            Cell("nginx", proxied, "tool0", worker),
            Cell("gateway, modern, read", running.port, "raw__tool0", running.pid),
            Cell("gateway, legacy, read", running.port, "old__tool0", running.pid, session),
            Cell("gateway, modern, sink", running.port, "raw__tool1", running.pid),
        ]
        if options.fastmcp and (other := fastmcp(stack, where, upstream)) is not None:
            cells.append(other)
        for connections in (32, 1):
            for cell in cells:
                cell.rates, cell.cpu_us, cell.p50_us = [], [], []
            for cell in cells[2:]:
                load(where, cell, connections, 1)
            for number in range(options.rounds):
                for cell in cells if number % 2 == 0 else cells[::-1]:
                    measure(where, cell, connections, options.seconds)
            _print(cells, connections)


def _print(cells: list[Cell], connections: int) -> None:
    median: Callable[[list[float]], float] = statistics.median
    direct, nginx = cells[0], cells[1]
    rows = [
        (
            cell.name,
            f"{median(cell.rates):,.0f}",
            f"{median(cell.rates) / median(nginx.rates):.1%}",
            f"{median(cell.cpu_us):.1f}" if cell.pid else "-",
            f"{median(cell.p50_us):.0f}",
            f"{median(cell.p50_us) - median(direct.p50_us):+.0f}",
        )
        for cell in cells
    ]
    head = ("", "calls/s", "of nginx", "CPU us/call", "p50 us", "over direct")
    rig.table(f"tools/call, {connections} in flight (medians of {len(nginx.rates)} rounds)", head, rows)


if __name__ == "__main__":
    main()
