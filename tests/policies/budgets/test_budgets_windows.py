"""Budgets over windows of time."""

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import Exhausted
from gateway.core.limits import Usage
from policies.budgets.settings import BudgetSettings
from policies.budgets.windows import Account, Hold, release, span

NOW_US = int(datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC).timestamp()) * 1_000_000
SECOND = 1_000_000


def account(**limits: object) -> Account:
    return Account("tenant acme", BudgetSettings.model_validate(limits).bounds)


def reserved(of: Account, estimate: Usage, now_us: int = NOW_US) -> Hold:
    hold = Hold(estimate=estimate)
    of.refuse(estimate, now_us)
    of.hold(hold, now_us)
    return hold


def test_a_full_budget_says_which_it_is_and_when_it_opens_again() -> None:
    minute = account(calls_per_minute=1, cost_usd_per_month=5)
    minute.settle(Usage(calls=1), NOW_US)
    with pytest.raises(Exhausted) as refused:
        minute.refuse(Usage(calls=1), NOW_US)
    assert refused.value.wire.code == 1429
    assert refused.value.detail["budget"] == "tenant acme calls_per_minute"
    assert refused.value.detail["opensAt"] == "2027-01-01T00:00:00Z"
    assert refused.value.retry_after_s == 30
    minute.refuse(Usage(calls=1), NOW_US + 30 * SECOND)


def test_what_is_reserved_is_not_there_for_others_until_it_is_given_back() -> None:
    day = account(tokens_per_day=100)
    hold = reserved(day, Usage(calls=1, tokens=60))
    with pytest.raises(Exhausted):
        day.refuse(Usage(calls=1, tokens=60), NOW_US)
    release(hold)
    assert day.settle(Usage(calls=1, tokens=10), NOW_US) == []
    reserved(day, Usage(calls=1, tokens=60))


def test_a_reservation_that_outlives_its_window_burdens_no_other() -> None:
    minute = account(calls_per_minute=1)
    hold = reserved(minute, Usage(calls=1))
    later = NOW_US + 40 * SECOND
    other = reserved(minute, Usage(calls=1), later)
    release(hold)
    assert minute.state(later)[0]["reserved"] == "1"
    release(other)
    assert minute.state(later)[0]["reserved"] == "0"


def test_it_warns_at_seventy_percent_once_in_each_window() -> None:
    day = account(cost_usd_per_day=1)
    assert day.settle(Usage(cost_usd=Decimal("0.69")), NOW_US) == []
    [warned] = day.settle(Usage(cost_usd=Decimal("0.02")), NOW_US)
    assert warned.text.startswith("71 % of the budget of tenant acme are used: cost_usd_per_day")
    assert day.settle(Usage(cost_usd=Decimal("0.1")), NOW_US) == []
    assert len(day.settle(Usage(cost_usd=Decimal("0.8")), NOW_US + 60 * SECOND)) == 1


def test_what_was_spent_before_a_start_counts_and_is_not_warned_of_again() -> None:
    day = account(tokens_per_day=100)
    day.open(NOW_US, Usage(tokens=80), "day")
    assert day.settle(Usage(tokens=10), NOW_US) == []
    with pytest.raises(Exhausted):
        day.refuse(Usage(tokens=11), NOW_US)


def test_another_limit_keeps_what_was_spent() -> None:
    before, after = account(tokens_per_day=100), account(tokens_per_day=20, calls_per_day=5)
    before.settle(Usage(tokens=30), NOW_US)
    after.adopt(before)
    with pytest.raises(Exhausted):
        after.refuse(Usage(calls=1), NOW_US)


def test_windows_are_whole_minutes_days_and_months() -> None:
    now = datetime(2026, 12, 31, 23, 59, 30, 5, tzinfo=UTC)
    new_year = datetime(2027, 1, 1, tzinfo=UTC)
    assert span("minute", now) == (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), new_year)
    assert span("day", now) == (datetime(2026, 12, 31, tzinfo=UTC), new_year)
    assert span("month", now) == (datetime(2026, 12, 1, tzinfo=UTC), new_year)


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=60))
def test_calls_that_use_what_they_reserve_never_overstep_a_budget(calls: list[tuple[int, bool]]) -> None:
    """Some end at once, others only when the next has begun."""
    day = account(tokens_per_day=100, calls_per_day=20)
    under_way: list[Hold] = []
    spent = Usage()
    for tokens, ends in calls:
        with suppress(Exhausted):
            under_way.append(reserved(day, Usage(calls=1, tokens=tokens)))
        if ends and under_way:
            hold = under_way.pop(0)
            release(hold)
            day.settle(hold.estimate, NOW_US)
            spent = spent + hold.estimate
        held = sum((each.estimate for each in under_way), spent)
        assert held.tokens <= 100
        assert held.calls <= 20
