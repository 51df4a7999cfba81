"""Pins in memory."""

from collections.abc import Sequence
from dataclasses import replace

from gateway.core.errors import Conflict, NotFound
from gateway.core.ports.pinning import Pin


class MemoryPins:
    """See `Pins`."""

    def __init__(self) -> None:
        self.pins: dict[tuple[str, str], Pin] = {}

    async def all(self) -> tuple[Pin, ...]:
        return tuple(sorted(self.pins.values(), key=lambda pin: (pin.tenant, pin.owner, pin.name)))

    async def see(self, pins: Sequence[Pin]) -> tuple[Pin, ...]:
        return tuple(self._see(pin) for pin in pins)

    async def approve(self, tenant: str, name: str, digest: str, *, at_us: int, by: str) -> Pin:
        pin = self.pins.get((tenant, name))
        if pin is None:
            raise NotFound(f"nothing called {name} was ever seen")
        if pin.seen_digest != digest:
            raise Conflict(f"{name} has changed since you looked at it: look again")
        trusted = replace(pin, digest=digest, definition=pin.seen, approved_at_us=at_us, approved_by=by)
        self.pins[tenant, name] = trusted
        return trusted

    def _see(self, pin: Pin) -> Pin:
        known = self.pins.get((pin.tenant, pin.name))
        if known is None:
            known = pin
        elif known.seen_digest != pin.seen_digest:
            known = replace(known, seen_digest=pin.seen_digest, seen=pin.seen, seen_at_us=pin.seen_at_us)
        self.pins[pin.tenant, pin.name] = known
        return known
