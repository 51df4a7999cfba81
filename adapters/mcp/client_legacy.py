"""How a server of the legacy era (until 2025-11-25) is asked over HTTP: in a session that was initialized."""

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

import anyio
from msgspec import Raw

from adapters.mcp.client_aside import SessionAside
from adapters.mcp.client_exchange import Asked, MayAsk, SessionGone, Wire, message_from, nothing, trace_line, unsent
from adapters.mcp.client_goodbyes import Goodbyes
from adapters.mcp.client_params import CLIENT_INFO, Outgoing, client_capabilities
from adapters.mcp.client_parked import Parking, reply_from
from adapters.mcp.client_sessions import GATEWAY, Key, Session, Sessions, caller_of
from adapters.mcp.client_stream import EVENTS, Held, Stream, TakeUp
from adapters.mcp.client_subscribed import Subscribed
from adapters.mcp.client_told import ROOTS_CHANGED, Told
from adapters.mcp.client_unanswered import Unanswered
from adapters.mcp.client_wire import Message, own_answer
from adapters.mcp.wire import ASKED, HANDSHAKE, LATEST_HANDSHAKE, Era, as_text, decode_value, encode
from adapters.net.http1 import Pool, header_lines
from adapters.net.response import Response
from gateway.core.errors import DeadlineExceeded, Denied, GatewayError, UpstreamFailed
from gateway.core.json import JsonObject, json_object, json_text
from gateway.core.limits import Limits
from gateway.core.model import READ_OPERATIONS, Capability, Emit, Request, ignore_event
from gateway.core.ports.world import Clock

TELL_S = 1.0
"""How long a notification may take that nobody waits for, seconds."""
GOODBYE_S = 2.0
LEVEL_S = 5.0
"""How long a server may take to take note of a log level, seconds."""
HEAR_S = 5.0
"""How long a server may take to begin what a session says beside its calls, seconds."""
_FOR_EVER = float("inf")
_LONGEST_S = 24 * 3600.0
"""No call waits so long, its caller's answers included; who waits for it, or keeps it, ends it before."""
PARKED_SHARE = 4
"""Calls that wait for their callers may hold at most this fraction of the connections."""


