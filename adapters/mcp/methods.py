"""Which JSON-RPC method does what, in either era. Everything that reaches a capability is `calls`' business."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import anyio

from adapters.mcp.abilities import abilities
from adapters.mcp.beyond import Beyond
from adapters.mcp.calls import OPERATIONS, Calls
from adapters.mcp.classify import Reply
from adapters.mcp.exchange import Exchange, HeaderLines, Pace
from adapters.mcp.finding import Finding
from adapters.mcp.hello import discovered, initialized
from adapters.mcp.knock import Knock
from adapters.mcp.lists import Lists
from adapters.mcp.offers import Offers
from adapters.mcp.refusals import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    RpcRefusal,
)
from adapters.mcp.render import LOG_RANKS
from adapters.mcp.sessions import Session, Sessions, negotiated
from adapters.mcp.streams import NOTICES, Notice, Streams, Subscription
from adapters.mcp.subscribing import Subscribing
from adapters.mcp.tapes import Tape, Tapes
from adapters.mcp.task_news import TaskNews
from adapters.mcp.tasks import TASK_IDS
from adapters.mcp.unread import Unread
from adapters.mcp.views import ListKind, View, Views
from adapters.mcp.wire import as_text, askable, decode_value
from gateway.core.errors import InvalidRequest, NotFound
from gateway.core.json import json_list, json_object
from gateway.core.limits import Limits
from gateway.core.model import Emit
from gateway.core.ports.gateway import Authenticator, Gateway
from gateway.core.ports.world import Clock, Ids
from gateway.core.record import Record

LISTS: Mapping[str, ListKind] = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
SESSION_HEADER = b"mcp-session-id"
LAST_EVENT = b"last-event-id"
MOST_WATCHED = 256
"""Resources one stream tells of."""


class Methods:
    """Answers every method of the MCP door."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        authenticator: Authenticator,
        clock: Clock,
        ids: Ids,
        limits: Limits,
        pace: Pace,
        offers: Callable[[], Offers],
        unread: Unread,
    ) -> None:
        self._gateway = gateway
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._lists = Lists(page_size=limits.page_size)
        self._views = Views(gateway, self._lists.forget, offers)
        tapes = Tapes(events=limits.kept_events, size_bytes=limits.kept_bytes)
        self._sessions = Sessions(clock=clock, limit=limits.sessions, idle_s=limits.session_idle_s, tapes=tapes)
        self._streams = Streams(
            gateway=gateway,
            authenticator=authenticator,
            views=self._views,
            limit=limits.streams,
            pace=pace,
            unread=unread,
        )
        self._offers = offers
        self._finding = Finding()
        self._calls = Calls(gateway=gateway, clock=clock, ids=ids, limits=limits)
        self._subscribing = Subscribing(gateway, self._calls)
        self._task_news = TaskNews(self._calls, MOST_WATCHED)
        self._beyond = Beyond(
            gateway=gateway,
            calls=self._calls,
            views=self._views,
            clock=clock,
            ids=ids,
            patience_s=limits.list_timeout_s,
        )

    def stop(self) -> None:
        """End every open stream in good order."""
        self._streams.stop()

    async def modern(self, knock: Knock, exchange: Exchange) -> None:
        """Answer a request of 2026-07-28. Raises: RpcRefusal, GatewayError."""
        method = knock.message.method
        if method in OPERATIONS:
            await self._call(knock, exchange)
        elif method in LISTS:
            await exchange.answer(await self._listed(knock))
        elif method == "server/discover":
            await exchange.answer(discovered(self._gateway, await self._settled_view(knock)))
        elif method == "subscriptions/listen":
            await self._listen(knock, exchange)
        else:
            await self._beyond.request(knock, exchange)

    async def legacy(self, knock: Knock, exchange: Exchange) -> None:
        """Answer a request of 2024-11-05 to 2025-11-25. Raises: RpcRefusal, GatewayError."""
        method, session = knock.message.method, knock.session
        if method == "initialize":
            await self._initialize(knock, exchange)
        elif session is None:
            raise no_session()
        elif method in OPERATIONS:
            exchange.shelf = session.shelf
            await self._call(knock, exchange)
        elif method in LISTS:
            await exchange.answer(await self._listed(knock))
        elif method == "ping":
            await exchange.answer(b"{}")
        elif method in ("resources/subscribe", "resources/unsubscribe"):
            await self._watch(knock, session, exchange, wanted=method == "resources/subscribe")
        elif method == "logging/setLevel":
            session.log_level = _log_level(knock)
            await exchange.answer(b"{}")
        else:
            await self._beyond.request(knock, exchange)

    def notified(self, knock: Knock) -> None:
        """Take note of a legacy notification; the modern era has none from the client over HTTP."""
        session = knock.session
        if session is None:
            return
        if knock.message.method == "notifications/roots/list_changed":
            session.roots = object()  # who keeps its roots hears of it before its next call
        elif knock.message.method == "notifications/cancelled":
            call = session.calls.get(bytes(knock.message.params.get("requestId", b"")))
            if call is not None:
                call.cancel()
        else:
            self._beyond.notification(knock)

    def answered(self, knock: Knock, reply: Reply) -> None:
        """Hand a legacy client's answer to whoever asked. Raises: RpcRefusal: it names a session that is unknown."""
        session = self.session(knock)
        if session is not None:
            session.answer(reply.id, reply.result, reply.error)

    async def watch(self, knock: Knock, *, accepts_sse: bool) -> None:
        """Hold a legacy session's GET stream open. Raises: RpcRefusal: there is one; Exhausted."""
        session = knock.session
        if session is None:
            raise no_session()
        headers: HeaderLines = ((SESSION_HEADER, session.id.encode()),)
        again, session.streamed = session.streamed, True
        if not accepts_sse:
            raise RpcRefusal(INVALID_REQUEST, "accept text/event-stream", http=406)
        watched = partial(_watched_by, session)
        last, number = knock.headers.get(LAST_EVENT), 0
        if last is not None:
            tape, number = _taken_up(session, last)
            if tape is not session.tape:
                lost = self._subscription(knock, (), headers, watched, tape, number)
                await self._streams.replay(lost, knock)
                return
        elif session.end_stream is not None:
            raise RpcRefusal(INVALID_REQUEST, "this session has a stream already", http=409)
        else:
            session.begin_stream()
        if session.end_stream is not None:
            session.end_stream()  # it broke, or its client would not take it up
        talk = anyio.CancelScope()
        end_stream = session.end_stream = talk.cancel
        known = self._subscription(knock, NOTICES, headers, watched, session.tape, number)
        subscription = replace(known, told=session.told, again=again, ear=session.ear)
        try:
            await self._streams.serve(subscription, knock.receive, knock.send, talk)
        finally:
            if session.end_stream == end_stream:
                session.end_stream = None

    def close(self, knock: Knock) -> None:
        """End a legacy session, its calls and its stream."""
        if knock.session is None:
            raise no_session()
        self._sessions.close(knock.session)

    def session(self, knock: Knock) -> Session | None:
        """The session a legacy request names; None where it names none. Raises: RpcRefusal: it is unknown."""
        named = knock.headers.get(SESSION_HEADER)
        if named is None:
            return None
        session = self._sessions.find(named.decode("latin-1"), knock.identity.principal)
        if session is None:
            raise RpcRefusal(INVALID_REQUEST, "there is no such session: initialize again", http=404)
        return session

    async def _call(self, knock: Knock, exchange: Exchange) -> None:
        view = self._views.of(knock.identity.principal, knock.scope)
        if view.set is not None and view.set.search and knock.message.method == "tools/call":
            # An engine is a plugin's, and may be slow to begin with.
            exchange.calling(knock, self._clock.monotonic_s() + self._limits.call_timeout_s)
            found = await self._finding.answer(knock, view, view.set, self._offers())
            if found is not None:
                self._note(knock)
                await exchange.answer(found)
                return
        await self._calls.run(knock, view, exchange)

    async def _listed(self, knock: Knock) -> bytes:
        raw = knock.message.params.get("cursor")
        cursor = None if raw is None or bytes(raw) == b"null" else as_text(raw)
        if cursor is None and raw is not None and bytes(raw) != b"null":
            raise RpcRefusal(INVALID_PARAMS, "the cursor must be a string")
        view = await self._settled_view(knock)
        kind = LISTS[knock.message.method]
        agent_class = knock.identity.principal.agent_class
        page = self._lists.page(
            agent_class,
            view,
            kind,
            cursor=cursor,
            gaps=self._gaps(knock, view),
            era=knock.era,
            able=_abilities(knock),
        )
        self._note(knock)
        return page

    async def _initialize(self, knock: Knock, exchange: Exchange) -> None:
        params = knock.message.params
        raw = params.get("protocolVersion")
        requested = as_text(raw)
        if requested is None:
            raise RpcRefusal(INVALID_PARAMS, "protocolVersion must be a string")
        declared = params.get("capabilities")
        capabilities = {} if declared is None else json_object(decode_value(bytes(declared)))
        view = await self._settled_view(knock)
        agreed = negotiated(requested)
        result = initialized(self._gateway, view, agreed)
        session = self._sessions.open(knock.identity.principal, agreed, askable(capabilities))
        session.told = self._streams.current(knock.identity.principal, knock.scope, NOTICES)
        self._note(knock)
        await exchange.answer(result, ((SESSION_HEADER, session.id.encode()),))

    async def _listen(self, knock: Knock, exchange: Exchange) -> None:
        raw = knock.message.params.get("notifications")
        wanted = None if raw is None else decode_value(bytes(raw))
        if not isinstance(wanted, dict):
            raise RpcRefusal(INVALID_PARAMS, "notifications must be an object")
        if not exchange.accepts_sse:
            raise RpcRefusal(INVALID_REQUEST, "a subscription is answered as text/event-stream", http=406)
        view = await self._settled_view(knock)
        notices = tuple(each for each in NOTICES if wanted.get(each.asked_by) is True)
        uris = frozenset(each for each in json_list(wanted.get("resourceSubscriptions")) if isinstance(each, str))
        if len(uris) > MOST_WATCHED:
            raise RpcRefusal(INVALID_PARAMS, f"no more than {MOST_WATCHED} resources can be watched at once")
        seen = await self._subscribing.allowed(knock, view, uris)
        tasks = await self._task_news.allowed(knock, view, wanted.get(TASK_IDS))
        for_ever = anyio.Event()
        exchange.close()
        subscription = self._subscription(knock, notices, (), lambda: (seen, for_ever))
        await self._streams.serve(replace(subscription, tasks=tasks), knock.receive, knock.send)

    async def _watch(self, knock: Knock, session: Session, exchange: Exchange, *, wanted: bool) -> None:
        """`resources/subscribe` and its opposite: what changes is told on the session's own stream."""
        uri = as_text(knock.message.params.get("uri"))
        if uri is None:
            raise RpcRefusal(INVALID_PARAMS, "uri must be a string")
        if wanted and len(session.watched) >= MOST_WATCHED:
            raise RpcRefusal(INVALID_PARAMS, f"no more than {MOST_WATCHED} resources can be watched at once")
        if wanted:
            await self._subscribing.check(knock, await self._settled_view(knock), uri)
        session.watch(uri, wanted=wanted)
        await exchange.answer(b"{}")

    def _subscription(
        self,
        knock: Knock,
        notices: tuple[Notice, ...],
        headers: HeaderLines,
        watched: Callable[[], tuple[frozenset[str], anyio.Event]],
        tape: Tape | None = None,
        after: int = 0,
    ) -> Subscription:
        principal, credential = knock.identity.principal, knock.headers.get(b"authorization", b"")

        async def seen() -> tuple[Knock, View]:
            # Judged each time as whoever the credential stands for by now.
            identity = await self._streams.identified(credential, knock.scope)
            return replace(knock, identity=identity), self._views.of(identity.principal, knock.scope)

        async def follow(uri: str, emit: Emit) -> None:
            await self._calls.follow(*(await seen()), uri, emit)

        async def still(uri: str) -> bool:
            return await self._subscribing.still(*(await seen()), uri)

        return Subscription(
            principal=principal,
            method=knock.message.method or "GET",
            last_word=knock.last_word,
            authorization=credential,
            scope=knock.scope,
            notices=notices,
            told=self._streams.current(principal, knock.scope, notices),
            watched=watched,
            follow=follow,
            still=still,
            follow_task=lambda task_id, tell: self._task_news.follow(task_id, seen, tell),
            request_id=knock.message.id,
            headers=headers,
            tape=tape,
            after=after,
        )

    async def _settled_view(self, knock: Knock) -> View:
        """The caller's view once every upstream had its chance. Raises: RpcRefusal: nothing is at this path."""
        await self._gateway.settled(self._limits.list_timeout_s)
        view = self._views.of(knock.identity.principal, knock.scope)
        if knock.scope and view.empty and not self._gaps(knock, view) and knock.scope not in ("agents", "workflows"):
            kind = "server" if view.set is None else "set"
            said = (
                f"there is no {kind} called {knock.scope.rpartition('/')[2][:64]}, or nothing of it is granted to you"
            )
            raise RpcRefusal(INVALID_REQUEST, said, http=404)
        return view

    def _gaps(self, knock: Knock, view: View) -> Mapping[str, str]:
        gaps, owners = self._gateway.gaps_for(knock.identity.principal), view.owners
        if owners is None or not gaps:
            return gaps
        return {owner: reason for owner, reason in gaps.items() if owner in owners}

    def _note(self, knock: Knock) -> None:
        identity = knock.identity
        self._gateway.note(
            Record(
                id=self._ids.new("rec"),
                phase="event",
                at_us=self._clock.now_us(),
                principal=identity.principal,
                tenant=identity.principal.tenant,
                operation=knock.message.method,
                protocol="mcp",
                outcome="ok",
                run_id=identity.run_id,
                step_id=identity.step_id,
            )
        )


