"""JSON-RPC towards one agent, over the pooled client. Knows envelopes, HTTP answers and bounds, and no task.

Whatever the agent sends is bounded in time by the deadline and in size by the limits, and an answer that is not what
was asked for becomes a clear error without the agent's address in it.
"""

import itertools
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from typing import TypeAlias

import anyio

from adapters.a2a.wire.envelope import Member, request_bytes, result_from_bytes
from adapters.a2a.wire.errors import clean_line
from adapters.net.address import Address, address_from_url
from adapters.net.authorized import Authorized, Send
from adapters.net.http1 import Pool, Response, header_lines
from adapters.net.sse import SseParser
from gateway.core.errors import UpstreamFailed
from gateway.core.limits import Limits
from gateway.core.ports.credentials import UpstreamToken

OpenPool: TypeAlias = Callable[[Address], Pool]
"""A pool to an origin; the caller owns it. It brings TLS, limits and, for addresses users supplied, the guard."""
Heard: TypeAlias = Callable[[bytes], Awaitable[bool]]
"""Takes the raw result of one event; True to stop listening."""

A2A_VERSION = "1.0"
GOODBYE_S = 1.0
"""How long the rest of an answer nobody needs may take before its connection is given up."""
SAFE_METHODS = frozenset({"GetTask", "ListTasks"})
"""May be processed twice."""


class Cut(UpstreamFailed):
    """The connection broke off in the middle of a stream; the task itself may well go on."""


class AgentRpc:
    """Requests to the agent at one address."""

    def __init__(
        self, url: str, *, slug: str, open_pool: OpenPool, headers: Mapping[str, str], limits: Limits, repeatable: bool
    ) -> None:
        """`repeatable`: the agent recognises a message it has seen, so that any request may be sent twice."""
        address = address_from_url(url)
        self.url = url
        self._slug = slug
        self._pool = open_pool(address)
        self._sending: Send = self._pool.send
        self._target = address.target.encode()
        self._limits = limits
        self._repeatable = repeatable
        self._fixed = [("content-type", "application/json"), ("a2a-version", A2A_VERSION), *headers.items()]
        self._plain = header_lines([*self._fixed, ("accept", "application/json")])
        self._streaming = header_lines([*self._fixed, ("accept", "text/event-stream")])
        self._numbers = itertools.count(1)

    def showing(self, token: UpstreamToken) -> "AgentRpc":
        """The same line, with an access token shown; it is closed with the line itself."""
        line = copy(self)
        line._sending = Authorized(self._pool.send, token).send
        return line

    async def ask(self, method: str, params: Mapping[str, Member], *, deadline_s: float, extra: bytes = b"") -> bytes:
        """The raw result. `extra` are header lines. Raises: as `Upstream.call`; what the agent's own error means."""
        call_id = f"{self._slug}-{next(self._numbers)}"
        response = await self._send(self._plain, call_id, method, params, deadline_s, extra)
        try:
            body = await self._body(response)
        finally:
            response.close()
        return result_from_bytes(body, call_id, self._slug)

    async def stream(
        self,
        method: str,
        params: Mapping[str, Member],
        heard: Heard,
        *,
        deadline_s: float,
        extra: bytes = b"",
    ) -> bool:
        """Hand over each event's raw result; whether `heard` stopped it, rather than the agent.

        Raises: as `ask`; UpstreamFailed: the stream broke off, or grew beyond the limit.
        """
        call_id = f"{self._slug}-{next(self._numbers)}"
        response = await self._send(self._streaming, call_id, method, params, deadline_s, extra)
        try:
            if not _media_type(response).startswith(b"text/event-stream"):
                return await heard(result_from_bytes(await self._body(response), call_id, self._slug))
            stopped = await self._listen(response, call_id, heard)
            if stopped:
                response.leave(anyio.current_time() + GOODBYE_S)
        except BaseException:
            response.close()
            raise
        return stopped

    def check_size(self, streamed_bytes: int) -> None:
        """Raises: UpstreamFailed: it is more than one call may bring."""
        if streamed_bytes > self._limits.result_bytes:
            raise UpstreamFailed(
                f"{self._slug} streamed more than {self._limits.result_bytes} bytes (limits.result_bytes)",
                detail={"limit": "result_bytes"},
            )

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def _listen(self, response: Response, call_id: str, heard: Heard) -> bool:
        parser = SseParser(self._limits.event_bytes, self._slug, "event_bytes")
        size_bytes = 0
        while chunk := await self._chunk(response):
            size_bytes += len(chunk)
            self.check_size(size_bytes)
            for event in parser.feed(chunk):
                if event.data and await heard(result_from_bytes(event.data, call_id, self._slug)):
                    return True
        return False

    async def _chunk(self, response: Response) -> bytes:
        try:
            return await response.chunk()
        except UpstreamFailed as error:
            raise Cut(error.message) from error

    async def _send(
        self,
        headers: bytes,
        call_id: str,
        method: str,
        params: Mapping[str, Member],
        deadline_s: float,
        extra: bytes,
    ) -> Response:
        return await self._sending(
            b"POST",
            self._target,
            headers + extra,
            request_bytes(call_id, method, params),
            deadline_s=deadline_s,
            replay=self._repeatable or method in SAFE_METHODS,
        )

    async def _body(self, response: Response) -> bytes:
        """The body of an answer that may hold JSON-RPC; some agents send an HTTP status of failure with it."""
        if not _media_type(response).startswith((b"application/json", b"application/a2a+json")):
            raise self._not_json(response)
        return await response.read(self._limits.result_bytes)

    def _not_json(self, response: Response) -> UpstreamFailed:
        status = response.status
        if status in (401, 403):
            return UpstreamFailed(f"{self._slug} did not accept the gateway's credential (HTTP {status})")
        if 300 <= status < 400:
            return UpstreamFailed(f"{self._slug} redirects (HTTP {status}); agents are called where their card says")
        shown = clean_line(_media_type(response).decode("latin-1")) or "no content type"
        return UpstreamFailed(f"{self._slug} answered HTTP {status} with {shown} instead of JSON")


def _media_type(response: Response) -> bytes:
    return response.header(b"content-type").strip().lower()
