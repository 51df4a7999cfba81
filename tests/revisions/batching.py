"""MCP servers of 2025-03-26 that send everything in arrays: over HTTP, HTTP+SSE and, run as a script, over stdio.

What they say before an answer waits for it, and goes in its array; beside it goes what means nothing to anybody.
"""

import asyncio
import json
import sys
from typing import Any

from tests.revisions.server import Message, OlderTransport, Refused, RevisionServer, Say

REVISION = "2025-03-26"


def batch(*said: Message) -> Any:
    """Messages in one array, and among them one that is nobody's."""
    return [{"jsonrpc": "2.0", "method": "notifications/initialized"}, *said]


class Batching(RevisionServer):
    """Over Streamable HTTP."""

    def __init__(self) -> None:
        super().__init__(REVISION)

    def framed(self, said: Message) -> Any:
        return batch(said)

    def gathering(self, say: Say) -> Say:
        return gathered(say)


class OlderBatching(OlderTransport):
    """Over HTTP+SSE."""

    def gathering(self, say: Say) -> Say:
        return gathered(say)


class StdioBatching(Batching):
    """Over stdio, where no header tells one era from the other."""

    async def result(self, message: Message, declared: Message, say: Say) -> Message:
        if message["method"] == "server/discover":
            raise Refused(200, -32601, "Method not found")
        return await super().result(message, declared, say)


def gathered(say: Say) -> Say:
    """Notifications wait for what comes next."""
    waiting: list[Message] = []

    async def say_later(said: Message) -> None:
        waiting.append(said)
        if "id" in said:
            together, waiting[:] = [*waiting], []
            await say(batch(*together))

    return say_later


async def _say(said: Any) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


async def _reply(server: RevisionServer, message: Message) -> None:
    say = gathered(_say)
    declared = [{}, *server.sessions.values()][-1]
    try:
        said: Message = {"result": await server.result(message, declared, say)}
    except Refused as refused:
        said = {"error": refused.error}
    await say({"jsonrpc": "2.0", "id": message["id"], **said})


async def main() -> None:
    server = StdioBatching()
    async with asyncio.TaskGroup() as group:
        while line := await asyncio.to_thread(sys.stdin.readline):
            message: Message = json.loads(line)
            if "method" not in message:
                server.told(message)
            elif "id" in message:
                group.create_task(_reply(server, message))


if __name__ == "__main__":
    asyncio.run(main())
