"""What of a definition is pinned, and its digest. Knows no store.

RFC 8785 over the fields a model or a client acts upon. Hidden characters count: a change nobody can see is a change.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from json import dumps

from gateway.core.json import Json, JsonObject, canonical_json, json_from, json_text
from gateway.core.model import CapabilityKind
from gateway.core.ports.upstream import Listing

_FIELDS: Mapping[CapabilityKind, tuple[str, ...]] = {
    "tool": ("name", "title", "description", "inputSchema", "outputSchema", "annotations"),
    "prompt": ("name", "title", "description", "arguments"),
}
INSTRUCTIONS = "instructions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One definition as a server gives it now."""

    name: str
    digest: str
    definition: JsonObject
    source: str = ""
    """Digest of the whole definition it was taken from: while that is the same, so is this."""


def digest_of(definition: Mapping[str, Json]) -> str:
    """SHA-256, hex, of the canonical form."""
    try:
        canonical = canonical_json(json_from(definition))
    except ValueError:
        # Generated schemas bound integers by 2**63-1, which RFC 8785 cannot express; this order is as stable.
        canonical = dumps(definition, sort_keys=True, separators=(",", ":")).encode()
    return sha256(canonical).hexdigest()


def sightings(owner: str, listing: Listing, earlier: Mapping[str, Sighting] | None = None) -> dict[str, Sighting]:
    """Everything of a listing that is pinned, by name. `earlier` ones are taken over where nothing changed: the
    canonical form of thousands of definitions takes longer than a listing should hold everybody up.
    """
    return {each.name: each for each in _sightings(owner, listing, earlier or {})}


def instructions_name(owner: str) -> str:
    """Under which a server's instructions are pinned."""
    return f"{INSTRUCTIONS}:{owner}"


def _sightings(owner: str, listing: Listing, earlier: Mapping[str, Sighting]) -> Iterator[Sighting]:
    for each in listing.capabilities:
        fields = _FIELDS.get(each.kind)
        if fields is None:
            continue
        known = earlier.get(each.name)
        if known is not None and each.digest and known.source == each.digest:
            yield known
        else:
            members = {name: each.definition[name] for name in fields if name in each.definition}
            yield _sighting(each.name, members, each.digest)
    instructions = json_text(listing.about.get(INSTRUCTIONS))
    if instructions:
        yield _sighting(instructions_name(owner), {INSTRUCTIONS: instructions})


def _sighting(name: str, definition: JsonObject, source: str = "") -> Sighting:
    return Sighting(name=name, digest=digest_of(definition), definition=definition, source=source)
