"""When a target is left alone, and who may find out whether it is back."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.breaker import Breaker, BreakerView
from gateway.core.errors import Unavailable
from tests.fakes import FakeClock

COOLDOWN_S = 30.0


def a_breaker() -> tuple[Breaker, FakeClock]:
    clock = FakeClock()
    return Breaker("agent:refunds", failures=3, cooldown_s=COOLDOWN_S, clock=clock), clock


def opened() -> tuple[Breaker, FakeClock]:
    breaker, clock = a_breaker()
    assert [breaker.failed(breaker.admit()) for _ in range(3)] == [False, False, True]
    return breaker, clock


def test_three_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    breaker, _ = a_breaker()
    for came in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.said_nothing):
        came(breaker.admit())
    assert (breaker.closed, breaker.view().failures) == (True, 1)


def test_an_open_one_says_when_to_come_back() -> None:
    breaker, clock = opened()
    clock.advance(10)
    with pytest.raises(Unavailable) as refused:
        breaker.admit()
    assert refused.value.retry_after_s == pytest.approx(20)
    assert refused.value.detail["breaker"] == "open"
    assert breaker.view() == BreakerView(target="agent:refunds", state="open", failures=3, retry_after_s=20.0)


def test_after_the_cooldown_one_probe_goes_through_and_its_success_closes_it() -> None:
    breaker, clock = opened()
    clock.advance(COOLDOWN_S)
    assert breaker.state == "half_open"
    breaker.check()
    probe = breaker.admit()
    with pytest.raises(Unavailable) as refused:
        breaker.admit()
    assert refused.value.detail["breaker"] == "half_open"
    breaker.succeeded(probe)
    assert (breaker.state, breaker.view().failures) == ("closed", 0)


def test_a_failed_probe_opens_it_for_another_cooldown() -> None:
    breaker, clock = opened()
    clock.advance(COOLDOWN_S)
    assert breaker.failed(breaker.admit())
    assert breaker.view().retry_after_s == pytest.approx(COOLDOWN_S)


def test_a_probe_that_says_nothing_leaves_the_question_to_the_next_call() -> None:
    breaker, clock = opened()
    clock.advance(COOLDOWN_S)
    breaker.said_nothing(breaker.admit())
    assert breaker.state == "half_open"
    breaker.succeeded(breaker.admit())
    assert breaker.closed


def test_what_began_before_it_opened_says_nothing_any_more() -> None:
    breaker, clock = a_breaker()
    slow, *others = [breaker.admit() for _ in range(4)]
    for each in others:
        breaker.failed(each)
    breaker.succeeded(slow)
    assert breaker.state == "open"
    clock.advance(COOLDOWN_S)
    probe = breaker.admit()
    assert not breaker.failed(slow)
    breaker.said_nothing(slow)
    with pytest.raises(Unavailable):
        breaker.admit()
    breaker.succeeded(probe)
    assert breaker.closed


class Machine(RuleBasedStateMachine):
    """Calls come and end in any order, whatever the clock says."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker, self.clock = a_breaker()
        self.under_way: list[tuple[int, bool]] = []
        """Ticket, and whether the breaker was closed when it was given."""
        self.was_closed = True
        self.probe_succeeded = False

    @rule()
    def comes(self) -> None:
        closed = self.breaker.closed
        try:
            self.under_way.append((self.breaker.admit(), closed))
        except Unavailable as error:
            assert not closed
            assert error.retry_after_s is not None
            assert 0 < error.retry_after_s <= COOLDOWN_S

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), how=st.sampled_from(("succeeded", "failed", "said_nothing")))
    def ends(self, data: st.DataObject, how: str) -> None:
        number = data.draw(st.integers(0, len(self.under_way) - 1))
        ticket, admitted_closed = self.under_way.pop(number)
        getattr(self.breaker, how)(ticket)
        self.probe_succeeded = how == "succeeded" and not admitted_closed

    @rule(seconds=st.floats(min_value=0, max_value=2 * COOLDOWN_S))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def it_never_closes_without_a_probes_success(self) -> None:
        if self.breaker.closed and not self.was_closed:
            assert self.probe_succeeded
        self.was_closed = self.breaker.closed

    @invariant()
    def there_are_never_two_probes_at_once(self) -> None:
        if not self.breaker.closed:
            assert sum(not closed for _, closed in self.under_way) <= 1


Machine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestBreaker = Machine.TestCase


def test_whoever_is_refused_is_told_how_it_failed_last() -> None:
    breaker, _ = a_breaker()
    for why in ("could not be reached", "did not answer in time", "did not answer in time"):
        breaker.failed(breaker.admit(), why)
    with pytest.raises(Unavailable) as raised:
        breaker.check()
    assert "failed 3 times in a row (it did not answer in time)" in raised.value.message
