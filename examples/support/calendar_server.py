"""The managers' calendar: an MCP server over stdio, in a real SQLite file.

python -m examples.support.calendar_server --db calendar.db
"""

import argparse
import sqlite3
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

SLOTS = ("09:00", "10:30", "14:00", "16:30")
READ = ToolAnnotations(read_only_hint=True)


def build(path: Path) -> MCPServer:
    server = MCPServer("calendar", version="1.0.0", instructions="Call-backs by managers.")

    def run(statement: str, *values: str) -> list[Any]:
        connection = sqlite3.connect(path, timeout=10)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    run(
        "CREATE TABLE IF NOT EXISTS callbacks"
        " (key TEXT PRIMARY KEY, day TEXT, slot TEXT, phone TEXT, topic TEXT, UNIQUE (day, slot))"
    )

    @server.tool(title="Free slots", annotations=READ)
    def free_slots(day: str) -> list[str]:
        """Times of a day at which a manager is free."""
        taken = {slot for (slot,) in run("SELECT slot FROM callbacks WHERE day = ?", day)}
        return [slot for slot in SLOTS if slot not in taken]

    @server.tool(title="Book a call-back", annotations=ToolAnnotations(idempotent_hint=True))
    def book(day: str, slot: str, phone: str, topic: str, idempotency_key: str) -> dict[str, str]:
        """Have a manager call a customer. The same idempotency_key books once."""
        run(
            "INSERT INTO callbacks VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
            *(idempotency_key, day, slot, phone, topic),
        )
        return {"day": day, "slot": slot, "topic": topic}

    @server.tool(title="List call-backs", annotations=READ)
    def list_callbacks() -> list[dict[str, str]]:
        """Everything that was booked."""
        rows = run("SELECT day, slot, phone, topic FROM callbacks")
        return [dict(zip(("day", "slot", "phone", "topic"), row, strict=True)) for row in rows]

    return server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--db", type=Path, default=Path("calendar.db"))
    build(parser.parse_args().db).run("stdio")


if __name__ == "__main__":
    main()
