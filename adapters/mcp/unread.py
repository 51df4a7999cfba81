"""Clients that leave what they are sent unread: each is counted and logged, and told on its way out."""

import structlog

from adapters.mcp.tapes import RETRY_MS
from gateway.core.errors import Exhausted, GatewayError
from gateway.core.model import Principal
from gateway.core.ports.gateway import Gateway
from gateway.core.ports.world import Clock, Ids
from gateway.core.record import Record

log = structlog.get_logger(__name__)

KEPT = b": left unread for too long, this stream ends here; read on by Last-Event-ID\nretry: %d\n\n" % RETRY_MS
"""Last words on a stream that can be taken up again."""
NOT_KEPT = b": left unread for too long, this stream ends here; read the lists again\n\n"


def unread() -> Exhausted:
    """What a client whose stream or call ends for it is told."""
    return Exhausted("the client left what it was sent unread for too long", detail={"limit": "reading"})


class Unread:
    """Notes whom a stream was taken from."""

    def __init__(self, *, gateway: Gateway, clock: Clock, ids: Ids) -> None:
        self._gateway = gateway
        self._clock = clock
        self._ids = ids

    def note(self, principal: Principal, operation: str) -> None:
        """Count one, under the method it had asked for."""
        log.warning("a stream ends because its client does not read", operation=operation, subject=principal.subject)
        error = unread()
        try:
            self._gateway.note(
                Record(
                    id=self._ids.new("rec"),
                    phase="event",
                    at_us=self._clock.now_us(),
                    principal=principal,
                    tenant=principal.tenant,
                    operation=operation,
                    protocol="mcp",
                    outcome="error",
                    code=error.wire.code,
                    reason=error.wire.reason,
                    detail=error.detail,
                )
            )
        except GatewayError:
            log.warning("that could not be recorded")
