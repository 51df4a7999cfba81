"""How deep agents may call each other: an agent at work on a call has what is left of that call's depth, and no more.

A call by a pattern's step says its depth itself. One that an agent makes by the way, under a step's token or its own
key, says nothing; so the calls it is at work on are looked at. With a token it is its step's that counts. Otherwise
nobody can say for which of them it calls, and the least depth counts, as the labels of all of them do: what would be
refused too much is refused only while somebody is deep in a chain. Chains end because every link is under way at once.

Kept in memory; a call that was accepted and goes on by itself is not seen here. Where several processes share a
database an agent may be called through one and call through another: there the calls are in the database as well, and
it is asked whenever an agent calls.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import anyio
import structlog
from msgspec import structs

from gateway.core.errors import Exhausted, GatewayError
from gateway.core.limits import Budget
from gateway.core.model import Request
from gateway.core.ports.storage import AgentCalls, AtWork
from gateway.core.ports.world import Clock

log = structlog.get_logger(__name__)

_AGENT = "agent:"
_NESTS = (_AGENT, "workflow:")
_SAY_GOODBYE_S = 2.0


class Hops:
    """The calls that agents are at work on. Belongs to the event loop."""

    __slots__ = ("_at_work",)

    def __init__(self) -> None:
        self._at_work: dict[str, list[Request]] = {}
        """By the agent's capability name."""

    def began(self, request: Request) -> None:
        """An agent is at work on this call from now on."""
        self._at_work.setdefault(request.capability, []).append(request)

    def ended(self, request: Request) -> None:
        """It is no longer."""
        left = [each for each in self._at_work[request.capability] if each is not request]
        if left:
            self._at_work[request.capability] = left
        else:
            del self._at_work[request.capability]

    def bounded(self, request: Request) -> Request:
        """The call with no more depth than its caller has left. Raises: Exhausted: the caller has none left."""
        if not _nests(request):
            return request
        return _with_depth(request, (_at_work(each) for each in self._at_work.get(request.principal.subject, ())))


class SharedHops:
    """The calls that agents are at work on in any process on a database."""

    __slots__ = ("_calls", "_clock")

    def __init__(self, calls: AgentCalls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock

    @asynccontextmanager
    async def under_way(self, request: Request) -> AsyncGenerator[None]:
        """While an agent is at work on this call. Raises: Unavailable: the others cannot be told."""
        if request.principal.kind == "workflow" and request.step_id:
            # Its step is open, for all to see.
            yield
            return
        call = _at_work(request)
        number = await self._calls.began(call, request.budget.seconds_left(self._clock.monotonic_s()))
        try:
            yield
        finally:
            with anyio.move_on_after(_SAY_GOODBYE_S, shield=True):
                try:
                    await self._calls.ended(call, number)
                except GatewayError as error:
                    log.info("the others learn only in time that an agent has ended", reason=error.message)

    async def bounded(self, request: Request) -> Request:
        """See `Hops.bounded`. Raises: Exhausted; Unavailable."""
        if not _nests(request):
            return request
        return _with_depth(request, await self._calls.at_work(request.principal.subject))


def _nests(request: Request) -> bool:
    return request.principal.kind == "agent" and request.operation == "call" and request.capability.startswith(_NESTS)


def _at_work(request: Request) -> AtWork:
    return AtWork(agent=request.capability, step_id=request.step_id, depth=request.budget.depth)


def _with_depth(request: Request, at_work: Iterable[AtWork]) -> Request:
    """The call of an agent that is at work on these; as it is where it is at work on nothing."""
    every = list(at_work)
    own = [each for each in every if request.step_id and each.step_id == request.step_id]
    depth = min((each.depth for each in own or every), default=None)
    if depth is None:
        return request
    if depth <= 0:
        raise Exhausted(
            f"{request.principal.subject} may not hand on any further: {request.capability} would be one level too "
            "deep",
            detail={"limit": "depth"},
        )
    budget: Budget = structs.replace(request.budget, depth=min(request.budget.depth, depth - 1))
    return structs.replace(request, budget=budget)
