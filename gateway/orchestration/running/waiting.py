"""For how long a run, or one nested in it, has waited for people. Read from what was told of it; changes nothing."""

from collections.abc import Iterable

from gateway.core.json import json_object, json_text
from gateway.core.ports.runs import RunEvent, RunStore
from gateway.core.task import TaskState

LEVELS = 8
"""How far down nested runs are looked at."""

_Span = tuple[int, int]


async def waited_us(runs: RunStore, run_id: str, *, since_us: int, now_us: int) -> int:
    """Microseconds between the two moments in which the run, or one nested in it, waited for an answer."""
    spans = await _spans(runs, run_id, now_us, LEVELS)
    total, seen_us = 0, since_us
    for begin_us, end_us in sorted(spans):
        total += max(0, end_us - max(begin_us, seen_us))
        seen_us = max(seen_us, end_us)
    return total


async def _spans(runs: RunStore, run_id: str, now_us: int, levels: int) -> list[_Span]:
    spans = _spans_in(await runs.events(run_id), now_us)
    for step in await runs.steps(run_id) if levels else ():
        if step.target.startswith("workflow:") and step.remote_task:
            spans += await _spans(runs, step.remote_task, now_us, levels - 1)
    return spans


def _spans_in(events: Iterable[RunEvent], now_us: int) -> list[_Span]:
    open_since: dict[str, int] = {}
    spans: list[_Span] = []
    for event in events:
        name, begins = _question_in(event)
        if not name:
            continue
        if begins:
            open_since.setdefault(name, event.at_us)
        elif name in open_since:
            spans.append((open_since.pop(name), event.at_us))
    return spans + [(begin_us, now_us) for begin_us in open_since.values()]


def _question_in(event: RunEvent) -> tuple[str, bool]:
    """Which question the event is about, and whether it begins there; of the caller there is one at a time."""
    body, detail = event.body, json_object(event.body.get("detail"))
    if body.get("kind") == "status":
        return "caller", body.get("state") == TaskState.INPUT_REQUIRED.value
    if detail.get("event") == "approval":
        return json_text(detail.get("approval")), "state" not in detail
    return "", False
