"""Batches of a stdio client (MCP 2025-03-26): a line that is an array goes to the gateway whole, which judges it.

What comes back is an array, or one answer after the other; whatever happens, each request has its answer at the end.
"""

from collections.abc import Awaitable, Callable, Iterable

from adapters.mcp.batches import messages_in
from adapters.mcp.classify import Message, message_from
from adapters.mcp.refusals import NULL, RpcRefusal, error_bytes
from adapters.mcp.stdio_http import FAILURES, UNANSWERED, Failed, Gone, Hear, Link, read_answer, refusal_of


class StdioBatches:
    """Relays batches by the session of the client's single messages."""

    def __init__(self, link: Link, say: Hear, reopen: Callable[[str], Awaitable[None]], depth: int) -> None:
        """`reopen` opens a session in place of one that is gone; see `Link.post_several` for what it raises."""
        self._link = link
        self._say = say
        self._reopen = reopen
        self._depth = depth

    def messages(self, line: bytes) -> list[tuple[Message, bytes]]:
        """Requests and notifications in a batch, each with its own bytes; what else is in it the gateway judges."""
        found: list[tuple[Message, bytes]] = []
        for raw in messages_in(line):
            try:
                message = message_from(raw, "legacy", self._depth)
            except RpcRefusal:
                continue
            if isinstance(message, Message):
                found.append((message, raw))
        return found

    async def relay(self, line: bytes, ids: Iterable[bytes]) -> None:
        """Send a batch and write what comes back; `ids` are those of its requests, raw."""
        waiting = dict.fromkeys(ids)

        async def hear(said: bytes) -> None:
            for each in map(read_answer, messages_in(said)):
                if not each.method:
                    waiting.pop(bytes(each.id), None)
            await self._say(said)

        try:
            alone = await self._sent(line, hear)
            if waiting and not alone:
                raise Failed(UNANSWERED)
        except FAILURES as error:
            refusal = refusal_of(error)
            alone = error_bytes(NULL, refusal.code, refusal.message, refusal.data)
        error = bytes(read_answer(alone).error) if alone else b""
        if error and waiting:
            # Whoever waits knows its request by nothing but its id.
            await self._say(
                b"[%b]" % b",".join(b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (each, error) for each in waiting)
            )
        elif alone:
            await self._say(alone)

    async def _sent(self, line: bytes, hear: Hear) -> bytes:
        """The one answer to all of it, if that is what there is. Raises: see `Link.post_several`."""
        session = self._link.session
        try:
            return await self._link.post_several(line, hear)
        except Gone:
            await self._reopen(session)
            return await self._link.post_several(line, hear)
