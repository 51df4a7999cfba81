"""Compares what servers say of their tools with what was trusted, and holds back what differs until somebody agrees.

A listing passes through `inspect` before it is put on the shelf, so that nothing can be called that was not looked at.
What one gateway lists is compared with what is trusted, never with what another gateway saw: a server that tells
different gateways different things has each of them hold back what differs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import structlog

from gateway.core.catalog import EVERY_TENANT
from gateway.core.errors import Denied
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.model import DEFAULT_TENANT, Capability
from gateway.core.ports.pinning import Pin, PinningMode, Pins
from gateway.core.ports.upstream import Listing
from gateway.core.ports.world import Clock
from policies.pinning.changes import Change, changes
from policies.pinning.digests import INSTRUCTIONS, Sighting, instructions_name, sightings
from policies.pinning.hidden_text import cleaned
from policies.pinning.policy import Held, PinningPolicy
from policies.pinning.suspicion import Flag, flags_in

log = structlog.get_logger(__name__)

MOST_PINS = 20_000
"""Pins of one server; a server that gives ever new names finds the further ones held back."""

LONGEST_NAME_BYTES = 1000

PinState = Literal["approved", "changed", "new"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """How one server's definitions are looked at."""

    tenant: str
    mode: PinningMode


@dataclass(frozen=True, slots=True, kw_only=True)
class PinView:
    """One pin, for people."""

    pin: Pin
    state: PinState
    offered: bool
    """Whether the server lists it now."""
    changes: tuple[Change, ...]
    """From what is trusted to what was seen."""
    flags: tuple[Flag, ...]
    """What is odd about what was seen."""


class Pinning:
    """The pins as of now. Belongs to the event loop."""

    def __init__(
        self,
        pins: Pins,
        clock: Clock,
        *,
        on_change: Callable[[], None],
        relist: Callable[[str], None],
        note: Callable[[str, str, JsonObject], None],
        most: int = MOST_PINS,
    ) -> None:
        """`on_change` is told when something else is held back than before, `relist` whose listing has to be read
        again, `note` (tenant, operation, detail) what the audit log should know."""
        self._store = pins
        self._clock = clock
        self._on_change = on_change
        self._relist = relist
        self._note = note
        self._most = most
        self._servers: Mapping[str, Watched] = {}
        self._pins: dict[tuple[str, str], Pin] = {}
        """By tenant and name."""
        self._seen: dict[str, dict[str, Sighting]] = {}
        """By owner: what each server lists here."""
        self._held: dict[str, Held] = {}
        self._flags: dict[str, tuple[Flag, ...]] = {}
        """By digest of what was seen: looking for them takes long, and everybody who asks gets the same."""

    def configure(self, servers: Mapping[str, Watched]) -> None:
        """Which servers are looked at from now on, and how."""
        self._servers = dict(servers)
        for owner in [owner for owner in self._seen if self._mode(owner) == "off"]:
            del self._seen[owner]
        self._judge()

    def policy(self) -> PinningPolicy:
        """What judges calls by the pins as of now."""
        return PinningPolicy(dict(self._held))

    def held(self, tenant: str, name: str) -> Held | None:
        """Why something waits for approval; None where it does not, or is another tenant's."""
        held = self._held.get(name)
        return held if held is not None and held.tenant in (tenant, EVERY_TENANT) else None

    async def load(self) -> None:
        """Read what is stored, which another gateway may have changed.  Raises: Unavailable."""
        self._pins = {(pin.tenant, pin.name): pin for pin in await self._store.all()}
        self._tell(self._judge())

    async def inspect(self, owner: str, listing: Listing) -> Listing:
        """A listing as it may be shown: compared, nothing hidden in its texts, instructions only as trusted.

        Raises: Unavailable: what was trusted cannot be read or written; then nothing new is shown.
        """
        watched = self._servers.get(owner)
        if watched is None:
            return listing
        if watched.mode != "off":
            seen = sightings(owner, listing, self._seen.get(owner))
            await self._record(owner, watched, seen)
            self._seen[owner] = seen
            different = self._judge()
            for name in sorted(different):
                self._note_held(watched.tenant, name)
            if different:
                self._on_change()
        cleaned = tuple(_cleaned(each) for each in listing.capabilities)
        return replace(listing, capabilities=cleaned, about=self._about(owner, listing.about))

    def views(self, tenant: str, *, name: str = "") -> tuple[PinView, ...]:
        """The tenant's pins, by name; only that of `name` where one is given."""
        return tuple(
            self._view(pin)
            for pin in sorted(self._pins.values(), key=lambda pin: pin.name)
            if pin.tenant in (tenant, EVERY_TENANT) and (not name or pin.name == name)
        )

    async def approve(self, tenant: str, name: str, digest: str, *, by: str) -> PinView:
        """Trust what was last seen under a name, if it has `digest`.

        Raises: NotFound; Conflict: the server says something else by now; Denied: it is everybody's; Unavailable.
        """
        known = self._pins.get((tenant, name))
        if known is None and (EVERY_TENANT, name) in self._pins:
            if tenant != DEFAULT_TENANT:
                raise Denied("this server is every tenant's: the default tenant's operators approve its tools")
            tenant = EVERY_TENANT
        pin = await self._store.approve(tenant, name, digest, at_us=self._clock.now_us(), by=by)
        self._pins[pin.tenant, pin.name] = pin
        self._tell(self._judge())
        return self._view(pin)

    def _mode(self, owner: str) -> PinningMode:
        watched = self._servers.get(owner)
        return "off" if watched is None else watched.mode

    async def _record(self, owner: str, watched: Watched, seen: Mapping[str, Sighting]) -> None:
        """Store what is new or says something else than it did."""
        now_us = self._clock.now_us()
        room = self._most - sum(pin.owner == owner for pin in self._pins.values())
        wanted: list[Pin] = []
        for each in seen.values():
            pin = self._pins.get((watched.tenant, each.name))
            if pin is not None and pin.seen_digest == each.digest:
                continue
            if pin is None:
                room -= 1
                if room < 0 or len(each.name.encode()) > LONGEST_NAME_BYTES:
                    continue
            wanted.append(_first(owner, watched, each, now_us))
        if wanted:
            for pin in await self._store.see(wanted):
                self._pins[pin.tenant, pin.name] = pin

    def _judge(self) -> frozenset[str]:
        """Work out what waits; the names that wait and did not before, or no longer do."""
        before = self._held
        self._held = {}
        for owner, seen in self._seen.items():
            tenant = self._servers[owner].tenant
            for each in seen.values():
                held = _held(tenant, self._pins.get((tenant, each.name)), each)
                if held is not None:
                    self._held[each.name] = held
        return frozenset(name for name in {*before, *self._held} if before.get(name) != self._held.get(name))

    def _tell(self, names: frozenset[str]) -> None:
        if not names:
            return
        for owner in self._seen:
            if instructions_name(owner) in names:
                self._relist(owner)
        self._on_change()

    def _note_held(self, tenant: str, name: str) -> None:
        held = self._held.get(name)
        if held is not None:
            log.warning("held back until it is approved", name=name, reason=held.reason)
            self._note(tenant, "tools.hold", {"name": name, "rule": held.rule, "reason": held.reason})

    def _about(self, owner: str, about: Mapping[str, Json]) -> JsonObject:
        said = cleaned({INSTRUCTIONS: json_text(about.get(INSTRUCTIONS))})
        name = instructions_name(owner)
        if name in self._held:
            trusted = self._pins.get((self._servers[owner].tenant, name))
            said = {INSTRUCTIONS: ""} if trusted is None else cleaned({INSTRUCTIONS: "", **trusted.definition})
        return {**about, **said} if said[INSTRUCTIONS] or INSTRUCTIONS in about else dict(about)

    def _flags_of(self, pin: Pin) -> tuple[Flag, ...]:
        known = self._flags.get(pin.seen_digest)
        if known is None:
            if len(self._flags) > 2 * len(self._pins):
                self._flags.clear()
            known = self._flags[pin.seen_digest] = flags_in(pin.seen)
        return known

    def _view(self, pin: Pin) -> PinView:
        state: PinState = "approved"
        if pin.digest != pin.seen_digest:
            state = "changed" if pin.digest else "new"
        return PinView(
            pin=pin,
            state=state,
            offered=pin.name in self._seen.get(pin.owner, {}),
            changes=changes(pin.definition, pin.seen) if state == "changed" else (),
            flags=self._flags_of(pin),
        )


