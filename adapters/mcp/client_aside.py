"""The stream a legacy session has beside its calls (MCP until 2025-11-25, "listening for messages from the server").

Servers should ask on the stream of the call they ask for, and many ask here instead. A question that comes while a call
is under way is given to that call; one that comes while there is none can be answered by nobody: the stream is closed
then, as if there had never been one, until the next call. Fed by the connection's callbacks.
"""

from collections.abc import Callable

from adapters.mcp.client_answers import Answers
from adapters.mcp.client_stream import Stream
from adapters.mcp.client_wire import LIST_CHANGED
from adapters.net.response import Response
from adapters.net.sse import SseParser
from gateway.core.errors import GatewayError

_MOST_WAITING = 256
_LOG = "notifications/message"


class SessionAside:
    """See `Aside`. Implements `Sink`."""

    def __init__(
        self,
        response: Response,
        answers: Answers,
        event_bytes: int,
        on_changed: Callable[[], None],
        calls: dict[int, Stream],
    ) -> None:
        """Takes all that comes by `response`."""
        self.calls = calls
        self.over = False
        """Nothing more will come."""
        self._response = response
        self._answers = answers
        self._parser = SseParser(event_bytes, answers.name)
        self._on_changed = on_changed
        response.pour(self)

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
                if event.data:
                    self._take(event.data)
        except GatewayError:
            self.close()  # what is said here is lost, and no call with it

    def ended(self, error: GatewayError | None) -> None:
        self.over = True

    def _take(self, raw: bytes) -> None:
        message = self._answers.message(raw)
        if message.method in LIST_CHANGED:
            self._on_changed()
        elif message.kind == "request" or message.method == _LOG:
            call = next(reversed(self.calls.values()), None)
            if call is not None and len(call.events) < _MOST_WAITING:
                call.events.append(raw)
                call.response.nudge()
            elif message.kind == "request":
                self.close()
