"""Bytes of tools/list for 500 tools: in full, and by a set that is searched; and what finding and describing one costs.

python -m benchmarks.tool_tokens
"""

import json
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import rig

ROOT = Path(__file__).resolve().parents[1]
NOUNS = (
    *("order", "invoice", "customer", "shipment", "ticket", "article", "contract", "payment", "refund", "warehouse"),
    *("supplier", "employee", "project", "meeting", "document", "campaign", "lead", "account", "asset", "incident"),
    *("release", "pipeline", "dashboard", "policy", "survey"),
)
VERBS = (
    *("create", "get", "list", "update", "delete", "search", "archive", "restore", "assign", "approve"),
    *("reject", "export", "import", "duplicate", "merge", "split", "comment_on", "watch", "share", "lock"),
)
TOOLS = len(NOUNS) * len(VERBS)
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
CONFIGURATION = """
servers: {{desk: {{command: {command}, cwd: {root}}}}}
sets: {{lean: {{search: true}}}}
roles: {{bench: {{allow: ["tool:*"]}}}}
principals: {{bench: {{roles: [bench], key: "env:BENCH_KEY"}}}}
"""
BYTES_A_TOKEN = 4
"""About what English and JSON take."""


def definition(verb: str, noun: str) -> dict[str, Any]:
    """A tool of about the size real ones have, 400 to 600 bytes."""
    said = verb.replace("_", " ")
    properties = {
        f"{noun}_id": {"type": "string", "description": f"Identifier of the {noun}, as `list_{noun}` gives it."},
        "fields": {"type": "array", "items": {"type": "string"}, "description": "Which fields the answer has."},
        "dry_run": {"type": "boolean", "default": False, "description": "Only say what would be done."},
    }
    return {
        "name": f"{verb}_{noun}",
        "description": f"{said.capitalize()} a {noun} of the workspace. Needs the right to {said} every {noun} named.",
        "inputSchema": {"type": "object", "properties": properties, "required": [f"{noun}_id"]},
    }


def serve() -> None:
    """An MCP server on stdio that offers all of them."""
    tools = [definition(verb, noun) for noun in NOUNS for verb in VERBS]
    for line in sys.stdin:
        message = json.loads(line)
        match message["method"]:
            case "initialize":
                version = message["params"]["protocolVersion"]
                result: dict[str, Any] = {"protocolVersion": version, "capabilities": {"tools": {}}}
            case "tools/list":
                result = {"tools": tools}
            case _:
                result = {}
        if "id" in message:
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)


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
        command = json.dumps([sys.executable, "-m", "benchmarks.tool_tokens", "--serve"])
        running = stack.enter_context(
            rig.gateway(where, CONFIGURATION.format(command=command, root=json.dumps(str(ROOT))))
        )
        sizes = [
            (f"/mcp, {TOOLS} tools", listed(running.port, "/mcp")),
            ("/mcp/sets/lean, 3 tools", listed(running.port, "/mcp/sets/lean")),
            ("one search", called(running.port, "search", query="pay a customer back")),
            ("one describe", called(running.port, "describe", names=["desk__create_refund"])),
        ]
        rows = [(what, f"{size:,}", f"{size // BYTES_A_TOKEN:,}") for what, size in sizes]
        rig.table("what a model is told", ("", "bytes", "tokens, about"), rows)


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve()
    else:
        main()
