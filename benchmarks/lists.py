"""tools/list of 1,000 tools for a restricted agent: warm, and while one of ten upstreams hangs.

python -m benchmarks.lists
"""

import json
import socket
import time
import urllib.request
from contextlib import ExitStack

from benchmarks import rig

TOOLS = 1000
WARM_CALLS = 300
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ROLES = """
roles: {{bench: {{allow: ["tool:*"], deny: [{deny}]}}}}
principals: {{bench: {{roles: [bench], key: "env:BENCH_KEY"}}}}
"""


def listed(port: int) -> tuple[dict[str, object], float]:
    """(the result of tools/list, seconds)."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}}).encode()
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "authorization": f"Bearer {rig.KEY}",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/list",
    }
    request = urllib.request.Request(f"http://127.0.0.1:{port}/mcp", data=body, headers=headers)
    began = time.monotonic()
    with urllib.request.urlopen(request, timeout=30) as response:
        result: dict[str, object] = json.loads(response.read())["result"]
    return result, time.monotonic() - began


def warm() -> None:
    with ExitStack() as stack:
        where = stack.enter_context(rig.folder())
        upstream = stack.enter_context(rig.raw_upstream(where, TOOLS))
        servers = f"servers: {{raw: {{url: 'http://127.0.0.1:{upstream}/mcp'}}}}"
        deny = ", ".join(f'"tool:raw/tool{number}"' for number in range(0, TOOLS, 10))
        running = stack.enter_context(rig.gateway(where, servers + ROLES.format(deny=deny)))
        result, first_s = listed(running.port)
        before = rig.cpu_s(running.pid)
        for _ in range(WARM_CALLS):
            result, _ = listed(running.port)
        cpu_ms = (rig.cpu_s(running.pid) - before) / WARM_CALLS * 1e3
        tools = result["tools"]
        count = len(tools) if isinstance(tools, list) else 0  # pyright: ignore[reportUnknownArgumentType] - JSON
        size = len(json.dumps(result))
        rows = [(f"{count} of {TOOLS}", f"{size / 1024:.0f}", f"{first_s * 1e3:.0f}", f"{cpu_ms:.2f}")]
        rig.table("tools/list, restricted agent", ("tools seen", "KB", "first ms", "warm CPU ms"), rows)


def hanging() -> None:
    """Ten upstreams, one of which accepts and never answers."""
    with ExitStack() as stack:
        where = stack.enter_context(rig.folder())
        mute = stack.enter_context(socket.socket())
        mute.bind(("127.0.0.1", 0))
        mute.listen(64)
        ports = [stack.enter_context(rig.raw_upstream(where, 100)) for _ in range(9)]
        named = [f"s{number}: {{url: 'http://127.0.0.1:{port}/mcp'}}" for number, port in enumerate(ports)]
        named.append(f"mute: {{url: 'http://127.0.0.1:{mute.getsockname()[1]}/mcp'}}")
        running = stack.enter_context(rig.gateway(where, f"servers: {{{', '.join(named)}}}" + ROLES.format(deny="")))
        result, took_s = listed(running.port)
        tools, meta = result["tools"], result.get("_meta")
        count = len(tools) if isinstance(tools, list) else 0  # pyright: ignore[reportUnknownArgumentType] - JSON
        gaps = json.dumps(meta.get("drawbridge/gaps")) if isinstance(meta, dict) else ""  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType] - JSON
        rows = [(str(count), f"{took_s * 1e3:.0f}", f"{running.ready_s:.2f}", gaps)]
        rig.table("tools/list with one of ten upstreams hanging", ("tools", "ms", "ready after s", "gaps named"), rows)


def main() -> None:
    warm()
    hanging()


if __name__ == "__main__":
    main()
