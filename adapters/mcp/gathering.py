"""The answer to a batch: one HTTP answer for several messages, each of them answered as if it had come alone.

It is an array in the order of the requests where nothing comes before the answers, and they are not too large to wait
for each other; else a stream on which each answer is one of its own. MCP 2025-03-26, transports, "sending messages to
the server", leaves that to the server.
"""

from collections.abc import Mapping

import anyio
from starlette.types import Receive, Send

from adapters.mcp.exchange import KEEP_ALIVE, Exchange, HeaderLines, Pace, Vigil
from adapters.mcp.refusals import error_bytes
from adapters.mcp.unread import Unread
from gateway.core.errors import Exhausted
from gateway.core.json import Json


class Gathering(Exchange):
    """The whole of it: what is answered waits here until all is, unless there is a stream already."""

    __slots__ = ("_drained", "_held", "_held_bytes", "_most_bytes", "_stirred", "_waiting")

    def __init__(
        self,
        receive: Receive,
        send: Send,
        *,
        pace: Pace,
        vigil: Vigil,
        accept: tuple[bool, bool],
        unread: Unread,
    ) -> None:
        super().__init__(receive, send, pace=pace, vigil=vigil, accept=accept, unread=unread)
        self._waiting: dict[int, bytes] = {}
        """Raw ids of requests that are not answered yet, by their places in the batch."""
        self._held: dict[int, bytes] = {}
        """Answers that are not sent yet, likewise."""
        self._held_bytes = self._most_bytes = 0
        self._drained = anyio.Event()
        self._stirred = anyio.Event()

    def expect(self, requests: Mapping[int, bytes], most_bytes: int) -> None:
        """What is to be answered: raw ids, by their places in the batch. `most_bytes` of answers wait for others."""
        self._waiting = {**requests}
        self._most_bytes = most_bytes

    async def room(self) -> None:
        """Return once there is room for another answer. Raises: Exhausted: there will be none before the end."""
        while self._crowded and self._waiting:
            if not self._streams and not self.accepts_sse:
                said = "the answers before it in its batch are too large to wait for more of them: send it in another"
                raise Exhausted(said, detail={"limit": "batch"})
            self._drained = anyio.Event()
            await self._drained.wait()

    def answered(self, place: int, message: bytes) -> None:
        """The answer to one of them, once."""
        if self._waiting.pop(place, None) is not None and not self.ending:
            self._held[place] = message
            self._held_bytes += len(message)
            self._stirred.set()
            if not self._waiting:
                self._drained.set()  # nobody makes room any more, and nobody needs it

    async def tell(self) -> None:
        """Send answers while others are still to come, where there is a stream; ends when all are there.

        In a task of its own: whoever answers may be cut off in the middle, and must not take another's answer along.
        """
        while self._waiting:
            await self._stirred.wait()
            self._stirred = anyio.Event()
            while (self._streams or (self._crowded and self.accepts_sse)) and self._waiting and self._held:
                await self.ask(self._next())

    async def complete(self) -> None:
        """Send what was not sent yet, and end."""
        while self._streams and len(self._held) > 1:
            await self.ask(self._next())
        rest = [self._held[place] for place in sorted(self._held)]
        self._held.clear()
        await self._finish(rest[0] if self._streams else b"[%b]" % b",".join(rest), 200, ())

    async def pass_on(self, event: bytes) -> None:
        """Send an event of one of them."""
        await self._write(self._kept(event))

    async def refuse(self, code: int, message: str, data: Json, http: int, headers: HeaderLines = ()) -> None:
        """See `Exchange.refuse`; what was understood before is answered too."""
        if not (self._waiting or self._held):
            await super().refuse(code, message, data, http, headers)
            return
        for place, request_id in self._waiting.items():
            self._held[place] = error_bytes(request_id, code, message, data)
        self._waiting = {}
        await self.complete()

    @property
    def _streams(self) -> bool:
        return self._started or not self.accepts_json

    @property
    def _crowded(self) -> bool:
        return self._held_bytes > self._most_bytes

    def _next(self) -> bytes:
        message = self._held.pop(min(self._held))
        self._held_bytes -= len(message)
        self._drained.set()
        return message

    async def _begin_stream(self) -> None:
        await super()._begin_stream()
        self._stirred.set()


class Part(Exchange):
    """One request of a batch being answered; whatever is to be said goes by the whole."""

    __slots__ = ("_place", "_whole")

    def __init__(self, whole: Gathering, place: int) -> None:
        """In the task that answers it."""
        super().__init__(
            whole._receive,
            whole._send,
            pace=whole._pace,
            vigil=whole._vigil,
            accept=(whole.accepts_json, whole.accepts_sse),
            unread=whole._unread,
        )
        self._whole = whole
        self._place = place

    async def _write(self, chunk: bytes) -> None:
        if chunk is not KEEP_ALIVE and not self.ending and self.phase == "calling":
            await self._whole.pass_on(chunk)

    def _kept(self, event: bytes) -> bytes:
        return event

    async def _finish(self, message: bytes, http: int, headers: HeaderLines) -> None:
        self.phase = "answering"
        self._whole.answered(self._place, message)

    async def _plain(self, message: bytes, http: int, headers: HeaderLines) -> None:
        self._whole.answered(self._place, message)
