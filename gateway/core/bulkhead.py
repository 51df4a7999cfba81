"""Keeps one slow target from taking the others with it, and one tenant from taking a target from the others.

Knows targets and tenants by name only.
"""

from collections import deque
from dataclasses import dataclass

import anyio

from gateway.core.errors import DeadlineExceeded, Exhausted
from gateway.core.ports.world import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many calls fit in."""

    concurrency: int
    """In flight."""
    queue: int
    """Waiting."""
    tenant_concurrency: int
    """Of one tenant, in flight."""
    tenant_queue: int
    """Of one tenant, waiting."""


def room(
    concurrency: int, queue: int, *, shared: bool = False, tenant_concurrency: int = 0, tenant_queue: int = 0
) -> Room:
    """Room for one tenant, or a `shared` one: there no tenant gets the last place, as far as there are several."""
    if not shared:
        return Room(concurrency=concurrency, queue=queue, tenant_concurrency=concurrency, tenant_queue=queue)
    return Room(
        concurrency=concurrency,
        queue=queue,
        tenant_concurrency=min(tenant_concurrency, max(1, concurrency - 1)),
        tenant_queue=min(tenant_queue, max(0, queue - 1)),
    )


class Bulkhead:
    """First come, first served within a tenant; tenants that wait take turns.

    Entering without contention neither awaits nor allocates. A place that becomes free is handed to the next in line
    before anybody new can take it.
    """

    __slots__ = ("_clock", "_held", "_in_flight", "_name", "_waiting", "_waiting_count", "room")

    def __init__(self, name: str, room: Room, *, clock: Clock) -> None:
        self.room = room
        self._name = name
        self._clock = clock
        self._in_flight = 0
        self._held: dict[str, int] = {}
        """Places by tenant; tenants are few, and stay."""
        self._waiting: dict[str, deque[anyio.Event]] = {}
        """Lines that are not empty, in the order in which their tenants are served next."""
        self._waiting_count = 0

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def waiting(self) -> int:
        return self._waiting_count

    def resize(self, room: Room) -> None:
        """Let more in, or fewer from now on; those inside stay."""
        self.room = room
        self._hand_on()

    def try_enter(self, tenant: str) -> bool:
        """Take a place if one is free."""
        held = self._held.get(tenant, 0)
        room = self.room
        if self._in_flight >= room.concurrency or held >= room.tenant_concurrency:
            return False
        self._in_flight += 1
        self._held[tenant] = held + 1
        return True

    async def enter(self, tenant: str, deadline_s: float) -> None:
        """Wait for a place until `deadline_s` (monotonic).

        Raises: Exhausted: the queue is full too; DeadlineExceeded: no place came free in time.
        """
        if self.try_enter(tenant):
            return
        line = self._waiting.get(tenant)
        if self._waiting_count >= self.room.queue or (line is not None and len(line) >= self.room.tenant_queue):
            raise self._full()
        turn = anyio.Event()
        self._waiting.setdefault(tenant, deque()).append(turn)
        self._waiting_count += 1
        try:
            with anyio.fail_after(max(0.0, deadline_s - self._clock.monotonic_s())):
                await turn.wait()
        except TimeoutError as error:
            self._give_up(tenant, turn)
            # No failure of the target: the call was never made.
            raise DeadlineExceeded(
                f"{self._name} was busy until the deadline", detail={"upstream": self._name, "sent": False}
            ) from error
        except BaseException:
            self._give_up(tenant, turn)
            raise

    def leave(self, tenant: str) -> None:
        """Give the place to the next in line, or back."""
        self._in_flight -= 1
        self._held[tenant] -= 1
        if self._waiting:
            self._hand_on()

    def _full(self) -> Exhausted:
        return Exhausted(
            f"{self._name} is busy: {self._in_flight} calls under way and {self._waiting_count} waiting",
            detail={"limit": "upstream_queue", "upstream": self._name},
            retry_after_s=1.0,
        )

    def _hand_on(self) -> None:
        """Give free places to those who wait, one tenant after another."""
        most = self.room.tenant_concurrency
        while self._in_flight < self.room.concurrency:
            tenant = next((each for each in self._waiting if self._held.get(each, 0) < most), None)
            if tenant is None:
                return
            line = self._waiting.pop(tenant)
            turn = line.popleft()
            if line:
                self._waiting[tenant] = line  # behind the other tenants
            self._waiting_count -= 1
            self._in_flight += 1
            self._held[tenant] = self._held.get(tenant, 0) + 1
            turn.set()

    def _give_up(self, tenant: str, turn: anyio.Event) -> None:
        """Leave the line; a place that was handed over in the same moment goes on to the next."""
        if turn.is_set():
            self.leave(tenant)
            return
        line = self._waiting[tenant]
        line.remove(turn)
        self._waiting_count -= 1
        if not line:
            del self._waiting[tenant]
