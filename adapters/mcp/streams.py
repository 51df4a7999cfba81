"""Streams that stay open and say when a list has changed: `subscriptions/listen` (modern) and GET (legacy).

A stream speaks only of what its caller may see: a change elsewhere stays unmentioned. Whoever holds one is identified
again on each change and with each sign of life.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import anyio
from msgspec import Raw
from starlette.types import Receive, Send

from adapters.mcp.exchange import FAREWELL_S, KEEP_ALIVE, SSE_HEADERS, HeaderLines, Pace
from adapters.mcp.following import Follow, News, Still, Watched, always, follow_all
from adapters.mcp.knock import Knock
from adapters.mcp.refusals import error_bytes, refusal_from
from adapters.mcp.render import notification_bytes, response_bytes, sse_bytes
from adapters.mcp.sessions import Ear, owner_of
from adapters.mcp.tapes import Tape
from adapters.mcp.task_news import Tell
from adapters.mcp.tasks import NOTIFICATION, TASK_IDS
from adapters.mcp.unread import KEPT, NOT_KEPT, Unread, unread
from adapters.mcp.views import ListKind, View, Views
from adapters.mcp.wire import ACKNOWLEDGED, SUBSCRIPTION_KEY, decode_members, encode
from gateway.core.errors import Exhausted, Unauthenticated, Unavailable
from gateway.core.json import JsonObject
from gateway.core.model import Emit, Principal
from gateway.core.ports.gateway import Authenticator, Gateway, Identity

GONE = b": what came next is no longer kept\n\n"
SHARE = 4
"""One caller may hold at most this fraction of all streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One kind of change a client may ask to be told of."""

    asked_by: str
    method: str
    lists: tuple[ListKind, ...]


NOTICES = (
    Notice(asked_by="toolsListChanged", method="notifications/tools/list_changed", lists=("tools",)),
    Notice(asked_by="promptsListChanged", method="notifications/prompts/list_changed", lists=("prompts",)),
    Notice(
        asked_by="resourcesListChanged",
        method="notifications/resources/list_changed",
        lists=("resources", "resourceTemplates"),
    ),
)


def _nothing_watched() -> tuple[frozenset[str], anyio.Event]:
    return frozenset(), anyio.Event()


async def _never(uri: str, emit: Emit) -> None:
    await anyio.sleep_forever()


async def _never_told(task_id: str, tell: Tell) -> None:
    await anyio.sleep_forever()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What one stream was opened for."""

    principal: Principal
    method: str
    """By which it was asked for: of JSON-RPC, or GET."""
    last_word: Callable[[], None]
    """See `Knock.last_word`."""
    authorization: bytes
    scope: str
    notices: tuple[Notice, ...]
    told: dict[str, tuple[bytes, ...]]
    """By method of a notice, how its lists were when the client could last know of them. Whatever tells of a change
    brings it up to date."""
    again: bool = False
    """Whether another stream did the same before, so that something may have gone unheard in between."""
    watched: Watched = _nothing_watched
    follow: Follow = _never
    still: Still = always
    ear: Ear | None = None
    """What a session is told beside its calls."""
    tasks: frozenset[str] = frozenset()
    """Of which it tells where they stand, by the ids their caller knows them by."""
    follow_task: Callable[[str, Tell], Awaitable[None]] = _never_told
    request_id: bytes = b""
    """Raw JSON id of a `subscriptions/listen`; empty for a GET stream."""
    headers: HeaderLines = ()
    tape: Tape | None = None
    """Where what it says is kept; None where it cannot be taken up."""
    after: int = 0
    """The last event of `tape` the client has seen."""


