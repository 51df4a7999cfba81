"""What a run cost, role by role and tier by tier, against having everything done on the top tier. Pure.

Nobody knows what the top tier would have spent. It is taken to have needed one attempt a step, and as many tokens as
the attempt that counted; the price is that of the tiers' settings. Where nobody reported a cost, tokens stand for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from gateway.core.json import JsonObject
from gateway.core.limits import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """One attempt."""

    by: str
    """The role or tier."""
    usage: Usage
    cost: float
    """Of its tokens, against those of the other tiers."""
    counts: bool = True
    """Not superseded by a later attempt: the top tier would have had to do this as well."""


def cost_report(spent: Sequence[Spent], top_cost: float) -> JsonObject:
    """The comparison, as the answer shows it."""
    usage = sum((each.usage for each in spent), Usage())
    report: JsonObject = {"tokens": usage.tokens, "calls": usage.calls, "by": _by(spent)}
    if usage.cost_usd:
        at_top = sum((_at_top(each, top_cost, each.usage.cost_usd) for each in spent if each.counts), Decimal(0))
        report |= {"cost_usd": _money(usage.cost_usd), "top_tier_cost_usd": _money(at_top)}
        report |= {"saved_usd": _money(at_top - usage.cost_usd), "saved_share": _share(usage.cost_usd, at_top)}
        return {**report, "basis": "reported costs, scaled by what the tiers' tokens cost"}
    real = sum((Decimal(each.usage.tokens) * _decimal(each.cost) for each in spent), Decimal(0))
    at_top = sum((Decimal(each.usage.tokens) * _decimal(top_cost) for each in spent if each.counts), Decimal(0))
    if usage.tokens:
        report |= {"units": float(real), "top_tier_units": float(at_top), "saved_share": _share(real, at_top)}
        return {**report, "basis": "tokens, times what the tiers' tokens cost; nobody reported money"}
    return {**report, "basis": "nobody reported tokens or costs"}


def worded(report: JsonObject) -> str:
    """The comparison in a sentence; empty where there is nothing to compare."""
    share = report.get("saved_share")
    if not isinstance(share, float):
        return ""
    return f"{abs(share):.0%} {'less' if share >= 0 else 'more'} than with everything on the top tier"


def _by(spent: Iterable[Spent]) -> JsonObject:
    summed: dict[str, Usage] = {}
    for each in spent:
        summed[each.by] = summed.get(each.by, Usage()) + each.usage
    return {
        by: {"calls": each.calls, "tokens": each.tokens, "cost_usd": _money(each.cost_usd)}
        for by, each in summed.items()
    }


def _at_top(spent: Spent, top_cost: float, cost_usd: Decimal) -> Decimal:
    return cost_usd * _decimal(top_cost) / _decimal(spent.cost)


def _decimal(value: float) -> Decimal:
    return Decimal(str(value))


def _money(value: Decimal) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _share(real: Decimal, at_top: Decimal) -> float:
    return round(float(1 - real / at_top), 3) if at_top else 0.0