def _taken_up(session: Session, event_id: bytes) -> tuple[Tape, int]:
    if session.shelf is None:
        raise RpcRefusal(INVALID_REQUEST, "this session's streams cannot be taken up again", http=400)
    try:
        return session.shelf.find(event_id.strip(b" \t"))
    except NotFound as error:
        tape = session.tape
        if tape is None or not tape.said(event_id):
            raise RpcRefusal(INVALID_REQUEST, error.message, http=410) from error
        # Of a stream that tells of changes nothing is lost for good: it tells of everything anew.
        session.told.clear()
        return tape, tape.last
    except InvalidRequest as error:
        raise RpcRefusal(INVALID_REQUEST, error.message, http=400) from error


def _watched_by(session: Session) -> tuple[frozenset[str], anyio.Event]:
    return frozenset(session.watched), session.stirred


def no_session() -> RpcRefusal:
    return RpcRefusal(INVALID_REQUEST, "there is no session: send initialize first, then its Mcp-Session-Id", http=400)


def _abilities(knock: Knock) -> frozenset[str]:
    if knock.session is not None:
        return abilities(knock.session.capabilities)
    declared = bytes(knock.message.meta.capabilities)
    return frozenset() if declared in (b"", b"{}") else abilities(json_object(decode_value(declared)))


def _log_level(knock: Knock) -> str:
    level = as_text(knock.message.params.get("level")) or ""
    if level not in LOG_RANKS:
        raise RpcRefusal(INVALID_PARAMS, f"level must be one of {', '.join(LOG_RANKS)}")
    return level
