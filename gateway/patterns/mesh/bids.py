"""Bids of peers for a request, and who is awarded it. Pure: the same bids, the same award.

A bid is `{"drawbridge": {"bid": {"score": 0.8, "cost_usd": 0.02, "eta_s": 5}}}`: how well the peer expects to do it,
what it would cost, how long it would take. Only the score has to be there. Costs and times count relative to the
dearest and the slowest of the bids, so that the unit does not matter; a bid that is silent about one counts as the
worst that is there.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.core.json import Json, JsonObject, json_object
from gateway.core.ports.orchestration import StepResult
from gateway.patterns.shared.settings import slug_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    score: float = 1.0
    cost: float = 0.25
    eta: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Bid:
    """What a peer offers."""

    target: str
    score: float
    """0 to 1."""
    cost_usd: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A bid, and what it is worth beside the others."""

    bid: Bid
    worth: float

    def to_json(self) -> JsonObject:
        bid = self.bid
        return {
            "agent": slug_of(bid.target),
            "score": bid.score,
            "cost_usd": bid.cost_usd,
            "eta_s": bid.eta_s,
            "worth": round(self.worth, 4),
        }


def bid_of(result: StepResult) -> Bid | None:
    """What the peer bids; None where it failed, is silent, or says that it is nothing for it."""
    if not result.ok:
        return None
    said = json_object(result.said.get("bid")) or json_object(json_object(result.value).get("bid"))
    score = _number(said.get("score"))
    if score is None or score <= 0:
        return None
    return Bid(
        target=result.target,
        score=min(score, 1.0),
        cost_usd=_number(said.get("cost_usd")),
        eta_s=_number(said.get("eta_s")),
    )


def ranked(bids: Sequence[Bid], weights: Weights) -> list[Ranked]:
    """Best first; of equal ones the one that came first."""
    dearest = max((bid.cost_usd for bid in bids if bid.cost_usd is not None), default=0.0)
    slowest = max((bid.eta_s for bid in bids if bid.eta_s is not None), default=0.0)

    def worth(bid: Bid) -> float:
        cost, eta = _share(bid.cost_usd, dearest), _share(bid.eta_s, slowest)
        return weights.score * bid.score - weights.cost * cost - weights.eta * eta

    return sorted((Ranked(bid=bid, worth=worth(bid)) for bid in bids), key=lambda each: -each.worth)


def weights_in(settings: Mapping[str, Json]) -> Weights:
    """The weights in a block of settings, `score`, `cost`, `eta`."""
    usual = Weights()
    return Weights(
        score=_or(settings.get("score"), usual.score),
        cost=_or(settings.get("cost"), usual.cost),
        eta=_or(settings.get("eta"), usual.eta),
    )


def _share(value: float | None, most: float) -> float:
    if most <= 0:
        return 0.0
    return 1.0 if value is None else value / most


def _number(value: Json) -> float | None:
    """A number of at least 0; everything else is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value) if abs(value) < 1e15 else math.inf
    return number if math.isfinite(number) and number >= 0 else None


def _or(value: Json, usual: float) -> float:
    found = _number(value)
    return usual if found is None else found
