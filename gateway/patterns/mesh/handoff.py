"""What an agent says of where its work goes on: to a peer, to whoever can do something, to the best bidder. Pure.

The member `drawbridge` of an answer may say `{"handoff": {"to": "network", "input": {...}, "why": "..."}}`, with
`capability` in place of `to` where it does not matter who, or `broadcast: true` where the peers are to bid. Without
`input` the same request goes on. An answer without a hand-off is an answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_text
from gateway.core.ports.orchestration import Offer
from gateway.patterns.shared.settings import slug_of

CONTRACT = (
    'hand on with {"drawbridge": {"handoff": {"to": PEER, or "capability": CAPABILITY, or "broadcast": true, '
    '"input": {...}, "why": "..."}}}'
)
LONGEST_WHY = 400
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff:
    """Where a request is to go. Neither `to` nor `capability`: to whoever bids best."""

    to: str = ""
    capability: str = ""
    input: "JsonObject | None" = None
    """None: the request goes on as it is."""
    why: str = ""

    @property
    def wanted(self) -> str:
        """For people: what was asked for."""
        return self.to or (f"somebody for {self.capability}" if self.capability else "whoever bids best")


def handoff_in(said: Mapping[str, Json]) -> Handoff | None:
    """The hand-off in what an agent said; None where it answers itself.

    Raises: InvalidRequest: it wants to hand on, and does not say to whom as the contract has it.
    """
    entry = said.get("handoff")
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise InvalidRequest(f"the hand-off is no object: {CONTRACT}")
    to, capability = json_text(entry.get("to")), json_text(entry.get("capability"))
    given = entry.get("input")
    if sum((bool(to), bool(capability), entry.get("broadcast") is True)) != 1:
        raise InvalidRequest(f"a hand-off names exactly one of to, capability, broadcast: {CONTRACT}")
    if max(len(to), len(capability)) > LONGEST_NAME:
        raise InvalidRequest(f"a peer or capability has at most {LONGEST_NAME} characters")
    if given is not None and not isinstance(given, dict | str):
        raise InvalidRequest(f"the input of a hand-off is an object or a text: {CONTRACT}")
    return Handoff(
        to=to,
        capability=capability.lower(),
        input={"instruction": given} if isinstance(given, str) else given,
        why=json_text(entry.get("why"))[:LONGEST_WHY],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Who may be handed work, and what each can do."""

    can: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """By target, in the order of the settings."""

    def told_to(self, target: str) -> list[Json]:
        """The others, as an agent is told of them."""
        return [{"agent": slug_of(peer), "can": [*sorted(able)]} for peer, able in self.can.items() if peer != target]

    def meant(self, handoff: Handoff) -> list[str]:
        """Everybody a hand-off may mean."""
        if handoff.to:
            return [peer for peer in self.can if slug_of(peer) == handoff.to]
        if handoff.capability:
            return [peer for peer, able in self.can.items() if handoff.capability in able]
        return [*self.can]

    def checked(self, handoff: Handoff | None, asker: str) -> Handoff | None:
        """The hand-off, if it means anybody but the asker itself.

        Raises: InvalidRequest: it does not; the message tells who there is and what they can do.
        """
        if handoff is None or any(peer != asker for peer in self.meant(handoff)):
            return handoff
        others = {slug_of(peer): able for peer, able in self.can.items() if peer != asker}
        if handoff.to:
            raise InvalidRequest(f"there is no peer {handoff.to} to hand on to; there is {', '.join(others)}")
        known = ", ".join(sorted(frozenset[str]().union(*others.values())))
        raise InvalidRequest(f"no peer can do {handoff.capability}; what they can do: {known or 'nothing they tell'}")


def peers_from(targets: tuple[str, ...], said: Mapping[str, frozenset[str]], offers: Mapping[str, Offer]) -> Peers:
    """What each target can do: as the settings have it, else by its own card."""
    return Peers(can={target: said.get(slug_of(target), offers[target].skills) for target in targets})
