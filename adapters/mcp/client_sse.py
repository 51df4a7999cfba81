"""How a server is asked over HTTP+SSE (MCP 2024-11-05): a stream for each session, and posts to where it says.

Sessions, questions and withdrawals are those of every legacy server; only the way messages travel is another.
"""

from collections import deque
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import anyio
from msgspec import Raw

from adapters.mcp.client_channel import Call, Channel, lost
from adapters.mcp.client_exchange import (
    Asked,
    MayAsk,
    NotTaken,
    SessionGone,
    Wire,
    message_from,
    nothing,
)
from adapters.mcp.client_legacy import GOODBYE_S, TELL_S, Legacy, able_of, hello
from adapters.mcp.client_params import Outgoing, swap_token
from adapters.mcp.client_parts import ServerParts
from adapters.mcp.client_sessions import GATEWAY, Key, Session
from adapters.mcp.client_stream import EVENTS, Held
from adapters.mcp.client_told import Told
from adapters.mcp.client_watch import first_of
from adapters.mcp.client_wire import Message, event_from_notification, own_answer
from adapters.mcp.wire import encode
from adapters.net.http1 import Pool, header_lines
from gateway.core.errors import DeadlineExceeded, GatewayError, UpstreamFailed
from gateway.core.json import JsonObject, json_object
from gateway.core.model import Emit, ignore_event

MOST_STREAMS = 256
"""Sessions with one server at once, each a connection; the one used longest ago makes room."""
_ENDPOINT_S = 10.0
"""How long a server may take to say where to post, seconds."""
_SUBSCRIBE_S, _FIRST_PAUSE_S, _AGAIN_S = 10.0, 1.0, 30.0
_MOST_CHORES = 256
_FOR_EVER = float("inf")


