"""One POST to an MCP server over Streamable HTTP and what comes back: a JSON answer, a stream of events, or a refusal.

Knows neither eras nor sessions; those are headers to it.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

from msgspec import Raw

from adapters.mcp.batches import messages_in, only_message
from adapters.mcp.client_answers import Answers
from adapters.mcp.client_params import Outgoing
from adapters.mcp.client_parts import ServerParts
from adapters.mcp.client_stream import EVENTS, Aside, Held, Stream, TakeUp
from adapters.mcp.client_unanswered import Unanswered
from adapters.mcp.client_updates import UPDATED, Updates
from adapters.mcp.client_wire import (
    BETWEEN,
    LIST_CHANGED,
    METHOD_NOT_FOUND,
    Message,
    error_from_raw,
    event_from_notification,
    message_in,
    params_of,
    rpc_error,
)
from adapters.mcp.wire import encode
from adapters.net.http1 import Pool
from adapters.net.response import Response
from adapters.net.sse import SseParser
from gateway.core.errors import GatewayError, Unavailable, UpstreamFailed
from gateway.core.model import Emit, Request

JSON = b"application/json"
_REST_S = 1.0
"""How long the end of a stream may take after its answer, seconds."""
_ERROR_BYTES = 256 * 1024


_MAY_EXPLAIN = frozenset({*range(400, 500)} - {401, 403, 429})
"""Statuses under which a JSON-RPC error in the body is the server's; the others are about the way to it."""


class SessionGone(UpstreamFailed):
    """The server does not know the session (any more); nothing was processed."""


class NotTaken(UpstreamFailed):
    """The address takes no such requests (4xx, and nothing of JSON-RPC about it); nothing was processed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The server asks its caller something before it answers; the stream goes on once it has been told."""

    question: Message
    stream: Held


MayAsk: TypeAlias = Callable[[str], bool]
"""By method, whether the caller can be asked."""


def nothing(method: str) -> bool:
    """A `MayAsk` for callers that cannot be asked anything."""
    return False