class Legacy:
    """Requests to one legacy server, each caller's in a session of their own."""

    era: Era = "legacy"

    def __init__(
        self, wire: Wire, limits: Limits, clock: Clock, *, connections: int, streams: Pool | None = None
    ) -> None:
        """`streams` gives the connections of what sessions say beside their calls; None: they are not heard."""
        self._wire = wire
        self._beside = streams
        self._event_bytes = limits.event_bytes
        self._asides: dict[tuple[Key, bytes], SessionAside | None] = {}
        """By session; None of those that say nothing beside their calls."""
        self._clock = clock
        self._sessions = Sessions(
            self._initialize,
            self._let_go,
            self._lost,
            most=limits.sessions,
            idle_s=limits.session_idle_s,
            clock=clock,
        )
        self.subscribed = Subscribed(wire, self._sessions, self.ask)
        # What waits keeps its connection; most of them stay free for calls.
        self._parking = Parking[Session](most=max(1, connections // PARKED_SHARE), clock=clock)
        self.goodbyes = Goodbyes(self._end, self._parking.holds)

    async def call(self, out: Outgoing, request: Request, capability: Capability, emit: Emit, deadline_s: float) -> Raw:
        """The result of a caller's request, or what the caller is asked first. Raises: see `Wire.result`."""
        able = client_capabilities(request)
        key = (*caller_of(request), encode(able).decode() if able else "")

        def may_ask(method: str) -> bool:
            return ASKED.get(method) in able

        if request.continuation:
            session, answer = await self._told(out, request, key, emit, deadline_s, may_ask)
        else:
            session, answer = await self._asked(out, request, capability, key, emit, deadline_s, may_ask)
        return self._parking.park(key, session, answer) if isinstance(answer, Asked) else answer

    async def _asked(
        self,
        out: Outgoing,
        request: Request,
        capability: Capability,
        key: Key,
        emit: Emit,
        deadline_s: float,
        may_ask: MayAsk,
    ) -> tuple[Session, Raw | Asked]:
        trace = trace_line(request) if request.traceparent else b""
        replay = capability.effect == "read" or request.operation in READ_OPERATIONS

        async def once(session: Session) -> Raw | Asked:
            with self.goodbyes.using(session):
                if key[2]:
                    await self._hear(session)
                with self._awaited(session), session.told.noted(self._wire.number()) as number:
                    await self._introduce(session, number, request, deadline_s)
                    return await self._exchange(session, trace, out, emit, deadline_s, may_ask, replay=replay)

        session = await self._session_for_call(key, deadline_s)
        try:
            return session, await once(session)
        except SessionGone:
            await self._renew(key, session)
        session = await self._session_for_call(key, deadline_s)
        return session, await once(session)

    async def _introduce(self, session: Session, number: int, request: Request, deadline_s: float) -> None:
        """Tell the server what is told once for a session, where this caller's call changes it.

        Raises: SessionGone.
        """
        session.told.met(request)
        if not session.id:
            return  # whoever keeps no session keeps nothing of this
        if session.told.other_roots(request):
            await self._tell(session, ROOTS_CHANGED)
        level = session.told.new_level(number, request)
        if not level:
            return
        out = Outgoing(method="logging/setLevel", members={"level": Raw(encode(level))})
        until_s = min(deadline_s, self._clock.monotonic_s() + LEVEL_S)
        try:
            await self._exchange(session, b"", out, ignore_event, until_s, nothing, replay=True)
        except SessionGone:
            raise
        except GatewayError:
            return  # more lines or fewer, which are sorted out again anyway

    def _awaited(self, session: Session) -> AbstractContextManager[None]:
        """For the time of a call: what the session asks beside it is the call's, even before it has begun."""
        aside = self._asides.get(session.mark)
        return nullcontext() if aside is None else aside.awaited()

    async def _told(
        self, out: Outgoing, request: Request, key: Key, emit: Emit, deadline_s: float, may_ask: MayAsk
    ) -> tuple[Session, Raw | Asked]:
        """Bring the caller's answer to the call that waits for it, and hear what comes of it."""
        parked = self._parking.take(as_text(out.members.get("requestState")) or "", key)
        reply = reply_from(parked.asked.question, out.members, request)
        if reply is None:
            return parked.session, parked.asked
        session, stream = parked.session, parked.asked.stream
        stream.deadline_s = deadline_s
        with self.goodbyes.using(session):
            async with self._withdrawing(stream.number, session):
                return session, await self._resume(session, stream, reply, emit, may_ask)

    async def ask(
        self, method: str, params: JsonObject, deadline_s: float, able: "JsonObject | None" = None
    ) -> JsonObject:
        """The result of a request in the gateway's own name, as a client that can be asked for `able`: it is not.

        Raises: see `Wire.result`.
        """
        out = Outgoing(method=method, members={name: Raw(encode(value)) for name, value in params.items()})
        key: Key = ("", "", encode(able).decode()) if able else GATEWAY
        session = await self._sessions.get(key, deadline_s)
        try:
            raw = await self._asked_itself(session, out, deadline_s)
        except SessionGone:
            await self._renew(key, session)
            session = await self._sessions.get(key, deadline_s)
            raw = await self._asked_itself(session, out, deadline_s)
        if isinstance(raw, Asked):
            raise UpstreamFailed(f"{self._wire.pool.name} asks the gateway itself")
        return self._wire.answers.members(raw)

    async def _asked_itself(self, session: Session, out: Outgoing, deadline_s: float) -> Raw | Asked:
        with self.goodbyes.using(session):
            return await self._exchange(session, b"", out, ignore_event, deadline_s, nothing, replay=True)

    async def about(self, deadline_s: float) -> JsonObject:
        """What the server said of itself in the gateway's own session, opened now if there is none."""
        return (await self._sessions.get(GATEWAY, deadline_s)).init

    async def aclose(self) -> None:
        """End every session; bounded."""
        self._parking.close()
        with anyio.move_on_after(GOODBYE_S, shield=True):
            async with anyio.create_task_group() as goodbyes:
                for session in (*self._sessions.take_all(), *self.goodbyes.take_all()):
                    if session.id:
                        goodbyes.start_soon(self._end, session)

    async def refuse(self, message: Message, lines: bytes) -> None:
        """Answer a server that asks the gateway itself: it is alive, and it can do nothing else."""
        await self._say(lines, own_answer(message))

    async def _session_for_call(self, key: Key, deadline_s: float) -> Session:
        try:
            return await self._sessions.get(key, deadline_s)
        except UpstreamFailed as error:
            raise unsent(error) from error

    async def _renew(self, key: Key, session: Session) -> None:
        if not session.id:
            raise UpstreamFailed(f"{self._wire.pool.name} answered with HTTP status 404")
        self._sessions.drop(key, session)

    async def _exchange(
        self,
        session: Session,
        trace: bytes,
        out: Outgoing,
        emit: Emit,
        deadline_s: float,
        may_ask: MayAsk,
        *,
        replay: bool,
    ) -> Raw | Asked:
        number, lines = self._wire.number(), session.lines + trace
        message = message_from(number, out)
        aside = None if may_ask is nothing else self._asides.get(session.mark)
        async with self._withdrawing(number, session):
            if aside is None or aside.over:
                response = await self._wire.post(lines, message, deadline_s=deadline_s, replay=replay)
                return await self._answered(session, number, response, emit, may_ask)
            until_s = self._clock.monotonic_s() + _LONGEST_S
            work = self._wire.whole_or_begun(lines, message, until_s, replay=replay)
            call = Unanswered(number, session.lines, work, deadline_s, self._clock)
            return await self._begun(session, call, aside, emit, may_ask)

    async def _begun(
        self, session: Session, call: Unanswered, aside: SessionAside | None, emit: Emit, may_ask: MayAsk
    ) -> Raw | Asked:
        found = await self._wire.until_begun(call, aside, emit, may_ask)
        if not isinstance(found, Response):
            return found
        self._wire.pool.watch(found.deadline_s)
        return await self._answered(session, call.number, found, emit, may_ask)

    async def _answered(
        self, session: Session, number: int, response: Response, emit: Emit, may_ask: MayAsk
    ) -> Raw | Asked:
        if response.status == 400 and session.id:
            raise await self._wire.unread(number, response)
        take_up, aside = self._take_up(session), None if may_ask is nothing else self._asides.get(session.mark)
        return await self._wire.answer(number, session.lines, response, emit, may_ask, take_up, aside)

    async def _hear(self, session: Session) -> None:
        """Listen to what the session says beside its calls, if it says anything and is not listened to."""
        before = self._asides.get(session.mark)
        mute = session.mark in self._asides and before is None
        if self._beside is None or not session.id or mute or (before is not None and not before.over):
            return
        self._asides[session.mark] = None
        with anyio.move_on_after(HEAR_S) as hearing:
            try:
                response = await self._beside.send(b"GET", self._wire.target, session.lines, b"", deadline_s=_FOR_EVER)
            except GatewayError:
                return
            except anyio.get_cancelled_exc_class():
                if not hearing.cancel_called:  # the call's own end, which says nothing of the session
                    self._asides.pop(session.mark, None)
                raise
            if session.mark not in self._asides:
                response.close()  # it was forgotten meanwhile
                return
            if response.status != 200 or not response.header(b"content-type").lower().startswith(EVENTS):
                response.close()
                return
            wire = self._wire
            self._asides[session.mark] = SessionAside(
                response, wire.answers, self._event_bytes, wire.on_changed, session.told.say, before
            )

    def _take_up(self, session: Session) -> TakeUp:
        """MCP 2025-11-25, transports, "resumability": a GET that names the last event reads that stream on."""

        async def take_up(last_id: bytes, deadline_s: float) -> Response:
            lines = session.lines + header_lines([(b"last-event-id", last_id)])
            return await self._wire.pool.send(b"GET", self._wire.target, lines, b"", deadline_s=deadline_s, replay=True)

        return take_up

    async def _resume(self, session: Session, stream: Held, reply: bytes, emit: Emit, may_ask: MayAsk) -> Raw | Asked:
        """Bring the answer to what the server asked, and read on."""
        if not isinstance(stream, Stream | Unanswered):
            raise TypeError("a call is resumed by the transport that asked")
        self._wire.pool.watch(stream.deadline_s)
        try:
            await self._hear(session)
            response = await self._wire.post(session.lines, reply, deadline_s=stream.deadline_s)
        except BaseException:
            stream.close()  # nobody reads on
            raise
        response.leave(self._clock.monotonic_s() + TELL_S)
        if isinstance(stream, Stream):
            return await self._wire.read_on(stream, emit, may_ask)
        # Where it says nothing beside its calls any more, the answer still comes on the call's own connection.
        return await self._begun(session, stream, self._asides.get(session.mark), emit, may_ask)

    @asynccontextmanager
    async def _withdrawing(self, number: int, session: Session) -> AsyncGenerator[None]:
        """Until 2025-11-25 a closed connection means nothing: the server has to be told who gave up."""
        try:
            yield
        except (anyio.get_cancelled_exc_class(), DeadlineExceeded, Denied):
            params: JsonObject = {"requestId": number, "reason": "no longer wanted"}
            await self._tell(session, {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
            raise

    async def _initialize(self, key: Key, deadline_s: float) -> Session:
        """See `Sessions`."""
        number = self._wire.number()
        lines = self._wire.lines
        message = message_from(number, hello(key))
        response = await self._wire.post(lines, message, deadline_s=deadline_s, replay=True)
        init, version = self._agreed(await self._wire.result(number, lines, response, ignore_event))
        session_id = response.header(b"mcp-session-id")
        named = [(b"mcp-protocol-version", version.encode())]
        if session_id:
            named.append((b"mcp-session-id", session_id))
        told = Told(able_of(key), json_object(init.get("capabilities")))
        session = Session(id=session_id, lines=lines + header_lines(named), init=init, told=told, whose=key)
        await self._tell(session, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        return session

    def _agreed(self, raw: Raw) -> tuple[JsonObject, str]:
        """What the server said when it was greeted, and the version it speaks. Raises: UpstreamFailed: no known one."""
        init = self._wire.answers.members(raw)
        version = json_text(init.get("protocolVersion"))
        if version not in HANDSHAKE:
            raise UpstreamFailed(f"{self._wire.pool.name} speaks no protocol version the gateway knows")
        return init, version

    async def _tell(self, session: Session, said: JsonObject) -> None:
        """See `_say`."""
        await self._say(session.lines, said)

    async def _say(self, lines: bytes, said: JsonObject) -> None:
        """Send what has no answer, without insisting; a caller's cancellation does not stop it."""
        with anyio.move_on_after(TELL_S, shield=True):
            until_s = self._clock.monotonic_s() + TELL_S
            try:
                response = await self._wire.post(lines, encode(said), deadline_s=until_s)
            except GatewayError:
                return
            response.leave(until_s)

    def _let_go(self, session: Session) -> None:
        """A session was forgotten: its server is told, once no call needs it."""
        self.goodbyes.add(session)
        if not self.goodbyes.needed(session):
            self._lost(session)

    def _lost(self, session: Session) -> None:
        """The server has forgotten a session."""
        aside = self._asides.pop(session.mark, None)
        if aside is not None:
            aside.close()

    async def _end(self, session: Session) -> None:
        self._lost(session)
        deadline_s = self._clock.monotonic_s() + GOODBYE_S
        try:
            response = await self._wire.pool.send(
                b"DELETE", self._wire.target, session.lines, b"", deadline_s=deadline_s
            )
        except GatewayError:
            return
        response.close()


def able_of(key: Key) -> JsonObject:
    """What is declared to a server of whoever a session is for."""
    return json_object(decode_value(key[2].encode())) if key[2] else {}


def hello(key: Key) -> Outgoing:
    """The `initialize` of whoever a session is to be for."""
    params: JsonObject = {"protocolVersion": LATEST_HANDSHAKE, "capabilities": able_of(key), "clientInfo": CLIENT_INFO}
    return Outgoing(method="initialize", members={name: Raw(encode(value)) for name, value in params.items()})
