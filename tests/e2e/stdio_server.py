"""An MCP server on stdio that misbehaves; standard library only, so that it starts at once.

It writes lines that are no JSON-RPC before its first answer and beside those of the tool `noise`; it ends in the first
call of the tool `die` (and leaves a mark in the file given), says nothing to `silence` and nonsense to `nonsense`.
"""

import json
import sys
from pathlib import Path
from typing import Any

TOOLS = [
    {"name": name, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}
    for name in ("echo", "die", "silence", "noise", "nonsense")
]
ABOUT: dict[str, Any] = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "odd", "version": "1"},
}


def say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def noise() -> None:
    sys.stdout.write("Listening ...\n{not json}\n\x00\x1b[31m\n[]\n" + "z" * 5000 + "\n")
    sys.stdout.flush()


def answer_call(number: Any, name: str, arguments: dict[str, Any], mark: Path) -> None:
    if name == "die" and not mark.exists():
        mark.touch()
        sys.stderr.write("Traceback: /srv/secret-place/odd.py\n")
        sys.exit(3)
    if name == "silence":
        return
    if name == "noise":
        noise()
    if name == "nonsense":
        say({"jsonrpc": "2.0", "id": number, "result": 7})
        return
    text = json.dumps(arguments)
    say({"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "text", "text": text}], "isError": False}})


def main() -> None:
    mark = Path(sys.argv[1])
    noise()
    for line in sys.stdin:
        message = json.loads(line)
        number, method, params = message.get("id"), message.get("method"), message.get("params", {})
        if method == "initialize":
            say({"jsonrpc": "2.0", "id": number, "result": ABOUT})
        elif method == "tools/list":
            say({"jsonrpc": "2.0", "id": number, "result": {"tools": TOOLS}})
        elif method == "tools/call":
            answer_call(number, params["name"], params.get("arguments", {}), mark)
        elif number is not None:
            say({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "no such method"}})


if __name__ == "__main__":
    main()
