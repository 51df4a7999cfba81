"""What comes by the one event stream of a session over HTTP+SSE (MCP 2024-11-05), sorted to the calls it is for.

Fed by the connection's callbacks; each call takes its own from here. Knows nothing of what is sent. What a server says
to nobody in particular goes to the newest call: all calls of a session are one caller's.
"""

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin

import anyio
from msgspec import Raw

from adapters.mcp.batches import messages_in
from adapters.mcp.client_answers import Answers
from adapters.mcp.client_exchange import MayAsk, nothing
from adapters.mcp.client_pages import COMPLETE
from adapters.mcp.client_params import restore_token
from adapters.mcp.client_updates import UPDATED, Updates
from adapters.mcp.client_wire import BETWEEN, LIST_CHANGED, Message, params_of, progress_token
from adapters.mcp.wire import ASKED
from adapters.net.address import address_from_url
from adapters.net.response import Response
from adapters.net.sse import ServerSentEvent, SseParser
from gateway.core.errors import GatewayError, InvalidRequest, UpstreamFailed
from gateway.core.limits import Limits

_MOST_WAITING = 256
"""Messages of one call that wait for a slow caller; newer notifications are dropped, for the others' sake."""
_MOST_ENDPOINT = 4096


@dataclass(slots=True, kw_only=True)
class Call:
    """A request that waits for its answer. Implements `Held`."""

    number: int
    token: Raw | None
    """The caller's own progress token."""
    may_ask: MayAsk
    deadline_s: float
    give_up: Callable[["Call"], None]
    waiting: deque[tuple[Message, bytes]] = field(default_factory=deque[tuple[Message, bytes]])
    """Notifications and questions, in order."""
    size_bytes: int = 0
    answer: Message | GatewayError | None = None
    wake: anyio.Event = field(default_factory=anyio.Event)

    def add(self, message: Message, raw: bytes, most_bytes: int) -> bool:
        """Whether there is room for it."""
        if self.answer is not None or len(self.waiting) >= _MOST_WAITING or self.size_bytes + len(raw) > most_bytes:
            return False
        self.waiting.append((message, raw))
        self.size_bytes += len(raw)
        self.wake.set()
        return True

    def take(self) -> tuple[Message, bytes]:
        """The oldest of `waiting`."""
        message, raw = self.waiting.popleft()
        self.size_bytes -= len(raw)
        return message, raw

    def settle(self, answer: Message | GatewayError) -> None:
        """Nothing more will come for it."""
        self.answer = answer
        self.wake.set()

    def close(self) -> None:
        """See `Held`."""
        self.give_up(self)


