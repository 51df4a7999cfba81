"""Waits for upstreams that have not answered since the gateway's start, on behalf of calls that nobody makes again: the
steps of a run that goes on, and what those who work on them call."""

from collections.abc import Awaitable, Callable

import anyio

from gateway.core.model import Request
from gateway.core.plans import Plan, Snapshot
from gateway.core.ports.world import Clock

FIRST_ANSWER_S = 30.0
"""Longest such a call waits, seconds; a program that is started with the gateway may be slow to come up."""


async def first_plan(
    request: Request, snapshot: Callable[[], Snapshot], swapped: Callable[[], Awaitable[None]], clock: Clock
) -> Plan | None:
    """The plan of a call whose owner may not have answered yet, once it has; None where it failed or took too long, or
    where nothing is called that. `swapped` returns with the next snapshot."""
    agent, owner = request.principal.agent_class, request.capability.partition(":")[2].partition("/")[0]
    with anyio.move_on_after(max(0.0, min(request.budget.deadline_s - clock.monotonic_s(), FIRST_ANSWER_S))):
        while snapshot().starts(agent, owner):
            await swapped()
    return snapshot().plan(agent, request.capability)
