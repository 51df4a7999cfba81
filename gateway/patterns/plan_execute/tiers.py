"""Tiers of executors: what each costs, how often it has succeeded, and on which a step begins. Pure but for its notes.

How often a tier succeeds is estimated from its record and a stated expectation, which counts as much as a few steps: so
one failure does not condemn a tier, and one success does not acquit it. A tier under the bar is given no more steps to
begin with; its failures lapse in time, and then it is tried again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.ports.orchestration import Note, StepError, StepResult, Steps
from gateway.patterns.shared.roles import Role, role_in
from gateway.patterns.shared.settings import number_or, objects, slug_of, target_in

TIER = "tier"
"""Topic of the notes that are the record."""
RECORD = 100
"""Steps of the record that are looked at, newest first."""
ITS_OWN: frozenset[StepError] = frozenset({"failed", "schema", "timeout"})
"""Failures that say something about the tier."""
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One tier."""

    target: str
    """Capability name."""
    cost: float = 1.0
    """Of its tokens, against those of the others."""
    prior: float = 0.8
    """Share of steps it is expected to succeed at, before there is a record."""

    @property
    def name(self) -> str:
        return slug_of(self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """Those of one workflow, the cheapest first."""

    tiers: tuple[Tier, ...]
    bar: float = 0.8
    prior_steps: float = 4.0
    record_days: float = 30.0

    @classmethod
    def of(cls, settings: JsonObject) -> "Tiers":
        """Raises: InvalidRequest: no executor, an executor beside tiers, or a dearer tier before a cheaper one."""
        block = json_object(settings.get("plan_execute"))
        executor = role_in(settings, "executor")
        tiers = tuple(_tier(entry) for entry in objects(block.get("tiers")))
        if bool(tiers) == (executor is not None):
            raise InvalidRequest(
                "the pattern plan_execute needs either an executor or tiers", detail={"setting": "executor"}
            )
        if len({each.target for each in tiers}) != len(tiers) or [*tiers] != sorted(tiers, key=lambda each: each.cost):
            raise InvalidRequest(
                "tiers stand in order, the cheapest first, each once", detail={"setting": "plan_execute.tiers"}
            )
        return cls(
            tiers=tiers or (Tier(target=_asked(executor)),),
            bar=number_or(block, "bar", 0.8),
            prior_steps=number_or(block, "prior_steps", 4.0),
            record_days=number_or(block, "record_days", 30.0),
        )

    @property
    def top(self) -> Tier:
        return self.tiers[-1]

    def after(self, target: str) -> Tier | None:
        """The next tier up; None above the top, and for whoever is no tier."""
        places = [place for place, tier in enumerate(self.tiers) if tier.target == target]
        return self.tiers[places[0] + 1] if places and places[0] + 1 < len(self.tiers) else None

    def named(self, target: str) -> Tier | None:
        return next((each for each in self.tiers if each.target == target), None)


@dataclass(slots=True, kw_only=True)
class TierRecord:
    """How the tiers have done, this run included."""

    tiers: Tiers
    outcomes: dict[str, list[bool]] = field(default_factory=dict[str, list[bool]])
    """By target, newest first."""

    @classmethod
    async def of(cls, tiers: Tiers, steps: Steps) -> "TierRecord":
        """The record as earlier runs left it."""
        outcomes: dict[str, list[bool]] = {}
        for tier in tiers.tiers:
            kept = await steps.recall(TIER, tier.target, limit=RECORD)
            outcomes[tier.target] = [each for each in kept if isinstance(each, bool)]
        return cls(tiers=tiers, outcomes=outcomes)

    def estimate(self, tier: Tier) -> float:
        """Share of steps it is thought to succeed at."""
        return estimated(self.outcomes.get(tier.target, ()), prior=tier.prior, weight=self.tiers.prior_steps)

    def begin(self) -> Tier:
        """The cheapest tier that meets the bar; where none does, the one most likely to succeed."""
        fit = [tier for tier in self.tiers.tiers if self.estimate(tier) >= self.tiers.bar]
        return fit[0] if fit else max(self.tiers.tiers, key=self.estimate)

    def features(self) -> JsonObject:
        """What a choice was made by."""
        shown: JsonObject = {}
        for tier in self.tiers.tiers:
            outcomes = self.outcomes.get(tier.target, [])
            success = round(self.estimate(tier), 3)
            shown[tier.name] = {"success": success, "steps": len(outcomes), "cost": tier.cost}
        return {"bar": self.tiers.bar, "tiers": shown}

    async def note(self, result: StepResult, steps: Steps) -> None:
        """Count a step that has ended on one of the tiers."""
        if self.tiers.named(result.target) is None or not (result.ok or result.error in ITS_OWN):
            return
        self.outcomes.setdefault(result.target, []).insert(0, result.ok)
        value: Json = result.ok
        note_id = f"{result.id}.{result.attempts}"
        ttl_s = self.tiers.record_days * DAY_S
        await steps.note(Note(topic=TIER, key=result.target, value=value, id=note_id, ttl_s=ttl_s))


def estimated(outcomes: Sequence[bool], *, prior: float, weight: float) -> float:
    """The share of successes, an expectation counting as much as `weight` outcomes."""
    return (prior * weight + sum(outcomes)) / (weight + len(outcomes))


def _tier(entry: JsonObject) -> Tier:
    return Tier(target=target_in(entry), cost=number_or(entry, "cost", 1.0), prior=number_or(entry, "prior", 0.8))


def _asked(executor: Role | None) -> str:
    if executor is None:
        raise AssertionError("unreachable: checked before")
    return executor.target