class Wire:
    """Sends messages to one server."""

    def __init__(
        self,
        *,
        pool: Pool,
        target: bytes,
        answers: Answers,
        parts: ServerParts,
        on_changed: Callable[[], None],
        on_request: Callable[[Message, bytes], Awaitable[None]],
        updates: Updates,
    ) -> None:
        """`on_request` is given a request the server makes inside a stream, and the headers it came under."""
        self.pool = pool
        self.target = target
        self.lines = b""
        """Headers of every request: content types, and what the configuration adds."""
        self.answers = answers
        self.limits = parts.limits
        self._clock = parts.clock
        self.on_changed = on_changed
        self._on_request = on_request
        self.updates = updates
        self._numbers = count(1)

    def over(self, pool: Pool) -> "Wire":
        """To the same server by other connections."""
        other = copy(self)
        other.pool = pool
        return other

    def number(self) -> int:
        """A request id no other request to this server has or will have."""
        return next(self._numbers)

    async def post(self, lines: bytes, message: bytes, *, deadline_s: float, replay: bool = False) -> Response:
        """Send a message. Raises: see `Pool.send`."""
        return await self.pool.send(b"POST", self.target, lines, message, deadline_s=deadline_s, replay=replay)

    async def result(self, number: int, lines: bytes, response: Response, emit: Emit) -> Raw:
        """The result of request `number` out of its response, events before it in order.

        Raises: SessionGone; UpstreamFailed; DeadlineExceeded; Unavailable; what the server's error stands for.
        """
        answer = await self.answer(number, lines, response, emit, nothing)
        if isinstance(answer, Asked):
            raise self.answers.failed("asks something that nobody can be asked")
        return answer

    async def answer(
        self,
        number: int,
        lines: bytes,
        response: Response,
        emit: Emit,
        may_ask: MayAsk,
        take_up: TakeUp | None = None,
        aside: Aside | None = None,
    ) -> "Raw | Asked":
        """As `result`; or what the server asks first, where `may_ask` allows it: in the stream, or `aside` of it.

        `take_up` reads on where the server breaks a stream off that has event ids.
        """
        if response.status != 200:
            raise await self.refused(response)
        content_type = response.header(b"content-type").lower()
        if content_type.startswith(JSON):
            body = await response.read(self.limits.result_bytes)
            if body[:1] == b"{" or len(said := messages_in(body)) == 1:
                return self.answers.answer_to(number, only_message(body))
            take_up, aside = None, None
        elif content_type.startswith(EVENTS):
            said = []
        else:
            response.close()
            raise self.answers.failed("answered with something that is not JSON")
        parser = SseParser(self.limits.result_bytes, self.pool.name)
        stream = Stream(
            number=number,
            lines=lines,
            response=response,
            parser=parser,
            events=deque(said),
            take_up=take_up,
            aside=aside,
        )
        return await self.read_on(stream, emit, may_ask)

    async def read_on(self, stream: Stream, emit: Emit, may_ask: MayAsk) -> "Raw | Asked":
        """See `answer`: what a stream says from here on."""
        calls = {} if stream.aside is None else stream.aside.calls
        calls[stream.number] = stream
        if stream.aside is not None:
            stream.events.extend(stream.aside.early)
            stream.aside.early.clear()
        try:
            return await self._read_on(stream, emit, may_ask)
        except BaseException:
            stream.response.close()
            raise
        finally:
            del calls[stream.number]

    async def whole_or_begun(self, lines: bytes, message: bytes, deadline_s: float, *, replay: bool) -> Response:
        """Send a message; an answer in JSON once all of it is here, and any other as soon as it begins.

        Raises: see `Pool.send` and `Response.arrive`.
        """
        response = await self.post(lines, message, deadline_s=deadline_s, replay=replay)
        if response.status == 200 and response.header(b"content-type").lower().startswith(JSON):
            await response.arrive(self.limits.result_bytes)
        return response

    async def until_begun(
        self, call: Unanswered, aside: Aside | None, emit: Emit, may_ask: MayAsk
    ) -> "Response | Asked":
        """What comes back of a call, or what the server asks before that `aside` of it, where it can."""
        early, unanswered = (deque[bytes](), {}) if aside is None else (aside.early, aside.unanswered)
        unanswered[call.number] = call
        call.events.extend(early)
        early.clear()
        try:
            while True:
                while call.events:
                    data = call.events.popleft()
                    message = self.answers.message(data)
                    if message.kind == "request" and may_ask(message.method):
                        return Asked(message, call)
                    await self._meanwhile(message, data, call.lines, emit)
                found = await call.begun()
                if found is not None:
                    early.extend(call.events)
                    return found
        except BaseException:
            call.close()
            raise
        finally:
            del unanswered[call.number]

    async def _read_on(self, stream: Stream, emit: Emit, may_ask: MayAsk) -> "Raw | Asked":
        while True:
            while stream.events:
                data = stream.events.popleft()
                message = self.answers.message(data)
                if message.kind == "answer":
                    return self._last_of(stream, self.answers.result_of(stream.number, message))
                if message.kind == "request" and may_ask(message.method):
                    return Asked(message, stream)
                await self._meanwhile(message, data, stream.lines, emit)
            ended = self.answers.failed("ended its stream before it answered")
            await stream.more(ended, self.limits.result_bytes, self._clock)

    def _last_of(self, stream: Stream, final: Raw) -> Raw:
        for data in stream.events:
            if self.answers.message(data).kind == "answer":
                raise self.answers.failed("answered the same request twice")
        stream.response.leave(self._clock.monotonic_s() + _REST_S)
        return final

    async def follow(self, response: Response, lines: bytes) -> None:
        """Read a stream that answers nothing to its end, for the changes it tells of."""
        parser = SseParser(self.limits.event_bytes, self.pool.name, "event_bytes")
        while chunk := await response.chunk():
            for said in (each for event in parser.feed(chunk) if event.data for each in messages_in(event.data)):
                message = self.answers.message(said)
                if message.method in LIST_CHANGED:
                    self.on_changed()
                elif message.method == UPDATED:
                    self.updates.publish(params_of(message))
                elif message.kind == "request":
                    await self._on_request(message, lines)

    async def _meanwhile(self, message: Message, raw: bytes, lines: bytes, emit: Emit) -> None:
        if message.kind == "request":
            await self._on_request(message, lines)
        elif message.method in LIST_CHANGED:
            self.on_changed()
        elif message.method == UPDATED:
            self.updates.publish(params_of(message))
        elif message.method in BETWEEN:
            return
        elif len(raw) > self.limits.event_bytes:
            raise self.answers.failed(
                f"sent a notification of more than {self.limits.event_bytes} bytes (limits.event_bytes)"
            )
        else:
            await emit(event_from_notification(message, raw))

    async def unread(self, number: int, response: Response) -> GatewayError:
        """What status 400 means inside a session: the request was wrong, or the session unknown to many a server."""
        if response.header(b"content-type").lower().startswith(JSON):
            message = message_in(only_message(await response.read(_ERROR_BYTES)))
            if message is not None and message.id == Raw(b"%d" % number) and message.error:
                return self.answers.error(error_from_raw(message.error))
        response.close()
        return SessionGone(self.answers.failed("answered with HTTP status 400").message)

    async def refused(self, response: Response) -> GatewayError:
        """What a status other than 200 means. The body is read only for a JSON-RPC error in it."""
        status = response.status
        if response.header(b"content-type").lower().startswith(JSON) and status in _MAY_EXPLAIN:
            error = rpc_error(only_message(await response.read(_ERROR_BYTES)))
            if error is not None:
                said = self.answers.error(error)
                if status == 404 and error.code != METHOD_NOT_FOUND:
                    return SessionGone("the server does not know the session", detail=said.detail, sources=said.sources)
                return said
        response.close()
        if status == 404:
            return SessionGone(self.answers.failed("answered with HTTP status 404").message)
        if status == 429:
            return Unavailable(
                self.answers.failed("is asked too often").message,
                detail={"sent": False},
                retry_after_s=_seconds(response.header(b"retry-after")),
            )
        if status in (401, 403):
            return self.answers.failed("refused the gateway's credential")
        if 300 <= status < 400:
            return self.answers.failed("answered with a redirect, which is not followed")
        if status < 300:
            return self.answers.failed("took the request without answering it")
        failed = self.answers.failed(f"answered with HTTP status {status}")
        return NotTaken(failed.message) if 400 <= status < 500 else failed


def message_from(number: int, out: Outgoing) -> bytes:
    """A JSON-RPC request."""
    return b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":%b}' % (number, out.method.encode(), encode(out.members))


def unsent(error: UpstreamFailed) -> Unavailable:
    """What a failure means to a call that waited for its outcome and was itself never sent."""
    return Unavailable(error.message, detail={**error.detail, "sent": False}, sources=error.sources)


def trace_line(request: Request) -> bytes:
    """The caller's trace context as a header; nothing where it is none that could be one."""
    value = request.traceparent
    return b"traceparent: %b\r\n" % value.encode() if value.isascii() and value.isprintable() else b""


def _seconds(value: bytes) -> float | None:
    return float(value) if value.isdigit() and len(value) < 6 else None
