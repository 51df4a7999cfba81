"""The stream a legacy session has beside its calls (MCP until 2025-11-25, "listening for messages from the server").

Servers should ask on the stream of the call they ask for, and many ask here instead. A question that comes while a call
is under way is given to that call; one that comes while there is none can be answered by nobody: the stream is closed
then, as if there had never been one, until the next call. Fed by the connection's callbacks.
"""

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager

from adapters.mcp.batches import messages_in
from adapters.mcp.client_answers import Answers
from adapters.mcp.client_pages import COMPLETE
from adapters.mcp.client_stream import Stream
from adapters.mcp.client_unanswered import Unanswered
from adapters.mcp.client_updates import UPDATED
from adapters.mcp.client_wire import BETWEEN, LIST_CHANGED
from adapters.net.response import Response
from adapters.net.sse import SseParser
from gateway.core.errors import GatewayError

_MOST_WAITING = 256
_NOBODYS = frozenset({*BETWEEN, UPDATED, "notifications/progress"})
"""What is said of no call here: progress names its call, and belongs on its stream."""


class SessionAside:
    """See `Aside`. Implements `Sink`."""

    def __init__(
        self,
        response: Response,
        answers: Answers,
        event_bytes: int,
        on_changed: Callable[[], None],
        say: Callable[[bytes], None],
        before: "SessionAside | None",
    ) -> None:
        """Takes all that comes by `response`; `say` is given what is for the session's clients, and for no call.

        `before`: whose calls go on.
        """
        self.calls: dict[int, Stream] = {} if before is None else before.calls
        self.unanswered: dict[int, Unanswered] = {} if before is None else before.unanswered
        self.early = deque[bytes](maxlen=_MOST_WAITING)
        self._awaited = 0
        self.over = False
        """Nothing more will come."""
        self._response = response
        self._answers = answers
        self._parser = SseParser(event_bytes, answers.name)
        self._on_changed = on_changed
        self._say = say
        response.pour(self)

    @contextmanager
    def awaited(self) -> Generator[None]:
        """A call is about to begin: what is said until then is kept for it."""
        self._awaited += 1
        try:
            yield
        finally:
            self._awaited -= 1
            if not self._awaited and self.early:
                self.early.clear()
                self.close()  # it may have been a question, and there was no stream to answer it on

    def close(self) -> None:
        """Hear nothing more."""
        self.over = True
        self._response.close()

    # See `Sink`.

    def received(self, data: bytes) -> None:
        if self.over:
            return
        try:
            for event in self._parser.feed(data):
                for said in messages_in(event.data) if event.data else ():
                    self._take(said)
        except GatewayError:
            self.close()  # what is said here is lost, and no call with it

    def ended(self, error: GatewayError | None) -> None:
        self.over = True

    def _take(self, raw: bytes) -> None:
        message = self._answers.message(raw)
        if message.method in LIST_CHANGED:
            self._on_changed()
        elif message.method == COMPLETE:
            self._say(raw)
        elif message.kind == "request" or (message.kind == "notification" and message.method not in _NOBODYS):
            calls: dict[int, Stream] | dict[int, Unanswered] = self.calls or self.unanswered
            call = next(reversed(calls.values()), None)
            if call is not None and len(call.events) < _MOST_WAITING:
                call.events.append(raw)
                call.nudge()
            elif call is None and self._awaited:
                self.early.append(raw)
            elif message.kind == "request":
                self.close()