class Channel:
    """One session's stream, from its beginning to its end. Implements `Sink`."""

    def __init__(
        self,
        url: str,
        answers: Answers,
        limits: Limits,
        on_changed: Callable[[], None],
        updates: Updates,
        on_request: Callable[["Channel", Message], None],
    ) -> None:
        """`on_request` is given what the server asks and no call can be asked for."""
        self.endpoint = b""
        """Path and query to post to; empty until the server named it."""
        self.named = anyio.Event()
        """Set when `endpoint` or `over` is known."""
        self.over: GatewayError | None = None
        """Why nothing more will come."""
        self.ended_now = anyio.Event()
        """Set when `over` is known."""
        self.heard = 0
        """Pieces received, whatever they were."""
        self.say: Callable[[bytes], None] = _nobody
        """Given what is for the session's clients, and for no call."""
        self.lines = b""
        """Headers of the session's requests."""
        self._url = url
        self._answers = answers
        self._event_bytes = limits.event_bytes
        self._parser = SseParser(limits.result_bytes, answers.name)
        self._on_changed = on_changed
        self._updates = updates
        self._on_request = on_request
        self._calls: dict[int, Call] = {}
        self._response: Response | None = None
        self._retired = False
        self._awaited = 0
        self._early: deque[tuple[Message, bytes]] = deque(maxlen=_MOST_WAITING)
        """Questions for a call that has yet to begin."""

    def follow(self, response: Response) -> None:
        """Take all that comes by this stream."""
        self._response = response
        response.pour(self)

    def expect(self, call: Call) -> None:
        """From now on what comes for this request is its own."""
        self._calls[call.number] = call
        early, self._early = self._early, deque[tuple[Message, bytes]](maxlen=_MOST_WAITING)
        for message, raw in early:
            self._asked(message, raw)

    @contextmanager
    def awaited(self) -> Generator[None]:
        """A call is about to begin: what is asked until then is kept for it."""
        self._awaited += 1
        try:
            yield
        finally:
            self._awaited -= 1
            while self._early and not self._awaited:
                self._on_request(self, self._early.popleft()[0])

    def forget(self, call: Call) -> None:
        """Nobody waits for it any more."""
        self._calls.pop(call.number, None)
        if self._retired and not self._calls:
            self.close()

    def retire(self) -> None:
        """Close it as soon as no call waits."""
        self._retired = True
        if not self._calls:
            self.close()

    def stir(self) -> None:
        """Wake every call that waits: something is to be done on its way."""
        for call in self._calls.values():
            call.wake.set()

    def close(self) -> None:
        """End it now, and every call that waits."""
        self._end(self._answers.failed("has been let go of"))

    # See `Sink`.

    def received(self, data: bytes) -> None:
        if self.over is not None:
            return
        self.heard += 1
        try:
            for event in self._parser.feed(data):
                self._take(event)
        except GatewayError as error:
            self._end(error)

    def ended(self, error: GatewayError | None) -> None:
        self._end(error or self._answers.failed("ended its stream before it answered"))

    def _end(self, error: GatewayError) -> None:
        if self.over is None:
            self.over = error
            self.named.set()
            self.ended_now.set()
            for call in self._calls.values():
                if call.answer is None:
                    call.settle(error)
        if self._response is not None:
            self._response.close()

    def _take(self, event: ServerSentEvent) -> None:
        if not self.endpoint:
            if event.event != b"endpoint":
                raise self._answers.failed("did not begin its stream by naming where to post")
            self.endpoint = _same_origin(self._url, event.data, self._answers)
            self.named.set()
        elif event.event == b"message" and event.data:
            for said in messages_in(event.data):
                self._heard(said)

    def _heard(self, raw: bytes) -> None:
        message = self._answers.message(raw)
        match message.kind:
            case "answer":
                self._answered(message)
            case "request":
                self._asked(message, raw)
            case "notification":
                self._notified(message, raw)

    def _answered(self, message: Message) -> None:
        text = bytes(message.id)
        call = self._calls.get(int(text)) if text.isdigit() and len(text) < 16 else None
        if call is None:
            return  # too late, or nobody's
        if call.answer is None:
            call.settle(message)
        elif isinstance(call.answer, Message):
            call.settle(self._answers.failed("answered the same request twice"))

    def _asked(self, message: Message, raw: bytes) -> None:
        for call in reversed(self._calls.values()):
            if call.may_ask(message.method) and call.add(message, raw, self._event_bytes):
                return
        begun = any(call.may_ask is not nothing for call in self._calls.values())
        if self._awaited and not begun and message.method in ASKED and len(raw) <= self._event_bytes:
            self._early.append((message, raw))
        else:
            self._on_request(self, message)

    def _notified(self, message: Message, raw: bytes) -> None:
        if message.method in LIST_CHANGED:
            self._on_changed()
        elif message.method == UPDATED:
            self._updates.publish(params_of(message))
        elif message.method == COMPLETE:
            if len(raw) <= self._event_bytes:  # it waits for whoever listens
                self.say(raw)
        elif message.method == "notifications/progress":
            call = self._calls.get(progress_token(message) or 0)
            if call is not None and call.token is not None and len(raw) <= self._event_bytes:
                raw = restore_token(raw, call.token)
                call.add(self._answers.message(raw), raw, self._event_bytes)
        elif self._calls and message.method not in BETWEEN:
            next(reversed(self._calls.values())).add(message, raw, self._event_bytes)


def _nobody(raw: bytes) -> None:
    """Before there are any clients."""


def _same_origin(url: str, named: bytes, answers: Answers) -> bytes:
    """Path and query of the endpoint. A server may not send its callers' words elsewhere, whatever it names.

    Raises: UpstreamFailed: another origin, or no address at all.
    """
    try:
        own = address_from_url(url)
        there = address_from_url(urljoin(url, named.decode("ascii")))
    except (ValueError, InvalidRequest) as error:
        raise answers.failed("named an address to post to that cannot be read") from error
    if len(named) > _MOST_ENDPOINT or (own.secure, own.host, own.port) != (there.secure, there.host, there.port):
        raise answers.failed("named an address to post to that is not its own")
    return there.target.encode()


def lost(error: GatewayError) -> UpstreamFailed:
    """What the end of a stream means to a call that waited on it."""
    return UpstreamFailed(error.message, detail=error.detail, sources=error.sources)