class LegacySse(Legacy):
    """See `Legacy`."""

    def __init__(self, wire: Wire, streams: Pool, url: str, parts: ServerParts, *, connections: int) -> None:
        """`streams` gives the connections of the streams, `wire` those of the posts; both lead to `url`."""
        limits = replace(parts.limits, sessions=min(parts.limits.sessions, MOST_STREAMS))
        super().__init__(wire, limits, parts.clock, connections=connections)
        self._streams = streams
        self._url = url
        self._limits = limits
        self._channels: dict[bytes, Channel] = {}
        self._opened = 0
        self._chores: deque[tuple[Channel, JsonObject]] = deque(maxlen=_MOST_CHORES)
        self._chore = anyio.Event()
        self._attended = False

    async def attend(self, *, announced: bool) -> None:
        """Answer what servers ask between the calls, and hear of resources that change, until canceled.

        `announced`: it tells of changes, so that a stream that ended is opened again at once.
        """
        self._attended = True
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._keep_subscribed, announced)
                while True:
                    await self._do_chores()
                    self._chore = anyio.Event()
                    await self._chore.wait()
        finally:
            self._attended = False

    async def _keep_subscribed(self, announced: bool) -> None:
        """Subscribe to what is wanted, and again where the session is another: what changed meanwhile was not heard."""
        updates, session, pause_s = self._wire.updates, None, _FIRST_PAUSE_S
        while True:
            changed, ended = updates.changed, anyio.Event()
            if announced or updates.uris or self.subscribed.any:
                before, (session, ended) = session, await self._subscribed_anew(session)
                if before is not None and session is not before:
                    self._wire.on_changed()
                    updates.publish_all()
            with anyio.move_on_after(_AGAIN_S) as quiet:
                await first_of(ended, changed)
            if quiet.cancelled_caught:
                pause_s = _FIRST_PAUSE_S
            elif ended.is_set():
                await anyio.sleep(pause_s)
                pause_s = min(_AGAIN_S, pause_s * 2)

    async def _subscribed_anew(self, session: Session | None) -> tuple[Session | None, anyio.Event]:
        """The gateway's own session, another than `session` where its stream has ended, and the end of its stream."""
        updates, deadline_s = self._wire.updates, self._clock.monotonic_s() + _SUBSCRIBE_S
        try:
            session = await self._sessions.get(GATEWAY, deadline_s)
            if session.id not in self._channels or self._channels[session.id].over is not None:
                self._sessions.drop(GATEWAY, session)
            await self.subscribed.subscribe(updates.uris, deadline_s)
            session = self.subscribed.session
        except GatewayError:
            pass  # it is tried again in a moment
        channel = None if session is None else self._channels.get(session.id)
        if channel is not None:
            return session, channel.ended_now
        ended = anyio.Event()
        ended.set()
        return session, ended

    async def aclose(self) -> None:
        """See `Legacy.aclose`."""
        await super().aclose()
        for channel in tuple(self._channels.values()):
            channel.close()
        with anyio.move_on_after(GOODBYE_S, shield=True):
            await self._streams.aclose()

    async def _initialize(self, key: Key, deadline_s: float) -> Session:
        """See `Sessions`."""
        lines = self._wire.lines
        channel = await self._open(lines, deadline_s)
        try:
            call = self._call(channel, nothing, deadline_s)
            answer = await self._exchanged(channel, call, message_from(call.number, hello(key)), ignore_event)
            init, version = self._agreed(Raw(b"{}") if isinstance(answer, Asked) else answer)
        except BaseException:
            channel.close()
            raise
        self._opened += 1
        channel.lines = lines + header_lines([(b"mcp-protocol-version", version.encode())])
        told = Told(able_of(key), json_object(init.get("capabilities")))
        channel.say = told.say
        session = Session(id=b"%d" % self._opened, lines=channel.lines, init=init, told=told)
        self._channels[session.id] = channel
        await self._tell(session, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        return session

    async def _open(self, lines: bytes, deadline_s: float) -> Channel:
        """A stream that has named its endpoint."""
        until_s = min(deadline_s, self._clock.monotonic_s() + _ENDPOINT_S)
        target = self._wire.target
        response = await self._streams.send(b"GET", target, lines, b"", deadline_s=until_s, replay=True)
        if response.status != 200:
            raise await self._wire.refused(response)
        if not response.header(b"content-type").lower().startswith(EVENTS):
            response.close()
            raise self._wire.answers.failed("offers no stream of events")
        channel = Channel(
            self._url, self._wire.answers, self._limits, self._wire.on_changed, self._wire.updates, self._refuse
        )
        channel.lines = lines
        channel.follow(response)
        try:
            with anyio.fail_after(max(0.0, until_s - self._clock.monotonic_s())):
                await channel.named.wait()
        except BaseException as error:
            channel.close()
            if isinstance(error, TimeoutError):
                raise self._wire.answers.failed("did not say in time where to post") from error
            raise
        if channel.over is not None:
            raise lost(channel.over)
        response.deadline_s = _FOR_EVER
        return channel

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
        channel = self._channel(session)
        call = self._call(channel, may_ask, deadline_s)
        members = dict(out.members)  # of this attempt only
        call.token = swap_token(members, call.number)
        message = message_from(call.number, replace(out, members=members))
        heard = channel.heard
        try:
            async with self._withdrawing(call.number, session):
                return await self._exchanged(channel, call, message, emit, trace)
        except DeadlineExceeded:
            if channel.heard == heard:
                channel.retire()  # not a word since: perhaps nobody is there any more
                self._channels.pop(session.id, None)
            raise
        except UpstreamFailed as error:
            if replay and channel.over is not None and not isinstance(error, SessionGone):
                raise SessionGone(error.message) from error
            raise

    async def _resume(self, session: Session, stream: Held, reply: bytes, emit: Emit, may_ask: MayAsk) -> Raw | Asked:
        if not isinstance(stream, Call):
            raise TypeError("a call is resumed by the transport that asked")
        return await self._exchanged(self._channel(session), stream, reply, emit)

    async def _exchanged(
        self, channel: Channel, call: Call, message: bytes, emit: Emit, trace: bytes = b""
    ) -> Raw | Asked:
        """Post a message, and hear what comes of the call; that may be there before the post is answered."""
        channel.expect(call)
        asked = False
        try:
            with anyio.fail_after(max(0.0, call.deadline_s - self._clock.monotonic_s())):
                await self._post(channel, channel.lines + trace, message, call.deadline_s)
                answer = await self._heard(call, emit)
                asked = isinstance(answer, Asked)
                return answer
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self._wire.pool.name} did not answer in time") from error
        finally:
            if not asked:
                channel.forget(call)

    async def _post(self, channel: Channel, lines: bytes, message: bytes, deadline_s: float) -> None:
        response = await self._wire.pool.send(b"POST", channel.endpoint, lines, message, deadline_s=deadline_s)
        if not 200 <= response.status < 300:
            error = await self._wire.refused(response)
            raise SessionGone(error.message) if isinstance(error, NotTaken) else error
        response.leave(self._clock.monotonic_s() + TELL_S)

    async def _heard(self, call: Call, emit: Emit) -> Raw | Asked:
        while True:
            while call.waiting:
                message, raw = call.take()
                if message.kind == "request":
                    return Asked(message, call)
                await emit(event_from_notification(message, raw))
            if isinstance(call.answer, GatewayError):
                raise lost(call.answer)
            if call.answer is not None:
                return self._wire.answers.result_of(call.number, call.answer)
            if not self._attended:
                await self._do_chores()
            call.wake = anyio.Event()
            if not call.waiting and call.answer is None:
                await call.wake.wait()

    def _call(self, channel: Channel, may_ask: MayAsk, deadline_s: float) -> Call:
        def give_up(call: Call) -> None:
            channel.forget(call)
            params: JsonObject = {"requestId": call.number, "reason": "no longer wanted"}
            self._later(channel, {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

        number = self._wire.number()
        return Call(number=number, token=None, may_ask=may_ask, deadline_s=deadline_s, give_up=give_up)

    def _awaited(self, session: Session) -> AbstractContextManager[None]:
        """See `Legacy._awaited`."""
        channel = self._channels.get(session.id)
        return nullcontext() if channel is None else channel.awaited()

    def _channel(self, session: Session) -> Channel:
        channel = self._channels.get(session.id)
        if channel is None or channel.over is not None:
            raise SessionGone(self._wire.answers.failed("has ended the session").message)
        return channel

    def _let_go(self, session: Session) -> None:
        channel = self._channels.pop(session.id, None)
        if channel is not None:
            channel.retire()

    async def _tell(self, session: Session, said: JsonObject) -> None:
        channel = self._channels.get(session.id)
        if channel is not None and channel.over is None:
            await self._send_off(channel, said)

    def _lost(self, session: Session) -> None:
        self._let_go(session)

    async def _end(self, session: Session) -> None:
        self._let_go(session)

    async def _send_off(self, channel: Channel, said: JsonObject) -> None:
        with anyio.move_on_after(TELL_S, shield=True):
            try:
                await self._post(channel, channel.lines, encode(said), self._clock.monotonic_s() + TELL_S)
            except GatewayError:
                return

    def _refuse(self, channel: Channel, message: Message) -> None:
        """The server asks the gateway itself: it is alive, and it can do nothing else."""
        self._later(channel, own_answer(message))

    def _later(self, channel: Channel, said: JsonObject) -> None:
        self._chores.append((channel, said))
        self._chore.set()
        if not self._attended:
            channel.stir()

    async def _do_chores(self) -> None:
        while self._chores:
            channel, said = self._chores.popleft()
            if channel.over is None:
                await self._send_off(channel, said)
