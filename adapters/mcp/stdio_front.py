"""MCP over stdio for clients that know nothing else: every line goes to the running gateway, every answer comes back.

Decides nothing and keeps nothing but what the transports differ in: the legacy session, the modern headers, and how a
call is given up. The gateway at the other end judges each call as it judges those of any other client.
"""

import sys
from collections.abc import AsyncIterable, Awaitable, Callable

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup

from adapters.mcp.batches import is_array
from adapters.mcp.classify import ABSENT, Message, Reply, message_from
from adapters.mcp.headers import NAMED_BY, Mirror, encode_header, mirrors_of, param_headers
from adapters.mcp.refusals import RpcRefusal, error_bytes
from adapters.mcp.render import notification_bytes
from adapters.mcp.stdio_batches import StdioBatches
from adapters.mcp.stdio_http import FAILURES, Failed, Gone, Link, NotRunning, refusal_of
from adapters.mcp.wire import Era, as_text, decode_value, encode
from gateway.core.errors import Exhausted, GatewayError, InvalidRequest
from gateway.core.json import json_list, json_object, json_text
from gateway.core.limits import Limits

Write = Callable[[bytes], Awaitable[None]]
"""Writes one line, its line break included, and flushes it."""

log = structlog.get_logger(__name__)

IN_FLIGHT = 256
"""Requests under way at once; more are refused."""
LAST_ANSWERS_S = 5.0
"""How long requests may still be answered once the client has closed its side, seconds."""
FAREWELL_S = 2.0
MOST_WATCHED = 256
"""Subscriptions that are taken to another session."""
LISTEN_AGAIN_S = (1.0, 30.0)
"""First and longest pause before the stream of changes is opened again, seconds."""


async def relay(
    stdin: AsyncIterable[bytes],
    stdout: Write,
    *,
    endpoint_url: str,
    authorization: str,
    limits: Limits,
    listen_again_s: tuple[float, float] = LISTEN_AGAIN_S,
) -> None:
    """Relay JSON-RPC lines between a stdio client and the gateway at `endpoint_url` until `stdin` ends.

    `authorization` is the value of the header sent with each request.
    """
    async with Link(endpoint_url, authorization) as link:
        await _Front(link, stdout, limits, listen_again_s).run(stdin)


