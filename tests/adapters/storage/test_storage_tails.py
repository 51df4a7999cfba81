"""What is kept of a run's newest events is what the database would say, or nothing."""

from hypothesis import given
from hypothesis import strategies as st

from adapters.storage.tails import EVENTS_AT_MOST, Tails
from gateway.core.ports.runs import RunEvent

RUN = "run_1"


def event(seq: int) -> RunEvent:
    return RunEvent(run_id=RUN, seq=seq, at_us=seq, body={})


class Log:
    """The database: what every process appended, and what this one was told of its own."""

    def __init__(self) -> None:
        self.tails = Tails()
        self.last = 0
        self.asked_at: int | None = None

    def ours(self, count: int) -> None:
        appended = [event(self.last + number) for number in range(1, count + 1)]
        self.last += count
        self.tails.append(RUN, appended)

    def theirs(self, count: int) -> None:
        self.last += count

    def ask(self, _: int) -> None:
        self.tails.begin(RUN)
        self.asked_at = self.last

    def answer(self, _: int) -> None:
        if self.asked_at is not None:
            self.tails.settle(RUN, self.asked_at)
            self.asked_at = None

    def end(self, _: int) -> None:
        self.tails.end(RUN)


@given(st.lists(st.tuples(st.sampled_from(["ours", "ask", "answer", "end"]), st.integers(1, EVENTS_AT_MOST + 3))))
def test_a_watcher_gets_what_is_in_the_log_or_has_to_ask(steps: list[tuple[str, int]]) -> None:
    log = Log()
    for what, count in steps:
        getattr(log, what)(count)
        for after in range(max(0, log.last - EVENTS_AT_MOST - 2), log.last + 1):
            known = log.tails.after(RUN, after)
            assert known is None or known == tuple(event(seq) for seq in range(after + 1, log.last + 1))


@given(st.lists(st.tuples(st.sampled_from(["ours", "theirs", "ask", "answer"]), st.integers(1, 5))))
def test_no_event_is_given_out_of_turn_where_others_append_too(steps: list[tuple[str, int]]) -> None:
    log = Log()
    for what, count in steps:
        getattr(log, what)(count)
        for after in range(log.last + 1):
            known = log.tails.after(RUN, after) or ()
            assert [each.seq for each in known] == [*range(after + 1, after + 1 + len(known))]


def test_a_watcher_that_keeps_up_is_told_from_memory() -> None:
    log = Log()
    log.ask(0)
    log.ours(1)
    log.answer(0)
    log.ours(2)
    assert [each.seq for each in log.tails.after(RUN, 1) or ()] == [2, 3]
    assert log.tails.after(RUN, 3) == ()


def test_what_another_process_appended_is_asked_for() -> None:
    log = Log()
    log.ask(0)
    log.answer(0)
    log.theirs(1)
    log.ours(1)
    assert log.tails.after(RUN, 0) is None
