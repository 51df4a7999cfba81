"""Answers that are errors, and records of those calls that never reached the path, which would have made one."""

from adapters.a2a import asgi
from adapters.a2a.asgi import Send
from adapters.a2a.wire.envelope import NO_ID, error_bytes
from gateway.core.errors import GatewayError, Unauthenticated
from gateway.core.json import json_list, json_text
from gateway.core.ports.gateway import Gateway, Identity
from gateway.core.ports.world import Clock, Ids
from gateway.core.record import Record


class Refusals:
    """Answers for calls that never reached the path, which would have recorded them."""

    def __init__(self, gateway: Gateway, *, clock: Clock, ids: Ids) -> None:
        self._gateway = gateway
        self._clock = clock
        self._ids = ids

    async def refuse(
        self,
        send: Send,
        error: GatewayError,
        *,
        operation: str,
        call_id: bytes = NO_ID,
        status: int = 200,
        identity: Identity | None = None,
        capability: str = "",
        challenge: bytes = b"Bearer",
    ) -> None:
        """Record it and say so; `challenge` is for whoever is not known."""
        who = None if identity is None else identity.principal
        record = Record(
            id=self._ids.new("rec"),
            phase="event",
            at_us=self._clock.now_us(),
            principal=who,
            tenant="" if who is None else who.tenant,
            operation=operation,
            capability=capability,
            protocol="a2a",
            outcome="denied" if isinstance(error, Unauthenticated) else "error",
            code=error.wire.code,
            reason=error.message,
        )
        try:
            self._gateway.note(record)
        except GatewayError as unrecorded:
            error = unrecorded
        else:
            error.detail.setdefault("record", record.id)
        await say(send, error, call_id=call_id, status=status, challenge=challenge)


async def say(
    send: Send, error: GatewayError, *, call_id: bytes, status: int = 200, challenge: bytes = b"Bearer"
) -> None:
    """An error as a plain answer. JSON-RPC errors travel with HTTP 200 unless HTTP itself has a word for them."""
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", challenge))
    scopes = " ".join(json_text(each) for each in json_list(error.detail.get("scopes")))
    if scopes:
        status = 403
        headers.append((b"www-authenticate", f'Bearer error="insufficient_scope", scope="{scopes}"'.encode()))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
    await asgi.answer(send, status, error_bytes(call_id, error), headers)
