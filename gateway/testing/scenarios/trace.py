"""What was called for a scenario, in the order in which it began: by runs, and by agents at work on a step. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase

from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.record import Record
from gateway.testing.scenarios.upstreams import Done

REFUSED = "denied"
NEVER_MADE = frozenset({REFUSED, "skipped", "budget"})
"""States of what was wanted and not called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """One call: an attempt at a step, or what an agent called while it worked on one."""

    target: str
    state: str
    """`ok`, or what it ended with."""
    began_us: int
    """Microseconds since the scenario began."""
    ended_us: int
    by: str = ""
    """Subject of whoever called; empty for a step's own workflow."""
    step: str = ""
    attempt: int = 1
    depth: int = 0
    phase: str = ""
    received: Json = None
    answered: Json = None
    reason: str = ""
    rule: str = ""
    labels: JsonObject = field(default_factory=dict[str, Json])
    in_a_step: bool = False
    """Made by an agent at work on a step."""

    @property
    def made(self) -> bool:
        """Whether it left the gateway."""
        return self.state not in NEVER_MADE


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A run as it is explained, and when it began."""

    explanation: JsonObject
    began_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Everything that happened for one request, or for a whole scenario."""

    calls: tuple[Called, ...] = ()
    decisions: tuple[JsonObject, ...] = ()
    state: str = ""
    """Of the last run."""
    failure: "JsonObject | None" = None
    done: tuple[Done, ...] = ()
    """What mocks really did."""
    tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    tried: int = 0
    """Calls runs made, tries included."""
    took_us: int = 0
    processes: int = 1

    def of(self, target: str) -> list[Called]:
        """Calls that were made of a target, or of what a glob names."""
        return [each for each in self.calls if each.made and named(each.target, target)]

    @property
    def signature(self) -> tuple[str, ...]:
        """What two runs that went the same way have in common: what was called and what came of it, without times."""
        return tuple(
            " ".join(filter(None, (each.target, each.phase, each.state if each.state != "ok" else "")))
            for each in self.calls
        )


def named(name: str, pattern: str) -> bool:
    """Whether a name is meant by a name or glob."""
    return name == pattern or fnmatchcase(name, pattern)


def trace_from(
    runs: Sequence[Told],
    records: Iterable[Record],
    done: Iterable[Done],
    *,
    took_us: int,
    processes: int,
    epoch_us: int,
) -> Trace:
    """The trace of these runs; `records` may hold others' calls as well. `epoch_us`: when the scenario began, UTC."""
    steps = [_step(each, json_object(step)) for each in runs for step in json_list(each.explanation.get("steps"))]
    # What an agent called while it worked on a step comes after that step, though all of it took no time.
    known = {each.step: number for number, each in enumerate(steps)}
    inner = [_of_record(each, epoch_us) for each in records if _made_in_a_step(each, known)]
    placed = [*enumerate(steps), *((known[each.step], each) for each in inner)]
    placed.sort(key=lambda each: (not each[1].began_us and each[1].state == "skipped", each[1].began_us, each[0]))
    calls = [call for _, call in placed]
    last = runs[-1].explanation if runs else {}
    totals = [json_object(each.explanation.get("totals")) for each in runs]
    return Trace(
        calls=tuple(calls),
        decisions=tuple(json_object(each) for told in runs for each in json_list(told.explanation.get("decisions"))),
        state=json_text(json_object(last.get("run")).get("state")),
        failure=json_object(last.get("failure")) or None,
        done=tuple(done),
        tokens=sum(_whole(each.get("tokens")) for each in totals),
        cost_usd=sum((Decimal(json_text(each.get("costUsd"), "0")) for each in totals), Decimal(0)),
        tried=sum(_whole(each.get("calls")) for each in totals),
        took_us=took_us,
        processes=processes,
    )


def _step(told: Told, step: JsonObject) -> Called:
    began_us = told.began_us + _whole(step.get("startedUs"))
    return Called(
        target=json_text(step.get("target")),
        state=json_text(step.get("state")),
        began_us=began_us,
        ended_us=began_us + _whole(step.get("tookUs")),
        step=json_text(step.get("step")),
        attempt=_whole(step.get("attempt")),
        depth=_whole(step.get("depth")),
        phase=json_text(step.get("phase")),
        received=step.get("received"),
        answered=step.get("answered"),
        reason=json_text(step.get("reason")),
        labels=json_object(step.get("labels")),
    )


def _made_in_a_step(record: Record, steps: "set[str] | Mapping[str, object]") -> bool:
    return (
        record.phase == "outcome"
        and record.principal is not None
        and record.principal.kind == "agent"
        and record.step_id in steps
    )


def _of_record(record: Record, epoch_us: int) -> Called:
    began_us = record.at_us - epoch_us
    body = record.request
    return Called(
        target=record.capability,
        state=record.outcome,
        began_us=began_us,
        ended_us=began_us + record.duration_us,
        by="" if record.principal is None else record.principal.subject,
        step=record.step_id,
        phase="",
        received=None if body is None else body.content().structured,
        answered=None if record.result is None else record.result.content().value,
        reason=record.reason,
        rule=record.rule,
        labels=record.labels.to_json(),
        in_a_step=True,
    )


def _whole(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
