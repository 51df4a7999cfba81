"""Bytes of tools/list for 500 tools: in full, and by a set that is searched; and what finding and describing one costs.

python -m benchmarks.tool_tokens
"""

import json
import urllib.request
from contextlib import ExitStack
from typing import Any

from benchmarks import rig

TOOLS = 500
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
CONFIGURATION = """
servers: {{raw: {{url: 'http://127.0.0.1:{port}/mcp'}}}}
sets: {{lean: {{search: true}}}}
roles: {{bench: {{allow: ["tool:*"]}}}}
principals: {{bench: {{roles: [bench], key: "env:BENCH_KEY"}}}}
"""
BYTES_A_TOKEN = 4
"""About what English and JSON take."""


def asked(port: int, path: str, method: str, params: dict[str, Any]) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": META}}).encode()
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "authorization": f"Bearer {rig.KEY}",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": method,
        **({"mcp-name": params["name"]} if "name" in params else {}),
    }
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: bytes = response.read()
    return answer


def listed(port: int, path: str) -> int:
    """Bytes of every page together."""
    total, cursor = 0, ""
    while True:
        answer = asked(port, path, "tools/list", {"cursor": cursor} if cursor else {})
        total += len(answer)
        cursor = json.loads(answer)["result"].get("nextCursor", "")
        if not cursor:
            return total


def called(port: int, name: str, **arguments: Any) -> int:
    return len(asked(port, "/mcp/sets/lean", "tools/call", {"name": name, "arguments": arguments}))


def main() -> None:
    with ExitStack() as stack:
        where = stack.enter_context(rig.folder())
        upstream = stack.enter_context(rig.raw_upstream(where, TOOLS))
        running = stack.enter_context(rig.gateway(where, CONFIGURATION.format(port=upstream)))
        sizes = [
            (f"/mcp, {TOOLS} tools", listed(running.port, "/mcp")),
            ("/mcp/sets/lean, 3 tools", listed(running.port, "/mcp/sets/lean")),
            ("one search", called(running.port, "search", query="tool 7")),
            ("one describe", called(running.port, "describe", names=["raw__tool7"])),
        ]
        rows = [(what, f"{size:,}", f"{size // BYTES_A_TOKEN:,}") for what, size in sizes]
        rig.table("what a model is told", ("", "bytes", "tokens, about"), rows)


if __name__ == "__main__":
    main()
