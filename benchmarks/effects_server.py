"""An MCP server on the official SDK whose one tool causes an effect, for benchmarks; it writes each to a file.

python -m benchmarks.effects_server PORT FILE
"""

import sys
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server import MCPServer


def server(log: Path) -> MCPServer:
    made = MCPServer("effects", version="1.0.0")
    done: dict[str, str] = {}
    out = log.open("a", buffering=1)

    @made.tool()
    def act(order: str, key: str = "") -> dict[str, Any]:
        """Acts on an order, once per key."""
        if key not in done:
            done[key] = order
            out.write(f"{key} {order}\n")
        return {"order": order, "done": True}

    return made


def main() -> None:
    port, log = int(sys.argv[1]), Path(sys.argv[2])
    app = server(log).streamable_http_app(stateless_http=True, json_response=True)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    main()
