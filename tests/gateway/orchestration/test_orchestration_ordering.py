"""Attempts at steps in the order in which they began, also where no time passes."""

from gateway.core.ports.runs import RunEvent, RunStep
from gateway.orchestration.runs.ordering import begun


def attempt(step_id: str, number: int = 1, *, at_us: int = 5, took_us: int = 0) -> RunStep:
    return RunStep(
        run_id="r", id=step_id, parent="r", target="agent:a", state="ok", attempt=number, started_at_us=at_us,
        duration_us=took_us,
    )  # fmt: skip


def ended(*attempts: tuple[str, int]) -> list[RunEvent]:
    """The events of a run in which these attempts ended in this order."""
    return [
        RunEvent(run_id="r", seq=seq, at_us=5, body={"detail": {"step": step, "attempt": number, "name": "n"}})
        for seq, (step, number) in enumerate(attempts, start=1)
    ]


def names(steps: list[RunStep]) -> list[str]:
    return [f"{each.id}#{each.attempt}" for each in steps]


def test_places_in_the_journal_are_numbers() -> None:
    steps = [attempt("r/10"), attempt("r/9"), attempt("r/2", at_us=6)]
    assert names(begun(steps, [])) == ["r/9#1", "r/10#1", "r/2#1"]


def test_of_a_graph_what_others_waited_for_comes_first_and_what_took_long_last() -> None:
    steps = [attempt("r/2/after"), attempt("r/2/before"), attempt("r/2/aside", took_us=9)]
    events = ended(("r/2/before", 1), ("r/2/after", 1), ("r/2/aside", 1))
    assert names(begun(steps, events)) == ["r/2/before#1", "r/2/after#1", "r/2/aside#1"]


def test_another_attempt_comes_after_what_it_was_made_for_and_before_what_followed() -> None:
    steps = [attempt("r/1"), attempt("r/1", 2), attempt("r/2"), attempt("r/7")]
    events = ended(("r/1", 1), ("r/2", 1), ("r/1", 2), ("r/7", 1))
    assert names(begun(steps, events)) == ["r/1#1", "r/2#1", "r/1#2", "r/7#1"]


def test_tries_of_which_only_the_last_was_told_stay_together() -> None:
    steps = [attempt("r/1"), attempt("r/1", 2), attempt("r/2")]
    assert names(begun(steps, ended(("r/1", 2), ("r/2", 1)))) == ["r/1#1", "r/1#2", "r/2#1"]


def test_what_never_began_comes_last() -> None:
    steps = [attempt("r/1", at_us=0), attempt("r/2")]
    assert names(begun(steps, [])) == ["r/2#1", "r/1#1"]
