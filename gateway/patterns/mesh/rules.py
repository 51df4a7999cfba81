"""What the settings say of a mesh: who is in it, and what ends it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject, json_object, json_text
from gateway.patterns.mesh.bids import Weights, weights_in
from gateway.patterns.shared.loops import ALIKE_FROM
from gateway.patterns.shared.settings import number_or, seconds, slug_of, texts, whole, workers_in
from gateway.patterns.shared.sufficiency import refuse_small_limits

MOST_HOPS = 5
BID_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshRules:
    targets: tuple[str, ...]
    """Capability names of the peers, in the order of the settings."""
    entry: str
    """Slug of the peer that is asked first; empty where the peers bid."""
    peers: Mapping[str, frozenset[str]]
    """What a peer can do, by its slug; of others their cards tell."""
    hops: int
    alike_from: float
    bid_timeout_s: float
    weights: Weights


def mesh_rules(settings: JsonObject) -> MeshRules:
    """Raises: InvalidRequest: see `Mesh`."""
    block = json_object(settings.get("mesh"))
    targets = workers_in(settings)
    slugs = [slug_of(target) for target in targets]
    if len(targets) < 2:
        raise InvalidRequest("the pattern mesh needs at least two peers", detail={"setting": "agents"})
    entry, said = json_text(block.get("entry")), json_object(block.get("peers"))
    for slug in (*([entry] if entry else []), *said):
        if slug not in slugs:
            known = ", ".join(slugs)
            raise InvalidRequest(f"{slug} is no peer of this mesh; there is {known}", detail={"setting": "mesh"})
    rules = MeshRules(
        targets=targets,
        entry=entry,
        peers={slug: frozenset(each.lower() for each in texts(can)) for slug, can in said.items()},
        hops=whole(block, "hops", MOST_HOPS),
        alike_from=number_or(block, "alike", ALIKE_FROM),
        bid_timeout_s=number_or(block, "bid_timeout_s", BID_TIMEOUT_S),
        weights=weights_in(json_object(block.get("weights"))),
    )
    limits = json_object(settings.get("limits"))
    least = 1 if entry else 1 + sum(target.startswith("agent:") for target in targets)
    refuse_small_limits(limits, calls=least, roles=())
    deadline_s = seconds(limits.get("deadline_s"))
    if not entry and deadline_s is not None and deadline_s <= rules.bid_timeout_s:
        raise InvalidRequest(
            f"bids alone may take {rules.bid_timeout_s:g} s, and limits.deadline_s is {deadline_s:g}",
            detail={"setting": "limits"},
        )
    return rules
