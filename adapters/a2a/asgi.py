"""The little of HTTP a door needs: paths and headers read strictly, bodies with a bound, answers, event streams."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs

import anyio

from adapters.a2a.wire.envelope import event_bytes
from adapters.a2a.wire.errors import a2a_error
from gateway.core.errors import GatewayError, InvalidRequest, NotFound
from gateway.core.slugs import LONGEST_SLUG

Scope: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[MutableMapping[str, Any]]]"
Send: TypeAlias = "Callable[[MutableMapping[str, Any]], Awaitable[None]]"

KEEP_ALIVE_S = 15.0
"""Below the 20 to 60 seconds after which proxies drop a silent connection."""
BODY_TIMEOUT_S = 30.0
"""Longest a client may take to send its body."""
CARD_PATH = "/.well-known/agent-card.json"
LONGEST_QUERY = 1000
_SLUG_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_HEX = frozenset("0123456789abcdef")
_COMMENT = b": keep-alive\n\n"


class Unread(Exception):
    """A body that was not read, and the HTTP status that says so."""

    def __init__(self, status: int, error: GatewayError) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error


class Gone(Exception):
    """The client closed its connection before it had sent everything."""


def header(scope: Scope, name: bytes) -> bytes:
    """A header that decides something; empty where there is none.

    Raises: InvalidRequest: it came twice. First-copy and last-copy readers disagree, and one of them may be a proxy.
    """
    values = [value for each, value in scope["headers"] if each == name]
    if len(values) > 1:
        raise InvalidRequest(f"the header {name.decode()} came more than once", detail={"a2a": "INVALID_REQUEST"})
    return values[0] if values else b""


def header_list(scope: Scope, name: bytes) -> str:
    """A header that is a list, its copies joined (RFC 9110, section 5.3)."""
    return ",".join(value.decode("latin-1") for each, value in scope["headers"] if each == name)


def slug_in(path: str, prefix: str) -> tuple[str, str]:
    """The agent's name in a path, and what follows it. Raises: NotFound: neither an agent's address nor its card's."""
    slug, slash, rest = path.removeprefix(prefix).partition("/")
    named = 0 < len(slug) <= LONGEST_SLUG and _SLUG_CHARACTERS.issuperset(slug)
    if not path.startswith(prefix) or not named or slash + rest not in ("", "/", CARD_PATH):
        raise NotFound("there is nothing here")
    return slug, slash + rest


def version_in(query: bytes) -> str:
    """The version in a query string (A2A 1.0, section 3.6), for clients that cannot set headers."""
    named = parse_qs(query.decode("latin-1")[:LONGEST_QUERY]).get("A2A-Version", [""])
    return named[0] if len(named) == 1 else ""


def trace_in(traceparent: bytes) -> str:
    """A W3C trace context, or empty where it is not one: a broken one starts a new trace rather than an error."""
    text = traceparent.decode("latin-1")
    fields = text.split("-")
    if [len(each) for each in fields] != [2, 32, 16, 2] or not _HEX.issuperset("".join(fields)):
        return ""
    return "" if fields[0] == "ff" or not fields[1].strip("0") or not fields[2].strip("0") else text


async def body_of(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """The whole body. Raises: Unread: too large, or too slow; Gone."""
    declared = header(scope, b"content-length")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    chunks: list[bytes] = []
    size_bytes = 0
    try:
        with anyio.fail_after(BODY_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Gone
                chunk: bytes = message.get("body", b"")
                size_bytes += len(chunk)
                if size_bytes > limit_bytes:
                    raise _too_large(limit_bytes)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError as error:
        raise Unread(408, a2a_error("INVALID_REQUEST", "the body did not arrive in time")) from error


def _too_large(limit_bytes: int) -> Unread:
    return Unread(413, a2a_error("INVALID_REQUEST", f"the body is larger than {limit_bytes} bytes", limit="body_bytes"))


async def disconnected(receive: Receive) -> None:
    """Return once the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def answer(send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """A whole answer; JSON unless `headers` say otherwise."""
    named = [*headers]
    if not any(name == b"content-type" for name, _ in named) and body:
        named.append((b"content-type", b"application/json"))
    named.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": body})


class EventStream:
    """Server-sent events, begun with the first of them: until then an error can still be a plain answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._turn = anyio.Lock()
        self.begun = False

    async def write(self, data: bytes) -> None:
        """Send one event; returns once the client's connection has room again."""
        await self._write(event_bytes(data))

    async def keep_alive(self) -> None:
        """Send a comment now and then, for as long as this runs."""
        while True:
            await anyio.sleep(KEEP_ALIVE_S)
            await self._write(_COMMENT)

    async def end(self) -> None:
        async with self._turn:
            await self._begin()
            await self._send({"type": "http.response.body", "body": b""})

    async def _write(self, data: bytes) -> None:
        async with self._turn:
            await self._begin()
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _begin(self) -> None:
        if not self.begun:
            self.begun = True
            headers = [
                (b"content-type", b"text/event-stream"),
                (b"cache-control", b"no-store"),
                (b"x-accel-buffering", b"no"),
            ]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
