"""What the bus in memory owes the loop it runs on."""

import anyio
import pytest

from adapters.events.embedded import EmbeddedBus
from gateway.core.ports.bus import BusLimits, Message

pytestmark = pytest.mark.anyio

ENDS_AT = 500
"""Where nobody else ever gets a turn, the worker itself has to end the test."""


async def test_a_worker_that_fails_at_once_keeps_nobody_from_their_work() -> None:
    bus, tries = EmbeddedBus("memory:", BusLimits()), list[str]()

    async def broken(message: Message) -> None:
        tries.append(message.id)
        if len(tries) == ENDS_AT:
            await anyio.sleep_forever()
        raise ValueError("always")

    async with anyio.create_task_group() as group:
        group.start_soon(bus.work, "t", "g", broken)
        await anyio.wait_all_tasks_blocked()
        await bus.publish(Message(id="m", topic="t", body=None))
        while len(tries) < 3:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert len(tries) < ENDS_AT
