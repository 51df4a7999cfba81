"""What a client says that the door has no word for: a server's own methods, at its own endpoint, and nothing else.

A method nobody declares, or where several servers meet, is answered that it is not found; at most with where it would
be. Notifications go nowhere: they have no answer that could be judged, and the record says that they were dropped.
"""

from adapters.mcp.calls import Calls
from adapters.mcp.exchange import Exchange
from adapters.mcp.extensions import KIND, is_method, told_where
from adapters.mcp.knock import Knock
from adapters.mcp.refusals import METHOD_NOT_FOUND, RpcRefusal
from adapters.mcp.views import View, Views
from gateway.core.ports.gateway import Gateway
from gateway.core.ports.world import Clock, Ids
from gateway.core.record import Record

NOTIFIES = "notifications/"
KNOWN = frozenset(
    f"{NOTIFIES}{each}" for each in ("initialized", "cancelled", "progress", "roots/list_changed", "message")
)
"""Notifications of clients that mean something to the gateway, or to nobody."""


class Beyond:
    """Sends on what it may, and says where it may not."""

    def __init__(
        self, *, gateway: Gateway, calls: Calls, views: Views, clock: Clock, ids: Ids, patience_s: float
    ) -> None:
        """`patience_s`: how long a server that has not answered yet is waited for."""
        self._gateway = gateway
        self._calls = calls
        self._views = views
        self._clock = clock
        self._ids = ids
        self._patience_s = patience_s

    async def request(self, knock: Knock, exchange: Exchange) -> None:
        """Have a server's own method answered. Raises: RpcRefusal: there is none, or no answer."""
        method, principal = knock.message.method, knock.identity.principal
        if not is_method(method):
            raise _unknown(method)
        await self._gateway.settled(self._patience_s)
        view = self._views.of(principal, knock.scope)
        if not view.alone:
            raise _unknown(method, told_where(method, self._having(knock, view)))
        if not self._has(knock, knock.scope) and knock.scope not in self._gateway.gaps_for(principal):
            raise _unknown(method)
        if knock.session is not None:
            exchange.shelf = knock.session.shelf
        await self._calls.run(knock, view, exchange)

    def notification(self, knock: Knock) -> None:
        """Note that a notification was dropped that a server's extension may have had a use for."""
        method, identity = knock.message.method, knock.identity
        told = method.removeprefix(NOTIFIES)
        if method in KNOWN or told == method or not is_method(f"{told}/x"):
            return
        view = self._views.of(identity.principal, knock.scope)
        if not view.alone or self._gateway.find(identity.principal, f"{KIND}:{knock.scope}/{told}") is None:
            return
        self._gateway.note(
            Record(
                id=self._ids.new("rec"),
                phase="event",
                at_us=self._clock.now_us(),
                principal=identity.principal,
                tenant=identity.principal.tenant,
                operation="notify",
                capability=f"{KIND}:{knock.scope}/{method}",
                protocol="mcp",
                outcome="denied",
                reason="notifications of clients are not sent on to servers",
                run_id=identity.run_id,
                step_id=identity.step_id,
            )
        )

    def _has(self, knock: Knock, owner: str) -> bool:
        return self._gateway.find(knock.identity.principal, f"{KIND}:{owner}/{knock.message.method}") is not None

    def _having(self, knock: Knock, view: View) -> list[str]:
        """Servers the caller sees something of here, and that have the method."""
        owners = {
            entry.capability.owner
            for kind in ("tools", "prompts", "resources", "resourceTemplates")
            for entry in view.entries(kind).values()
        }
        return [owner for owner in owners if self._has(knock, owner)]


def _unknown(method: str, said: str = "Method not found") -> RpcRefusal:
    return RpcRefusal(METHOD_NOT_FOUND, said, data=method)