class Streams:
    """Every open stream; bounded in number, in all and for one caller."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        authenticator: Authenticator,
        views: Views,
        limit: int,
        pace: Pace,
        unread: Unread,
    ) -> None:
        self._unread = unread
        self._gateway = gateway
        self._authenticator = authenticator
        self._views = views
        self._limit = limit
        self._pace = pace
        self._open: dict[str, int] = {}
        self._scopes: set[anyio.CancelScope] = set()

    async def serve(
        self, subscription: Subscription, receive: Receive, send: Send, talk: anyio.CancelScope | None = None
    ) -> None:
        """Hold a stream open until the client leaves, its credential lapses, or the gateway stops.

        Cancelling `talk` ends it in good order. Raises: Exhausted: too many are open.
        """
        talk = talk or anyio.CancelScope()
        with self._place(subscription, talk):
            await self._hold(subscription, receive, send, talk)

    async def replay(self, subscription: Subscription, knock: Knock) -> None:
        """Read on what a call's stream said after an event, and says from now on. Raises: Exhausted."""
        tape, talk = subscription.tape, anyio.CancelScope()
        if tape is None:
            raise ValueError("there is nothing to read on")
        with self._place(subscription, talk):
            tape.take(talk)
            async with anyio.create_task_group() as group:
                group.start_soon(_leave_with_client, knock.receive, group.cancel_scope)
                last_words = b""
                with talk:
                    last_words = await self._read_on(subscription, tape, knock.send)
                await self._take_leave(knock.send, last_words)
                group.cancel_scope.cancel()

    async def _read_on(self, subscription: Subscription, tape: Tape, send: Send) -> bytes:
        """Gives what is left to say."""
        headers = [*SSE_HEADERS, *subscription.headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        last = subscription.after
        while tape.lost <= last:
            news, done = tape.news, tape.done
            events = tape.after(last)
            if not await self._say(send, [event for _, event in events] or [KEEP_ALIVE]):
                return self._left_unread(subscription)
            last = events[-1][0] if events else last
            if done:
                return b""
            with anyio.move_on_after(self._pace.keep_alive_s):
                await news.wait()
        return GONE

    @contextmanager
    def _place(self, subscription: Subscription, talk: anyio.CancelScope) -> Generator[None]:
        subject = f"{subscription.principal.tenant}/{subscription.principal.subject}"
        mine = self._open.get(subject, 0)
        if sum(self._open.values()) >= self._limit or mine >= max(1, self._limit // SHARE):
            raise Exhausted("too many streams are open", detail={"limit": "streams"}, retry_after_s=5.0)
        self._open[subject] = mine + 1
        self._scopes.add(talk)
        try:
            yield
        finally:
            self._scopes.discard(talk)
            self._open[subject] -= 1
            if not self._open[subject]:
                del self._open[subject]

    def stop(self) -> None:
        """End every stream in good order: the gateway is going down."""
        for scope in tuple(self._scopes):
            scope.cancel()

    async def _hold(self, subscription: Subscription, receive: Receive, send: Send, talk: anyio.CancelScope) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(_leave_with_client, receive, group.cancel_scope)
            last_words = _farewell(subscription)
            with talk:
                news = News()
                group.start_soon(self._notice_changes, self._gateway.version, news)
                if subscription.ear is not None:
                    group.start_soon(_notice_words, subscription.ear, news)
                following = (subscription.watched, subscription.follow, news, self._gateway, subscription.still)
                group.start_soon(follow_all, *following)
                if subscription.tasks:
                    group.start_soon(self._follow_tasks, subscription, news)
                last_words = await self._talk(subscription, send, news)
            await self._take_leave(send, last_words)
            group.cancel_scope.cancel()

    async def _follow_tasks(self, subscription: Subscription, news: News) -> None:
        for_ever = anyio.Event()

        async def follow(task_id: str, emit: Emit) -> None:
            await subscription.follow_task(task_id, news.task_is)

        await follow_all(lambda: (subscription.tasks, for_ever), follow, news, self._gateway)

    async def _notice_changes(self, version: str, news: News) -> None:
        while True:
            version = await self._gateway.changed(version)
            news.stir()

    async def _talk(self, subscription: Subscription, send: Send, news: News) -> bytes:
        """Gives what is left to say."""
        headers = [*SSE_HEADERS, *subscription.headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        missed = self._missed(subscription)
        said = await self._say(send, [_greeting(subscription), *missed])
        holder = await self._holder(subscription)
        while said and holder is not None:
            with anyio.move_on_after(self._pace.keep_alive_s):
                await news.wait()
            holder = await self._holder(subscription)
            if holder is not None:
                subscription = replace(subscription, principal=holder)
                chunks = [*self._news(subscription), *self._updates(news.take(), subscription), *_words(subscription)]
                chunks += [_task(state, subscription) for state in news.take_tasks()]
                said = await self._say(send, [_kept(each, subscription) for each in chunks] or [KEEP_ALIVE])
        return _farewell(subscription) if said else self._left_unread(subscription)

    def _missed(self, subscription: Subscription) -> list[bytes]:
        """What an earlier stream told, and what it would have told."""
        tape = subscription.tape
        lost = [] if tape is None else [event for _, event in tape.after(subscription.after)]
        # Nobody listened to the servers meanwhile: any of these may have changed.
        maybe = sorted(subscription.watched()[0]) if subscription.again else []
        missed = [*self._updates(maybe, subscription), *self._news(subscription), *_words(subscription)]
        return [*lost, *(_kept(each, subscription) for each in missed)]

    def _news(self, subscription: Subscription) -> list[bytes]:
        """A notice for each kind of list that is another than the client knows of; it is taken to know from now on."""
        now = self.current(subscription.principal, subscription.scope, subscription.notices)
        changed = [each for each in subscription.notices if now[each.method] != subscription.told.get(each.method)]
        subscription.told.update(now)
        return [_notice(each, subscription) for each in changed]

    def _updates(self, uris: list[str], subscription: Subscription) -> list[bytes]:
        """That these resources changed; of what the holder sees no longer nothing is told."""
        view = self._views.of(subscription.principal, subscription.scope)
        return [_updated(uri, subscription) for uri in uris if view.places.sees(uri)]

    async def _say(self, send: Send, chunks: list[bytes]) -> bool:
        """Whether the client still reads."""
        with anyio.move_on_after(self._pace.slow_reader_s) as patience:
            await send(_chunk(b"".join(chunks), more=True))
        return not patience.cancelled_caught

    def _left_unread(self, subscription: Subscription) -> bytes:
        self._unread.note(subscription.principal, subscription.method)
        subscription.last_word()
        if subscription.request_id:
            refusal = refusal_from(unread())
            return sse_bytes(error_bytes(subscription.request_id, refusal.code, refusal.message, refusal.data))
        return NOT_KEPT if subscription.tape is None else KEPT

    async def _take_leave(self, send: Send, last_words: bytes) -> None:
        with anyio.move_on_after(FAREWELL_S):
            await send(_chunk(last_words, more=False))

    async def _holder(self, subscription: Subscription) -> Principal | None:
        """Whoever opened the stream, perhaps with other roles than before; None where they may hold it no longer."""
        try:
            holder = (await self.identified(subscription.authorization, subscription.scope)).principal
        except (Unauthenticated, Unavailable):
            return None
        return holder if owner_of(holder) == owner_of(subscription.principal) else None

    async def identified(self, authorization: bytes, scope: str) -> Identity:
        """Whom a credential stands for by now. Raises: Unauthenticated, Unavailable."""
        return await self._authenticator.authenticate(authorization, f"/mcp/{scope}" if scope else "/mcp")

    def current(self, principal: Principal, scope: str, notices: tuple[Notice, ...]) -> dict[str, tuple[bytes, ...]]:
        """How the lists of each notice are now; see `Subscription.told`."""
        view: View = self._views.of(principal, scope)
        return {each.method: tuple(view.digest(kind) for kind in each.lists) for each in notices}


async def _leave_with_client(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _notice_words(ear: Ear, news: News) -> None:
    while True:
        await ear.stirred.wait()
        news.stir()


def _words(subscription: Subscription) -> list[bytes]:
    return [] if subscription.ear is None else [sse_bytes(each) for each in subscription.ear.take()]


def _kept(event: bytes, subscription: Subscription) -> bytes:
    return event if subscription.tape is None else subscription.tape.keep(event)


def _chunk(body: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def _meta(subscription: Subscription) -> dict[str, object]:
    """MCP 2026-07-28, subscriptions: every frame names the listen request it belongs to."""
    return {"_meta": {SUBSCRIPTION_KEY: Raw(subscription.request_id)}} if subscription.request_id else {}


def _greeting(subscription: Subscription) -> bytes:
    if not subscription.request_id:
        tape = subscription.tape
        primed = tape is not None and tape.shelf.primed and not tape.last
        return KEEP_ALIVE + tape.beginning if tape is not None and primed else KEEP_ALIVE
    honoured: JsonObject = {each.asked_by: True for each in subscription.notices}
    watched = subscription.watched()[0]
    if watched:
        honoured["resourceSubscriptions"] = [*sorted(watched)]
    if subscription.tasks:
        honoured[TASK_IDS] = [*sorted(subscription.tasks)]
    return sse_bytes(notification_bytes(ACKNOWLEDGED, {"notifications": honoured, **_meta(subscription)}))


def _notice(notice: Notice, subscription: Subscription) -> bytes:
    meta = _meta(subscription)
    return (
        sse_bytes(notification_bytes(notice.method, meta))
        if meta
        else sse_bytes(encode({"jsonrpc": "2.0", "method": notice.method}))
    )


def _updated(uri: str, subscription: Subscription) -> bytes:
    return sse_bytes(notification_bytes("notifications/resources/updated", {"uri": uri, **_meta(subscription)}))


def _task(state: bytes, subscription: Subscription) -> bytes:
    """SEP-2663, "task status notifications": what `tasks/get` answers, but for what makes it an answer."""
    said: dict[str, object] = {**decode_members(state)}
    said.pop("resultType", None)
    return sse_bytes(notification_bytes(NOTIFICATION, {**said, **_meta(subscription)}))


def _farewell(subscription: Subscription) -> bytes:
    if not subscription.request_id:
        return b""
    result = encode({"resultType": "complete", **_meta(subscription)})
    return sse_bytes(response_bytes(subscription.request_id, result))