def _first(owner: str, watched: Watched, seen: Sighting, now_us: int) -> Pin:
    """The pin of what nobody has seen before."""
    pin = Pin(
        tenant=watched.tenant,
        owner=owner,
        name=seen.name,
        seen_digest=seen.digest,
        seen=seen.definition,
        seen_at_us=now_us,
    )
    if watched.mode == "approve":
        return pin
    return replace(pin, digest=seen.digest, definition=seen.definition, approved_at_us=now_us)


def _held(tenant: str, pin: Pin | None, seen: Sighting) -> Held | None:
    if pin is None:
        reason = "it cannot be pinned: its name is too long, or its server has given too many names"
        return Held(tenant=tenant, rule="new", reason=reason)
    if pin.digest == seen.digest:
        return None
    look = f"`drawbridge tools diff {pin.name}` shows it, `drawbridge tools approve {pin.name}` lets it be used"
    if not pin.digest:
        return Held(tenant=tenant, rule="new", reason=f"it is new and waits for approval: {look}")
    where = _members(changes(pin.definition, seen.definition))
    return Held(tenant=tenant, rule="changed", reason=f"its definition changed since it was trusted ({where}): {look}")


def _members(found: Sequence[Change]) -> str:
    """The top members that differ."""
    return ", ".join(dict.fromkeys(change.at.partition(".")[0].partition("[")[0] for change in found)) or "its order"


def _cleaned(capability: Capability) -> Capability:
    definition = cleaned(capability.definition)
    if definition == capability.definition:
        return capability
    schemas = {
        name: json_object(definition.get(member)) or given
        for name, member, given in (
            ("input_schema", "inputSchema", capability.input_schema),
            ("output_schema", "outputSchema", capability.output_schema),
        )
    }
    return replace(
        capability,
        definition=definition,
        title=json_text(definition.get("title")),
        description=json_text(definition.get("description")),
        input_schema=schemas["input_schema"],
        output_schema=schemas["output_schema"],
    )
