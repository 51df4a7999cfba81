"""The MCP front door: a plain ASGI callable for `/mcp`, `/mcp/{owner}` and `/mcp/sets/{name}`, both eras of it.

Host and Origin are checked before it; whoever stands before it also takes away identity headers that are not its own.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import structlog
from starlette.types import Receive, Scope, Send

from adapters.mcp.batch_door import BatchDoor
from adapters.mcp.batches import is_array
from adapters.mcp.classify import (
    ABSENT,
    VERSION_HEADER,
    Reply,
    check_modern,
    check_notification,
    check_routing,
    era_of,
    message_from,
)
from adapters.mcp.exchange import FAREWELL_S, Exchange, Pace, Vigil
from adapters.mcp.gathering import Gathering
from adapters.mcp.knock import Knock
from adapters.mcp.methods import Methods
from adapters.mcp.offers import SCOPE as SETS
from adapters.mcp.offers import Offers
from adapters.mcp.refusals import CANCELED, INVALID_REQUEST, RpcRefusal, refusal_from
from adapters.mcp.replies import (
    ALLOW_ALL,
    ALLOW_POST,
    CLOSE,
    ClientLeft,
    accepted_types,
    read_body,
    refuse,
    reply,
)
from adapters.mcp.unread import Unread, unread
from gateway.core.errors import DeadlineExceeded, GatewayError, Internal, Unauthenticated, Unavailable
from gateway.core.limits import Limits
from gateway.core.ports.gateway import LAST_WORD, Authenticator, BareChallenges, Challenges, Gateway
from gateway.core.ports.world import Clock, Ids
from gateway.core.record import Record

log = structlog.get_logger(__name__)

E = TypeVar("E", bound=Exchange)
Answer = Callable[[Knock, Exchange], Awaitable[bytes]]
"""Answers a POST; or gives its body, where that is a batch, to be answered as one."""

PATH = "/mcp"
JSON = b"application/json"
ACCEPTS = 256
"""Different `Accept` headers whose meaning is remembered."""


class McpDoor:
    """Serves MCP. Only inside `running()`; `stop()` ends open streams before the HTTP server waits for them."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        authenticator: Authenticator,
        clock: Clock,
        ids: Ids,
        limits: Limits,
        pace: Pace | None = None,
        challenges: Challenges | None = None,
        offers: Callable[[], Offers] = Offers,
    ) -> None:
        """`offers` is asked anew whenever the gateway's version has changed."""
        self._challenges = challenges or BareChallenges()
        self._gateway = gateway
        self._authenticator = authenticator
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._pace = pace or Pace()
        self._vigil: Vigil | None = None
        self._accepts: dict[bytes, tuple[bool, bool]] = {}
        self._unread = Unread(gateway=gateway, clock=clock, ids=ids)
        self._methods = Methods(
            gateway=gateway,
            authenticator=authenticator,
            clock=clock,
            ids=ids,
            limits=limits,
            pace=self._pace,
            offers=offers,
            unread=self._unread,
        )
        self._batches = BatchDoor(self._methods, limits=limits, serve=self._one_of_several)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Owns what the door starts beside the requests themselves."""
        async with anyio.create_task_group() as group:
            self._vigil = Vigil(self._pace)
            group.start_soon(self._vigil.keep)
            try:
                yield
            finally:
                self._vigil = None
                self.stop()
                group.cancel_scope.cancel()

    def stop(self) -> None:
        """End every open stream in good order."""
        self._methods.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lines: list[tuple[bytes, bytes]] = scope["headers"]
        headers = dict(lines)
        path = scope["path"]
        try:
            identity = await self._authenticator.authenticate(headers.get(b"authorization", b""), path)
        except Unauthenticated as error:
            try:
                self._note_stranger(error)
            except GatewayError:
                log.warning("a refused credential could not be recorded")
            challenge = (b"www-authenticate", self._challenges.unauthenticated(path, error))
            await refuse(send, refusal_from(error), 401, (challenge,))
            return
        except Unavailable as error:
            await refuse(send, refusal_from(error), error.wire.http)
            return
        owner = _owner(path)
        knock = Knock(identity=identity, headers=headers, lines=lines, scope=owner or "", receive=receive, send=send)
        extensions = scope.get("extensions")
        if extensions is not None and LAST_WORD in extensions:
            knock.last_word = extensions[LAST_WORD]["call"]
        if owner is None:
            nowhere = RpcRefusal(
                INVALID_REQUEST, "there is nothing at this path: use /mcp, /mcp/{server} or /mcp/sets/{set}"
            )
            await refuse(send, nowhere, 404)
        elif scope["method"] == "POST":
            await self._post(knock, self._exchange(knock, Exchange), self._answer)
        else:
            await self._without_body(scope["method"], knock)

    def _exchange(self, knock: Knock, kind: type[E]) -> E:
        vigil = self._vigil
        if vigil is None:
            raise RuntimeError("the door serves only inside running()")
        return kind(
            knock.receive,
            knock.send,
            pace=self._pace,
            vigil=vigil,
            accept=self._accepts.get(knock.headers.get(b"accept", b"")) or self._accepted(knock),
            unread=self._unread,
        )

    async def _post(self, knock: Knock, exchange: Exchange, answer: Answer) -> None:
        batch = b""
        try:
            batch = await answer(knock, exchange)
        except RpcRefusal as refusal:
            await self._refused(knock, exchange, refusal)
        except GatewayError as error:
            await self._refused(knock, exchange, refusal_from(error))
        except ClientLeft:
            pass
        except anyio.get_cancelled_exc_class():
            if not exchange.absorbed():
                with anyio.move_on_after(FAREWELL_S, shield=True):
                    await self._refused(knock, exchange, refusal_from(Unavailable("the gateway is going down")))
                raise
            await self._cut_short(knock, exchange)
        except Exception:
            log.exception("request failed", method=knock.message.method)
            failed = Internal("the gateway failed; its log has the rest")
            await self._refused(knock, exchange, refusal_from(failed))
        finally:
            exchange.close()
        if batch:
            whole = self._exchange(knock, Gathering)
            await self._post(knock, whole, lambda knock, _: self._batches.answer(knock, whole, batch))

    async def _one_of_several(self, knock: Knock, part: Exchange) -> None:
        """Answer a request of a batch."""
        await self._post(knock, part, self._legacy)

    async def _answer(self, knock: Knock, exchange: Exchange) -> bytes:
        """Answer what came alone; the body, where it is an array and is to be answered as one."""
        headers = knock.headers
        if not (exchange.accepts_json or exchange.accepts_sse):
            raise RpcRefusal(INVALID_REQUEST, "accept application/json and text/event-stream", http=406)
        content_type = headers.get(b"content-type", b"")
        if content_type != JSON and not content_type.lower().startswith(JSON):
            raise RpcRefusal(INVALID_REQUEST, "the content type must be application/json", http=415)
        body = await read_body(knock.receive, headers, self._limits.body_bytes)
        named = era_of(headers.get(VERSION_HEADER, b"").strip(b" \t") or None)
        knock.era = named or "legacy"
        if body[:1] != b"{" and is_array(body):
            return body
        message = message_from(body, knock.era, self._limits.json_depth)
        if isinstance(message, Reply):
            self._methods.answered(knock, message)
            await reply(knock.send, 202)
            return b""
        knock.message = message
        exchange.request_id = message.id
        if len(headers) != len(knock.lines):
            check_routing(knock.lines)
        if named != "modern" and message.meta.version is ABSENT:
            return await self._legacy(knock, exchange)
        knock.era = "modern"
        if message.id:
            check_modern(message, headers, knock.lines)
            await self._methods.modern(knock, exchange)
        else:
            check_notification(headers)
            await reply(knock.send, 202)
        return b""

    async def _legacy(self, knock: Knock, exchange: Exchange) -> bytes:
        if knock.message.method != "initialize":
            knock.session = self._methods.session(knock)
        if knock.message.id:
            await self._methods.legacy(knock, exchange)
        else:
            self._methods.notified(knock)
            await reply(knock.send, 202)
        return b""

    async def _without_body(self, method: str, knock: Knock) -> None:
        """GET and DELETE, which only sessions know (MCP until 2025-11-25, transports)."""
        modern = era_of(knock.headers.get(VERSION_HEADER)) == "modern"
        if modern or method not in ("GET", "DELETE"):
            refusal = RpcRefusal(INVALID_REQUEST, "Method Not Allowed")
            await refuse(knock.send, refusal, 405, ALLOW_POST if modern else ALLOW_ALL)
            return
        try:
            knock.session = self._methods.session(knock)
            if method == "GET":
                await self._methods.watch(knock, accepts_sse=self._accepted(knock)[1])
            else:
                self._methods.close(knock)
                await reply(knock.send, 200)
        except RpcRefusal as refusal:
            await refuse(knock.send, refusal, refusal.http("legacy"), refusal.headers)
        except GatewayError as error:
            refusal = refusal_from(error)
            await refuse(knock.send, refusal, error.wire.http, refusal.headers)

    async def _refused(self, knock: Knock, exchange: Exchange, refusal: RpcRefusal) -> None:
        if refusal.scopes:
            challenge = self._challenges.insufficient(_path(knock.scope), refusal.scopes)
            refusal.headers = (*refusal.headers, (b"www-authenticate", challenge))
        http = refusal.http(knock.era)
        exchange.request_id = exchange.request_id or refusal.request_id
        headers = (*refusal.headers, CLOSE) if http in (408, 413) else refusal.headers
        await exchange.refuse(refusal.code, refusal.message, refusal.data, http, headers)

    async def _cut_short(self, knock: Knock, exchange: Exchange) -> None:
        match exchange.ending:
            case "canceled":
                await self._refused(knock, exchange, RpcRefusal(CANCELED, "the call was cancelled", http=200))
            case "overdue":
                overdue = DeadlineExceeded("the call did not end within the time it was given")
                await self._refused(knock, exchange, refusal_from(overdue))
            case "slow" if exchange.phase == "reading":
                slow = RpcRefusal(INVALID_REQUEST, "the body took too long to arrive", http=408)
                await self._refused(knock, exchange, slow)
            case "slow" if exchange.phase == "calling":
                # Heard by whoever begins to read again; what was written and not read is all that is kept for it.
                exchange.left_unread()
                with anyio.move_on_after(FAREWELL_S):
                    await self._refused(knock, exchange, refusal_from(unread()))
            case "slow":
                exchange.left_unread()
            case _:
                log.debug("answer given up", why=exchange.ending)

    def _accepted(self, knock: Knock) -> tuple[bool, bool]:
        accept = knock.headers.get(b"accept", b"")
        if len(self._accepts) >= ACCEPTS:
            self._accepts.clear()
        known = self._accepts[accept] = accepted_types(accept)
        return known

    def _note_stranger(self, error: Unauthenticated) -> None:
        self._gateway.note(
            Record(
                id=self._ids.new("rec"),
                phase="event",
                at_us=self._clock.now_us(),
                principal=None,
                operation="authenticate",
                protocol="mcp",
                outcome="denied",
                code=error.wire.code,
                reason=error.wire.reason,
            )
        )


def _owner(path: str) -> str | None:
    """Whose endpoint a path is; empty for everybody's, None where it is none of the door's."""
    if path == PATH:
        return ""
    owner = path[len(PATH) + 1 :]
    return owner if path.startswith(f"{PATH}/") and "/" not in owner.removeprefix(SETS) else None


def _path(owner: str) -> str:
    return f"{PATH}/{owner}" if owner else PATH
