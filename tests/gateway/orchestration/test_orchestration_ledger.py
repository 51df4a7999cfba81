"""One ledger a run: steps that run side by side never spend more than there is."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.limits import Budget, Usage
from gateway.orchestration.running.ledger import Ledger


def ledger(**parts: object) -> Ledger:
    return Ledger(budget=Budget(deadline_s=1.0, **parts))  # pyright: ignore[reportArgumentType]


def test_calls_are_counted_when_they_are_reserved() -> None:
    book = ledger(calls=2)
    first = book.reserve()
    assert first is not None
    assert book.reserve() is not None
    assert book.reserve() is None
    book.settle(first, Usage())
    assert book.reserve() is not None


def test_a_step_reserves_what_the_ones_before_it_used_on_average() -> None:
    book = ledger(tokens=100)
    first = book.reserve()
    assert first is not None
    book.settle(first, Usage(calls=1, tokens=40))
    assert book.reserve() is not None
    assert book.left().tokens == 20
    assert book.reserve() is None


def test_a_step_reserves_what_its_own_target_used_and_an_unknown_one_what_all_did() -> None:
    book = ledger(tokens=1000)
    for target, tokens in (("agent:a", 30), ("agent:a", 50), ("agent:b", 100)):
        reservation = book.reserve(target)
        assert reservation is not None
        book.settle(reservation, Usage(calls=1, tokens=tokens), target)
    estimates = [book.reserve(target) for target in ("agent:a", "agent:b", "agent:c")]
    assert [each.estimate.tokens for each in estimates if each is not None] == [40, 100, 60]


def test_what_others_spent_refuses_nobody_of_whom_nothing_is_known() -> None:
    book = ledger(tokens=1000, cost_usd=Decimal(1))
    book.add(Usage(calls=1, tokens=720, cost_usd=Decimal("0.5")), "agent:reader")
    assert book.reserve("agent:reader") is None
    summing_up = book.reserve("agent:writer")
    assert summing_up is not None
    assert book.held.tokens == 899
    assert book.reserve("agent:beside") is None, "all that is left is held for another"
    book.settle(summing_up, Usage(calls=1, tokens=100), "agent:writer")
    assert book.reserve("agent:after") is not None


@given(
    limit=st.integers(1, 1000),
    before=st.integers(0, 1000),
    asked=st.lists(st.sampled_from(["agent:a", "agent:b", "agent:c"]), max_size=20),
)
def test_never_more_is_reserved_than_there_is(limit: int, before: int, asked: list[str]) -> None:
    book = ledger(tokens=limit, cost_usd=Decimal(limit) / 100)
    book.add(Usage(calls=1, tokens=before, cost_usd=Decimal(before) / 100), "agent:a")
    for target in asked:
        if book.reserve(target) is not None:
            assert book.held.tokens < limit
            assert book.held.cost_usd < Decimal(limit) / 100


def test_something_is_kept_back_for_the_last_word() -> None:
    book = ledger(cost_usd=Decimal(1))
    book.add(Usage(cost_usd=Decimal("0.95")))
    assert book.reserve() is None
    assert book.reserve(last=True) is not None
    book.add(Usage(cost_usd=Decimal("0.05")))
    assert book.reserve(last=True) is None


def test_it_warns_once_of_each_part() -> None:
    book = ledger(tokens=100, calls=4, cost_usd=Decimal(1))
    book.add(Usage(tokens=69, calls=1))
    assert book.warnings() == {}
    book.add(Usage(tokens=1, calls=1))
    assert book.warnings() == {"tokens": "70 % of the run's tokens are used"}
    book.add(Usage(tokens=1, calls=1, cost_usd=Decimal("0.9")))
    assert book.warnings() == {"calls": "75 % of the run's calls are used", "cost": "90 % of the run's cost are used"}
    assert book.warnings() == {}


def test_without_limits_everything_is_allowed_and_nothing_warned_of() -> None:
    book = ledger()
    book.add(Usage(calls=10_000, tokens=10**9, cost_usd=Decimal(10**6)))
    assert book.reserve() is not None
    assert book.warnings() == {}


@given(limit=st.integers(1, 1000), used=st.lists(st.integers(0, 300), max_size=30))
def test_what_is_left_never_grows_and_never_falls_below_nothing(limit: int, used: list[int]) -> None:
    book = ledger(tokens=limit)
    left = book.left().tokens
    assert left is not None
    for tokens in used:
        reservation = book.reserve()
        if reservation is None:
            break
        book.settle(reservation, Usage(calls=1, tokens=tokens))
        now = book.left().tokens
        assert now is not None
        assert 0 <= now <= left
        left = now
