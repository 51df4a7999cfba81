"""How a server of the legacy era (until 2025-11-25) is asked over HTTP: in a session that was initialized."""

import anyio
from msgspec import Raw

from adapters.mcp.client_exchange import SessionGone, Wire, message_from, trace_line, unsent
from adapters.mcp.client_params import CLIENT_INFO, Outgoing
from adapters.mcp.client_sessions import GATEWAY, Key, Session, Sessions
from adapters.mcp.client_wire import METHOD_NOT_FOUND, Message
from adapters.mcp.wire import HANDSHAKE, LATEST_HANDSHAKE, decode_value, encode
from adapters.net.http1 import header_lines
from gateway.core.errors import DeadlineExceeded, Denied, GatewayError, UpstreamFailed
from gateway.core.json import JsonObject, json_object, json_text
from gateway.core.limits import Limits
from gateway.core.model import READ_OPERATIONS, Capability, Emit, Request, ignore_event
from gateway.core.ports.world import Clock

_TELL_S = 1.0
"""How long a notification may take that nobody waits for, seconds."""
_GOODBYE_S = 2.0


class Legacy:
    """Requests to one legacy server, each caller's in a session of their own."""

    era = "legacy"

    def __init__(self, wire: Wire, limits: Limits, clock: Clock) -> None:
        self._wire = wire
        self._clock = clock
        self._sessions = Sessions(self._initialize, most=limits.sessions, idle_s=limits.session_idle_s, clock=clock)

    async def call(self, out: Outgoing, request: Request, capability: Capability, emit: Emit, deadline_s: float) -> Raw:
        """The result of a caller's request. Raises: see `Wire.result`."""
        trace = trace_line(request) if request.traceparent else b""
        replay = capability.effect == "read" or request.operation in READ_OPERATIONS
        key = (request.principal.tenant, request.principal.subject)

        async def once(session: Session) -> Raw:
            return await self._exchange(session, trace, out, emit, deadline_s, replay=replay)

        session = await self._session_for_call(key, deadline_s)
        try:
            return await once(session)
        except SessionGone:
            await self._renew(key, session)
        return await once(await self._session_for_call(key, deadline_s))

    async def ask(self, method: str, params: JsonObject, deadline_s: float) -> JsonObject:
        """The result of a request in the gateway's own name. Raises: see `Wire.result`."""
        out = Outgoing(method=method, members={key: Raw(encode(value)) for key, value in params.items()})
        session = await self._sessions.get(GATEWAY, deadline_s)
        try:
            raw = await self._exchange(session, b"", out, ignore_event, deadline_s, replay=True)
        except SessionGone:
            await self._renew(GATEWAY, session)
            session = await self._sessions.get(GATEWAY, deadline_s)
            raw = await self._exchange(session, b"", out, ignore_event, deadline_s, replay=True)
        return json_object(decode_value(bytes(raw)))

    async def about(self, deadline_s: float) -> JsonObject:
        """What the server said of itself in the gateway's own session, opened now if there is none."""
        return (await self._sessions.get(GATEWAY, deadline_s)).init

    async def session_lines(self, deadline_s: float) -> bytes:
        """Headers of a request in the gateway's own session."""
        return (await self._sessions.get(GATEWAY, deadline_s)).lines

    async def aclose(self) -> None:
        """End every session; bounded."""
        with anyio.move_on_after(_GOODBYE_S, shield=True):
            async with anyio.create_task_group() as goodbyes:
                for session in self._sessions.take_all():
                    if session.id:
                        goodbyes.start_soon(self._end, session)

    async def refuse(self, message: Message, lines: bytes) -> None:
        """Answer a server that asks the gateway itself: it is alive, and it can do nothing else."""
        said: JsonObject = {"jsonrpc": "2.0", "id": decode_value(bytes(message.id))}
        if message.method == "ping":
            said["result"] = {}
        else:
            said["error"] = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
        await self._tell(lines, said)

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
        self, session: Session, trace: bytes, out: Outgoing, emit: Emit, deadline_s: float, *, replay: bool
    ) -> Raw:
        number = self._wire.number()
        message = message_from(number, out)
        try:
            response = await self._wire.post(session.lines + trace, message, deadline_s=deadline_s, replay=replay)
            return await self._wire.result(number, session.lines, response, emit)
        except (anyio.get_cancelled_exc_class(), DeadlineExceeded, Denied):
            # Until 2025-11-25 a closed connection means nothing: the server has to be told.
            params: JsonObject = {"requestId": number, "reason": "no longer wanted"}
            await self._tell(session.lines, {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
            raise

    async def _initialize(self, deadline_s: float) -> Session:
        """See `Sessions`."""
        number = self._wire.number()
        params: JsonObject = {"protocolVersion": LATEST_HANDSHAKE, "capabilities": {}, "clientInfo": CLIENT_INFO}
        members = {key: Raw(encode(value)) for key, value in params.items()}
        message = message_from(number, Outgoing(method="initialize", members=members))
        lines = self._wire.lines
        response = await self._wire.post(lines, message, deadline_s=deadline_s, replay=True)
        raw = await self._wire.result(number, lines, response, ignore_event)
        init = json_object(decode_value(bytes(raw)))
        version, session_id = json_text(init.get("protocolVersion")), response.header(b"mcp-session-id")
        if version not in HANDSHAKE:
            raise UpstreamFailed(f"{self._wire.pool.name} speaks no protocol version the gateway knows")
        named = [(b"mcp-protocol-version", version.encode())]
        if session_id:
            named.append((b"mcp-session-id", session_id))
        session = Session(id=session_id, lines=lines + header_lines(named), init=init)
        await self._tell(session.lines, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        return session

    async def _tell(self, lines: bytes, said: JsonObject) -> None:
        """Send what has no answer, without insisting; a caller's cancellation does not stop it."""
        with anyio.move_on_after(_TELL_S, shield=True):
            until_s = self._clock.monotonic_s() + _TELL_S
            try:
                response = await self._wire.post(lines, encode(said), deadline_s=until_s)
            except GatewayError:
                return
            response.leave(until_s)

    async def _end(self, session: Session) -> None:
        deadline_s = self._clock.monotonic_s() + _GOODBYE_S
        try:
            response = await self._wire.pool.send(
                b"DELETE", self._wire.target, session.lines, b"", deadline_s=deadline_s
            )
        except GatewayError:
            return
        response.close()
