"""What each pattern did of the three wishes, what it cost, and what was lost on the way, as a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from examples.stories.customer.shop import PAID, PRODUCTS
from examples.stories.kit import Told, World

WISHES = 3
HEAD = ("PATTERN", "DONE", "REFUNDED", "LOST", "CALLS", "TOKENS", "USD", "TOOK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One pattern."""

    pattern: str
    done: int
    """Of the three wishes, by what really happened."""
    refunded: float
    too_much: float
    """Of that, beside what the replacement costs more."""
    not_done: tuple[str, ...]
    calls: int
    tokens: int
    cost_usd: Decimal
    took_ms: int

    @property
    def cells(self) -> tuple[str, ...]:
        lost = [*self.not_done, *([f"{self.too_much:.2f} refunded too much"] if self.too_much else [])]
        return (
            self.pattern,
            f"{self.done} of {WISHES}",
            f"{self.refunded:.2f}",
            ", ".join(lost) or "nothing",
            str(self.calls),
            str(self.tokens),
            f"{self.cost_usd:f}",
            f"{self.took_ms} ms",
        )


def line_of(world: World, told: Told, order: str) -> Line:
    """What came of the wishes about an order."""
    shop, calendar = world.effects["orders"], world.effects["calendar"]
    refunds = [each["amount"] for each in shop.done("refund") if each["order_id"] == order]
    sent = [PRODUCTS[each["sku"]]["price"] for each in shop.done("ship") if each["order_id"] == order]
    calls = [each for each in calendar.done("book") if order in each["topic"]]
    due = PAID - sum(price - PAID for price in sent)
    shown = world.explained(told.run)
    return Line(
        pattern=shown["run"]["pattern"],
        done=sum(map(bool, (refunds, sent, calls))),
        refunded=sum(refunds),
        too_much=max(0.0, round(sum(refunds) - due, 2)),
        not_done=tuple(f"{gap['step']} not done" for gap in told.gaps),
        calls=shown["totals"]["calls"],
        tokens=shown["totals"]["tokens"],
        cost_usd=Decimal(shown["totals"]["costUsd"]),
        took_ms=shown["run"]["tookUs"] // 1000,
    )


def compared(world: World, answers: Mapping[str, Told], orders: Mapping[str, str]) -> str:
    """The table. `orders`: workflow -> the order it was asked about."""
    rows = [HEAD, *(line_of(world, told, orders[workflow]).cells for workflow, told in answers.items())]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n" + "\n".join(lines)