class _Front:
    def __init__(self, link: Link, write: Write, limits: Limits, listen_again_s: tuple[float, float]) -> None:
        self._listen_again_s = listen_again_s
        self._link = link
        self._write = write
        self._limits = limits
        self._writing = anyio.Lock()
        self._opening = anyio.Lock()
        self._calls: dict[bytes, anyio.CancelScope] = {}
        self._endless: set[bytes] = set()
        """Those of them that are subscriptions, which end only with their client."""
        self._answered = anyio.Event()
        self._hello = b""
        """The client's `initialize`, for a session with a gateway that was started again."""
        self._settled: dict[str, bytes] = {}
        """What the client said that holds for the whole session, to be said again there: each request by what it is
        about."""
        self._listened = False
        """Whether something may have changed since the client read its lists, and nobody listened."""
        self._batches = StdioBatches(link, self._say, self._reopen, limits.json_depth)
        self._batched = 0
        self._mirrors: dict[str, tuple[Mirror, ...]] = {}
        """By tool, the arguments its schema mirrors into headers; learnt from lists that pass by."""

    async def run(self, lines: AsyncIterable[bytes]) -> None:
        async with anyio.create_task_group() as group:
            async for line in lines:
                if line.strip():
                    await self._take(line.strip(), group)
            with anyio.move_on_after(LAST_ANSWERS_S):
                while self._calls.keys() - self._endless:
                    self._answered = anyio.Event()
                    await self._answered.wait()
            group.cancel_scope.cancel()
        with anyio.move_on_after(FAREWELL_S, shield=True):
            await self._link.close_session()

    async def _take(self, line: bytes, group: TaskGroup) -> None:
        if is_array(line):
            await self._take_several(line, group)
            return
        try:
            message = message_from(line, "legacy", self._limits.json_depth)
        except RpcRefusal as refusal:
            await self._say(error_bytes(refusal.request_id, refusal.code, refusal.message, refusal.data))
            return
        if isinstance(message, Reply):
            await self._replied(line)
            return
        era: Era = "legacy" if message.meta.version is ABSENT else "modern"
        if not message.id:
            await self._notified(message, line, era, group)
        elif message.method == "initialize":
            # Whatever follows needs the session this opens.
            self._hello = line
            await self._request(message, line, era)
        elif len(self._calls) >= IN_FLIGHT or message.id in self._calls:
            full = Exhausted("too many requests are under way, or one with this id is")
            await self._say(error_bytes(message.id, full.wire.jsonrpc, full.message, full.describe()))
        else:
            scope = self._calls[message.id] = anyio.CancelScope()
            if message.method == "subscriptions/listen":
                self._endless.add(message.id)
            group.start_soon(self._call, message, line, era, scope)

    async def _notified(self, message: Message, line: bytes, era: Era, group: TaskGroup) -> None:
        if era == "modern" or not self._link.session:
            # Over HTTP a modern client gives up by closing the response (MCP 2026-07-28, cancellation).
            scope = self._calls.get(bytes(message.params.get("requestId", ABSENT)))
            if message.method == "notifications/cancelled" and scope is not None:
                scope.cancel()
            return
        try:
            await self._link.post_quietly(line)
        except (NotRunning, Gone, Failed):
            return  # nobody waits for an answer; the next request will say what is wrong
        if message.method == "notifications/initialized":
            group.start_soon(self._listen)

    async def _replied(self, line: bytes) -> None:
        """The client answered what a server asked it during one of its calls."""
        try:
            await self._link.post_quietly(line)
        except (NotRunning, Gone, Failed):
            return  # the call that waits for it ends with whatever it is told itself

    async def _call(self, message: Message, line: bytes, era: Era, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                await self._request(message, line, era)
        finally:
            del self._calls[message.id]
            self._endless.discard(message.id)
            self._answered.set()

    async def _request(self, message: Message, line: bytes, era: Era) -> None:
        """Send a request and write what comes back, always with an answer at the end unless it is given up."""
        try:
            headers = self._headers(message) if era == "modern" else {}
            if message.method == "initialize":
                await self._link.initialize(line, message.id, self._say)
            else:
                await self._exchange(message, line, headers)
        except FAILURES as error:
            refusal = refusal_of(error)
            await self._say(error_bytes(message.id, refusal.code, refusal.message, refusal.data))
        except RpcRefusal as refusal:
            await self._say(error_bytes(message.id, refusal.code, refusal.message, refusal.data))
        except GatewayError as error:
            await self._say(error_bytes(message.id, error.wire.jsonrpc, error.message, error.describe()))

    async def _take_several(self, line: bytes, group: TaskGroup) -> None:
        """A batch counts as one of those under way; what it takes back or answers is the gateway's to see to."""
        self._batched += 1
        key = b"[%d" % self._batched  # no id begins like this
        messages = self._batches.messages(line)
        ids = [message.id for message, _ in messages if message.id]
        if ids and len(self._calls) >= IN_FLIGHT:
            full = Exhausted("too many requests are under way")
            for each in ids:
                await self._say(error_bytes(each, full.wire.jsonrpc, full.message, full.describe()))
            return
        scope = self._calls[key] = anyio.CancelScope()
        group.start_soon(self._several, line, messages, key, scope, group)

    async def _several(
        self,
        line: bytes,
        messages: list[tuple[Message, bytes]],
        key: bytes,
        scope: anyio.CancelScope,
        group: TaskGroup,
    ) -> None:
        try:
            with scope:
                await self._batches.relay(line, [each.id for each, _ in messages if each.id])
            for message, raw in messages:
                if message.id:
                    self._settle(message, raw)
                elif message.method == "notifications/initialized":
                    group.start_soon(self._listen)
        finally:
            del self._calls[key]
            self._answered.set()

    async def _exchange(self, message: Message, line: bytes, headers: dict[str, str]) -> None:
        hear = self._say_and_learn if message.method == "tools/list" else self._say
        session = self._link.session
        try:
            await self._link.post(line, headers, message.id, hear)
        except Gone:
            await self._reopen(session)
            await self._link.post(line, headers, message.id, hear)
        if not headers:
            self._settle(message, line)

    async def _reopen(self, lost: str) -> None:
        """A session with a gateway that no longer knows the old one. Raises: Gone: there is none to be had."""
        async with self._opening:
            if self._link.session != lost:
                return
            self._listened = True
            await self._link.initialize(self._hello, b"0", _overhear)
            if not self._link.session:
                raise Gone("the gateway was started again and opens no session: connect again")
            for line in tuple(self._settled.values()):
                await self._link.post(line, {}, b"0", _overhear)

    def _settle(self, message: Message, line: bytes) -> None:
        if message.method == "logging/setLevel":
            self._settled[message.method] = line
        elif message.method in ("resources/subscribe", "resources/unsubscribe"):
            uri = as_text(message.params.get("uri")) or ""
            if message.method == "resources/unsubscribe":
                self._settled.pop(uri, None)
            elif len(self._settled) < MOST_WATCHED:
                self._settled[uri] = line

    def _headers(self, message: Message) -> dict[str, str]:
        """What a modern request mirrors into headers (MCP 2026-07-28, transports, "headers")."""
        headers = {"mcp-protocol-version": as_text(message.meta.version) or "", "mcp-method": message.method}
        named = NAMED_BY.get(message.method)
        name = as_text(message.params.get(named)) if named else None
        if name is not None:
            headers["mcp-name"] = encode_header(name)
        mirrors = self._mirrors.get(name or "") if message.method == "tools/call" else None
        if mirrors:
            arguments = json_object(decode_value(bytes(message.params.get("arguments", ABSENT)) or b"null"))
            headers |= param_headers(mirrors, arguments)
        return headers

    async def _say_and_learn(self, said: bytes) -> None:
        await self._say(said)
        try:
            answer = json_object(decode_value(said))
        except InvalidRequest:
            return  # the client has what there is; nothing is learnt from it
        for entry in json_list(json_object(answer.get("result")).get("tools")):
            tool = json_object(entry)
            self._mirrors[json_text(tool.get("name"))] = mirrors_of(json_object(tool.get("inputSchema")))

    async def _listen(self) -> None:
        """Hold a legacy session's stream of changes open, and open it again where it ends."""
        pause_s, longest_s = self._listen_again_s
        while True:
            session = self._link.session
            try:
                await self._link.listen(self._say, self._tell_what_may_have_changed)
                pause_s = self._listen_again_s[0]
            except Gone:
                await self._come_back(session)
            except (NotRunning, Failed) as error:
                log.debug("stream of changes ended", why=str(error))
            await anyio.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)

    async def _come_back(self, lost: str) -> None:
        try:
            await self._reopen(lost)
        except (NotRunning, Gone, Failed) as error:
            log.debug("no session to be had", why=str(error))

    async def _tell_what_may_have_changed(self) -> None:
        """Nobody listened before, unless this is the first time: a client over stdio cannot know that."""
        if self._listened:
            for lists in ("tools", "prompts", "resources"):
                await self._say(encode({"jsonrpc": "2.0", "method": f"notifications/{lists}/list_changed"}))
            for uri in sorted(self._settled.keys() - {"logging/setLevel"}):
                await self._say(notification_bytes("notifications/resources/updated", {"uri": uri}))
        self._listened = True

    async def _say(self, message: bytes) -> None:
        if b"\n" in message or b"\r" in message:
            message = message.replace(b"\n", b" ").replace(b"\r", b" ")
        async with self._writing:
            await self._write(message + b"\n")


class StdinLines:
    """Lines of the process's own standard input; what is too long is cut, so that it fails as one message."""

    def __init__(self, most: int) -> None:
        self._most = most

    def __aiter__(self) -> "StdinLines":
        return self

    async def __anext__(self) -> bytes:
        line = piece = await self._read()
        while piece and not piece.endswith(b"\n"):
            piece = await self._read()
        if not line:
            raise StopAsyncIteration
        return line

    async def _read(self) -> bytes:
        # A thread that waits for input cannot be woken; it ends with the process.
        return await anyio.to_thread.run_sync(sys.stdin.buffer.readline, self._most, abandon_on_cancel=True)


async def write_stdout(line: bytes) -> None:
    """See `Write`."""
    await anyio.to_thread.run_sync(_write_stdout, line)


def _write_stdout(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


async def _overhear(message: bytes) -> None:
    """The answer to an `initialize` the client knows nothing of."""
