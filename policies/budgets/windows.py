"""Budgets over windows of time: reserved before a call, settled after it. Pure: whoever asks brings the time.

A window is a minute, a day or a month of UTC. What a call will use is not known beforehand, so it reserves an estimate;
calls that run side by side can therefore overstep a budget by what their estimates fell short of, and by no more.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

from gateway.core.errors import Exhausted
from gateway.core.json import JsonObject
from gateway.core.limits import WARN_SHARE, Usage

Part = Literal["calls", "tokens", "cost_usd"]
Period = Literal["minute", "day", "month"]
LIMITS: dict[str, tuple[Part, Period]] = {
    "calls_per_minute": ("calls", "minute"),
    "calls_per_day": ("calls", "day"),
    "tokens_per_minute": ("tokens", "minute"),
    "tokens_per_day": ("tokens", "day"),
    "tokens_per_month": ("tokens", "month"),
    "cost_usd_per_day": ("cost_usd", "day"),
    "cost_usd_per_month": ("cost_usd", "month"),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WARN = Decimal(str(WARN_SHARE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One limit of a budget."""

    name: str
    """One of `LIMITS`."""
    most: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Most of a budget is used."""

    key: str
    """The same for one limit in one window."""
    text: str


@dataclass(slots=True, kw_only=True)
class _Window:
    bound: Bound
    start: datetime
    end: datetime
    spent: Decimal = Decimal(0)
    held: Decimal = Decimal(0)
    warned: bool = False

    @property
    def part(self) -> Part:
        return LIMITS[self.bound.name][0]

    def fits(self, amount: Decimal) -> bool:
        used = self.spent + self.held
        return used < self.bound.most and used + amount <= self.bound.most

    @property
    def nearly_used(self) -> bool:
        return self.spent >= self.bound.most * _WARN


@dataclass(slots=True, kw_only=True)
class Hold:
    """What one call has reserved; to be settled, whatever becomes of the call."""

    estimate: Usage
    windows: list[_Window] = field(default_factory=list[_Window])


class Account:
    """One tenant's or agent's budget. Used from one event loop."""

    def __init__(self, name: str, bounds: tuple[Bound, ...]) -> None:
        """`name`: for people, `tenant acme`, `agent refunds`."""
        self.name = name
        self.bounds = bounds
        self._windows: dict[str, _Window] = {}

    def open(self, now_us: int, spent: Usage, period: Period) -> None:
        """Begin with what was spent in this period before; a budget that was nearly used was warned of then."""
        for bound in self.bounds:
            if LIMITS[bound.name][1] == period:
                window = self._window(bound, now_us)
                window.spent = _amount(spent, window.part)
                window.warned = window.nearly_used

    def refuse(self, estimate: Usage, now_us: int) -> None:
        """Raises: Exhausted: there is no room for a call that uses what is estimated."""
        for bound in self.bounds:
            window = self._window(bound, now_us)
            if not window.fits(_amount(estimate, window.part)):
                raise _exhausted(self.name, window, now_us)

    @property
    def by_the_minute(self) -> bool:
        return any(LIMITS[bound.name][1] == "minute" for bound in self.bounds)

    def fits_minute(self, given: Usage, estimate: Usage) -> bool:
        """Whether there is room for a call beside what was given out in a minute, by whomever."""
        return not self._full(given, estimate)

    def refuse_minute(self, given: Usage, estimate: Usage, now_us: int) -> Exhausted:
        """What is said to a call there was no room for beside this."""
        bound = self._full(given, estimate)[0]
        start, end = span("minute", _EPOCH + timedelta(microseconds=now_us))
        window = _Window(bound=bound, start=start, end=end, spent=_amount(given, LIMITS[bound.name][0]))
        return _exhausted(self.name, window, now_us)

    def _full(self, given: Usage, estimate: Usage) -> list[Bound]:
        full: list[Bound] = []
        for bound in self.bounds:
            part, period = LIMITS[bound.name]
            used = _amount(given, part)
            if period == "minute" and (used >= bound.most or used + _amount(estimate, part) > bound.most):
                full.append(bound)
        return full

    def learn(self, now_us: int, spent: Usage, period: Period) -> None:
        """At least so much was spent in this period by all processes; what this one knows beyond that stands."""
        for bound in self.bounds:
            if LIMITS[bound.name][1] == period:
                window = self._window(bound, now_us)
                window.spent = max(window.spent, _amount(spent, window.part))

    def hold(self, hold: Hold, now_us: int) -> None:
        """Reserve what `refuse` had room for."""
        for bound in self.bounds:
            window = self._window(bound, now_us)
            window.held += _amount(hold.estimate, window.part)
            hold.windows.append(window)

    def settle(self, used: Usage, now_us: int) -> list[Warned]:
        """Add what a call used; what there is to warn of, once in each window."""
        warnings: list[Warned] = []
        for bound in self.bounds:
            window = self._window(bound, now_us)
            window.spent += _amount(used, window.part)
            if window.nearly_used and not window.warned:
                window.warned = True
                warnings.append(_warning(self.name, window))
        return warnings

    def adopt(self, other: "Account") -> None:
        """Take over what a former account of the same name has spent, as far as the same is limited."""
        for bound in self.bounds:
            former = other._windows.get(bound.name)
            if former is not None:
                former.bound = bound
                former.warned = former.nearly_used
                self._windows[bound.name] = former

    def state(self, now_us: int) -> list[JsonObject]:
        """For people: how much of each limit is used, and when its window ends."""
        windows = [self._window(bound, now_us) for bound in self.bounds]
        return [
            {
                "budget": self.name,
                "limit": window.bound.name,
                "most": str(window.bound.most),
                "spent": f"{window.spent:f}",
                "reserved": f"{window.held:f}",
                "opensAt": _moment(window.end),
            }
            for window in windows
        ]

    def _window(self, bound: Bound, now_us: int) -> _Window:
        window = self._windows.get(bound.name)
        now = _EPOCH + timedelta(microseconds=now_us)
        if window is None or not window.start <= now < window.end:
            start, end = span(LIMITS[bound.name][1], now)
            window = self._windows[bound.name] = _Window(bound=bound, start=start, end=end)
        return window


def release(hold: Hold) -> None:
    """Give back what a call reserved: it has ended."""
    for window in hold.windows:
        window.held -= _amount(hold.estimate, window.part)
    hold.windows.clear()


def span(period: Period, now: datetime) -> tuple[datetime, datetime]:
    """The window of this kind in which `now` is: its start, and the start of the next."""
    match period:
        case "minute":
            start = now.replace(second=0, microsecond=0)
            return start, start + timedelta(minutes=1)
        case "day":
            start = now.replace(hour=0, minute=0, second=0, microsecond=0)
            return start, start + timedelta(days=1)
        case "month":
            start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            return start, (start + timedelta(days=31)).replace(day=1)


def day_of(now_us: int) -> str:
    """The UTC day, `2026-11-28`."""
    return (_EPOCH + timedelta(microseconds=now_us)).date().isoformat()


def _amount(usage: Usage, part: Part) -> Decimal:
    return usage.cost_usd if part == "cost_usd" else Decimal(usage.calls if part == "calls" else usage.tokens)


def _exhausted(name: str, window: _Window, now_us: int) -> Exhausted:
    opens_at = _moment(window.end)
    left_s = (window.end - _EPOCH).total_seconds() - now_us / 1e6
    return Exhausted(
        f"the budget of {name} has no room for this call: {window.bound.name} is {window.bound.most:f}, "
        f"{window.spent:f} are spent and {window.held:f} reserved; it opens again at {opens_at}",
        detail={"limit": "budget", "budget": f"{name} {window.bound.name}", "opensAt": opens_at, "sent": False},
        retry_after_s=max(0.0, round(left_s, 3)),
    )


def _warning(name: str, window: _Window) -> Warned:
    share = int(window.spent / window.bound.most * 100)
    return Warned(
        key=f"budget:{name}:{window.bound.name}:{_moment(window.start)}",
        text=f"{share} % of the budget of {name} are used: {window.bound.name}, which opens again at "
        f"{_moment(window.end)}",
    )


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
