"""The HTTP half of the stdio front: one POST and what comes back, and the legacy session between them."""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import httpx2
import msgspec
from httpx2 import EventSource
from msgspec import Raw

from adapters.mcp.batches import is_array, messages_in
from adapters.mcp.refusals import INTERNAL_ERROR, RpcRefusal
from gateway.core.errors import Unavailable

Hear = Callable[[bytes], Awaitable[None]]
"""Takes one JSON-RPC message."""

SESSION = "mcp-session-id"
VERSION = "mcp-protocol-version"
CONNECT_S = 5.0
SILENCE_S = 60.0
"""Longest silence of the gateway, which gives a sign of life every ten seconds, seconds."""
CONNECTIONS = 300
LARGEST_EVENT = 32 * 1024 * 1024


class NotRunning(Exception):
    """No gateway answers."""


class Gone(Exception):
    """The gateway does not know the session."""


class Failed(Exception):
    """The gateway did not answer as it should."""


FAILURES = (NotRunning, Gone, Failed)
UNANSWERED = "the gateway ended its stream before it answered"


def refusal_of(error: Exception) -> RpcRefusal:
    """What a client is told of one of `FAILURES`."""
    if isinstance(error, NotRunning):
        down = Unavailable(str(error), detail={"command": "drawbridge serve"})
        return RpcRefusal(down.wire.jsonrpc, down.message, data=down.describe())
    return RpcRefusal(INTERNAL_ERROR, str(error))


class Answered(msgspec.Struct, gc=False):
    """A JSON-RPC message; absent members are empty."""

    id: Raw = Raw()
    result: Raw = Raw()
    error: Raw = Raw()
    method: str = ""


class _Agreed(msgspec.Struct, gc=False):
    protocolVersion: str = ""


_decode = msgspec.json.Decoder(Answered).decode
_decode_agreed = msgspec.json.Decoder(_Agreed).decode


class Link:
    """The gateway's MCP endpoint."""

    def __init__(self, url: str, authorization: str) -> None:
        self._url = url
        self._http = httpx2.AsyncClient(
            headers={
                "authorization": authorization,
                "content-type": "application/json",
                "accept": "application/json, text/event-stream",
            },
            timeout=httpx2.Timeout(SILENCE_S, connect=CONNECT_S),
            limits=httpx2.Limits(max_connections=CONNECTIONS),
            trust_env=False,  # a proxy of the environment is not meant for a gateway on this machine
        )
        self.session = ""
        """Of a legacy client, once it is open."""
        self._version = ""

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def initialize(self, line: bytes, request_id: bytes, hear: Hear) -> None:
        """Send an `initialize`; the session it opens is used from then on. See `post`."""
        self.session = ""
        try:
            async with self._http.stream("POST", self._url, content=line) as response:

                async def heard(message: bytes) -> None:
                    self._opened(response, message)
                    await hear(message)

                await self._messages(response, request_id, heard)
        except httpx2.TransportError as error:
            raise _unreachable(self._url, error) from error

    async def post(self, line: bytes, headers: dict[str, str], request_id: bytes, hear: Hear) -> None:
        """Send a request; `hear` is given each message that answers it, the response last.

        Without `headers` it belongs to the session. Raises: NotRunning, Gone, Failed.
        """
        try:
            async with self._http.stream("POST", self._url, content=line, headers=self._lines(headers)) as response:
                await self._messages(response, request_id, hear)
        except httpx2.TransportError as error:
            raise _unreachable(self._url, error) from error

    async def post_several(self, line: bytes, hear: Hear) -> bytes:
        """Send a batch; `hear` is given what comes of it, an array or one message after the other.

        Gives what answers none of its messages, but all of it: that it was refused. Raises: NotRunning, Gone, Failed.
        """
        try:
            async with self._http.stream("POST", self._url, content=line, headers=self._lines({})) as response:
                if response.status_code == 202:
                    return b""
                if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
                    await _streamed(response, hear)
                    return b""
                body = await self._plain(response)
        except httpx2.TransportError as error:
            raise _unreachable(self._url, error) from error
        if not is_array(body):
            read_answer(body)
            return body
        await hear(body)
        return b""

    async def post_quietly(self, line: bytes) -> None:
        """Send what has no answer. Raises: NotRunning."""
        try:
            await self._http.post(self._url, content=line, headers=self._lines({}))
        except httpx2.TransportError as error:
            raise _unreachable(self._url, error) from error

    async def listen(self, hear: Hear, begun: Callable[[], Awaitable[None]]) -> None:
        """Give `hear` what a legacy session is told unasked, once `begun` has returned.

        Raises: NotRunning, Gone, Failed.
        """
        try:
            async with self._http.stream("GET", self._url, headers=self._lines({})) as response:
                if response.status_code == 404:
                    raise Gone("the gateway does not know the session")
                if response.status_code != 200:
                    raise Failed(f"the gateway has no stream of changes, but HTTP status {response.status_code}")
                await begun()
                async for event in EventSource(response, max_event_size=LARGEST_EVENT):
                    if event.data:
                        await hear(event.data.encode())
        except (httpx2.TransportError, httpx2.SSEError) as error:
            raise _unreachable(self._url, error) from error

    async def close_session(self) -> None:
        """End the legacy session, if there is one."""
        if self.session:
            try:
                await self._http.delete(self._url, headers=self._lines({}))
            except httpx2.TransportError:
                return  # with the gateway gone, so is the session

    def _lines(self, headers: dict[str, str]) -> dict[str, str]:
        if headers or not self.session:
            return headers
        return {SESSION: self.session, VERSION: self._version}

    async def _messages(self, response: httpx2.Response, request_id: bytes, hear: Hear) -> None:
        if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            await _streamed(response, hear)
            return
        await hear(_addressed(await self._plain(response), request_id))

    async def _plain(self, response: httpx2.Response) -> bytes:
        if response.status_code == 404 and self.session and SESSION in response.request.headers:
            raise Gone("the gateway does not know the session")
        if not response.headers.get("content-type", "").lower().startswith("application/json"):
            raise Failed(f"the gateway answered with HTTP status {response.status_code} and nothing to read")
        return await response.aread()

    def _opened(self, response: httpx2.Response, message: bytes) -> None:
        result = bytes(read_answer(message).result)
        if SESSION in response.headers and result:
            self.session = response.headers[SESSION]
            self._version = _decode_agreed(result).protocolVersion


async def _streamed(response: httpx2.Response, hear: Hear) -> None:
    answered = False
    try:
        async for event in EventSource(response, max_event_size=LARGEST_EVENT):
            if event.data:
                answered = not read_answer(messages_in(event.data.encode())[-1]).method
                await hear(event.data.encode())
    except httpx2.SSEError as error:
        raise Failed("the gateway's stream is broken") from error
    if not answered:
        raise Failed(UNANSWERED)


def read_answer(message: bytes) -> Answered:
    """What the gateway said, as far as it is looked at. Raises: Failed: it is no message."""
    try:
        return _decode(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Failed("the gateway answered with something that is not JSON-RPC") from error


def _addressed(message: bytes, request_id: bytes) -> bytes:
    """A response under the id of its request, which a gateway that could not read the request does not know."""
    answer = read_answer(message)
    if bytes(answer.id) == request_id or not bytes(answer.error):
        return message
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (request_id, bytes(answer.error))


def _unreachable(url: str, error: Exception) -> Exception:
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return NotRunning(f"no Drawbridge gateway answers at {url}: start it with `drawbridge serve`, then try again")
    return Failed("the gateway went away before it answered")
