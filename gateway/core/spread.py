"""How far a fault on purpose spread, and what stopped it. Pure: made from audit records, and from what runs say of
themselves, both as JSON; knows neither the log nor the runs.

What a fault distorts is labelled, and labels follow data: a call that carries the label was told, or told, something of
it. A fault that ends a call leaves nothing to carry; there, what stopped it is whatever was done about the failure.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.core.json import JsonObject, json_list, json_object, json_text

_ABOUT_TROUBLE = frozenset(
    {"retry", "again", "fallback", "escalate", "reassign", "replan", "verdict", "unresolved", "drop", "skip", "stop"}
    | {"undo", "on_failure"}
)
"""Decisions of a run that say what was done about something."""
_FINE = frozenset({"ok", "running"})
SHOWN_AT_MOST = 1000
"""Calls, stops and answers of each kind that are shown; all are counted."""


@dataclass(slots=True, kw_only=True)
class Spread:
    """What is known of one injection. Read from the log a page at a time: what is kept does not grow with it."""

    injection: str
    run_ids: dict[str, None] = field(default_factory=dict[str, None])
    """Of the runs of which such calls were part, the first one first."""
    _seen: int = -1
    """Place in the log of the latest record."""
    _counts: Counter[str] = field(default_factory=Counter[str])
    _faults: dict[str, None] = field(default_factory=dict[str, None])
    _targets: dict[str, None] = field(default_factory=dict[str, None])
    _struck: list[JsonObject] = field(default_factory=list[JsonObject])
    _reached: list[JsonObject] = field(default_factory=list[JsonObject])
    _stopped: list[JsonObject] = field(default_factory=list[JsonObject])
    _callers: list[JsonObject] = field(default_factory=list[JsonObject])

    def add(self, records: Iterable[JsonObject]) -> None:
        """Take in records as the audit log stores them, in its order; others than outcomes of calls that were struck or
        carry the label are left aside, and so is what was taken in before."""
        for each in records:
            place = seq_of(each)
            if place > self._seen and each.get("phase") == "outcome" and (self._strike(each) or self._carries(each)):
                self._seen = place
                self._take_in(each)

    def _take_in(self, record: JsonObject) -> None:
        if run_id := json_text(record.get("run_id")):
            self.run_ids[run_id] = None
        if strike := self._strike(record):
            self._faults[json_text(strike.get("fault"))] = None
            self._keep("struck", self._struck, self._call(record))
        else:
            self._targets[json_text(record.get("capability"))] = None
            self._keep("reached", self._reached, self._call(record))
        for stop in self._stopped_call(record):
            self._keep("stopped", self._stopped, stop)
        if not run_id and record.get("outcome") == "ok" and self._carries(record):
            answered = {"record": record.get("id"), "call": record.get("capability"), "by": record.get("subject")}
            self._keep("callers", self._callers, answered)

    def _keep(self, kind: str, kept: list[JsonObject], shown: JsonObject) -> None:
        self._counts[kind] += 1
        if len(kept) < SHOWN_AT_MOST:
            kept.append(shown)

    def to_json(self, runs: Sequence[JsonObject] = ()) -> JsonObject:
        """`faults`, `struck` calls, those it `reached`, what `stopped` it where, `runs` and whether their answers carry
        it, answers to `callers` of other calls that do, and how `far` that is, all of it counted. `runs`: the first of
        those of which such calls were part, as they are explained."""
        counts = self._counts
        kept = (self._struck, self._reached, self._stopped, self._callers)
        return {
            "injection": self.injection,
            "faults": [*self._faults],
            "struck": [*self._struck],
            "reached": [*self._reached],
            "stopped": [*self._stopped, *self._stopped_in_runs(runs)],
            "runs": [self._run(json_object(each.get("run"))) for each in runs],
            "callers": [*self._callers],
            "far": {
                "struck": counts["struck"],
                "calls": counts["reached"],
                "targets": [*self._targets],
                "runs": len(self.run_ids),
                "runs_left_out": max(0, len(self.run_ids) - len(runs)),
                "left_out": counts.total() - sum(map(len, kept)),
            },
        }

    @property
    def _label(self) -> str:
        return f"chaos:{self.injection}"

    def _strike(self, record: JsonObject) -> JsonObject:
        """What the record says of the fault that struck the call; empty where it did not."""
        for each in map(json_object, json_list(json_object(record.get("detail")).get("chaos"))):
            if each.get("id") == self.injection:
                return each
        return {}

    def _carries(self, value: JsonObject) -> bool:
        return self._label in json_list(json_object(value.get("labels")).get("untrusted"))

    def _call(self, record: JsonObject) -> JsonObject:
        named = ("id", "at_us", "capability", "subject", "outcome", "run_id", "step_id")
        names = ("record", "at_us", "call", "by", "outcome", "run", "step")
        shown: JsonObject = {
            name: record[field] for name, field in zip(names, named, strict=True) if record.get(field) not in (None, "")
        }
        remark = json_text(self._strike(record).get("remark"))
        return {**shown, "remark": remark} if remark else shown

    def _stopped_call(self, record: JsonObject) -> Iterator[JsonObject]:
        """By a policy, a breaker, or an answer kept from before."""
        detail = json_object(record.get("detail"))
        if record.get("outcome") == "denied":
            by = " ".join(filter(None, (json_text(record.get("policy")), json_text(record.get("rule")))))
            yield self._stop(record, "denied", by=by, because=json_text(record.get("reason")))
        elif detail.get("breaker") == "opened":
            because = "it failed again and again, and is left alone for a while"
            yield self._stop(record, "breaker", by="the breaker", because=because)
        elif detail.get("cached") is True:
            because = json_text(detail.get("reason")) or "it was answered before"
            yield self._stop(record, "cached", by="an earlier answer", because=because)

    def _stop(self, record: JsonObject, how: str, *, by: str, because: str) -> JsonObject:
        stop: JsonObject = {"how": how, "by": by, "call": json_text(record.get("capability")), "because": because}
        where = {"run": record.get("run_id"), "step": record.get("step_id"), "record": record.get("id")}
        return {**stop, **{name: value for name, value in where.items() if value}}

    def _stopped_in_runs(self, runs: Iterable[JsonObject]) -> Iterator[JsonObject]:
        """By what became of the steps that it struck or reached, and by what was decided about them."""
        hit = {json_text(each.get("step")) for each in self._struck} - {""}
        for run in runs:
            run_id = json_object(run.get("run")).get("id")
            steps = [json_object(each) for each in json_list(run.get("steps"))]
            touched = [each for each in steps if each.get("step") in hit or self._carries(each)]
            for each in touched:
                state = json_text(each.get("state"))
                if state not in _FINE:
                    stop: JsonObject = {"how": state, "by": _STATES.get(state, "the step"), "call": each.get("target")}
                    yield {**stop, "because": each.get("reason"), "run": run_id, "step": each.get("step")}
            for decision in _decisions_about({name for each in touched for name in _names(each)}, run):
                what: JsonObject = {"how": decision.get("what"), "by": "a decision of the run", "run": run_id}
                yield {**what, "because": decision.get("because"), "chosen": decision.get("chosen")}

    def _run(self, about: JsonObject) -> JsonObject:
        named: JsonObject = {"run": about.get("id"), "workflow": about.get("workflow"), "state": about.get("state")}
        return {**named, "carries": self._carries(about)}


_STATES: Mapping[str, str] = {
    "schema": "the contract of its answer",
    "denied": "a policy",
    "conflict": "what another had written",
    "budget": "the budget",
    "timeout": "the step's time",
    "deadline": "the run's time",
    "skipped": "what it needed and did not get",
}
"""Who it is that lets no step of such a state stand."""


def seq_of(record: JsonObject) -> int:
    """Where in the log the record stands."""
    seq = record.get("seq")
    return seq if isinstance(seq, int) else 0


def _names(step: JsonObject) -> tuple[str, str]:
    """What a run's decisions may call the step."""
    target = json_text(step.get("target"))
    return json_text(step.get("step")).rpartition("/")[2], target.rpartition(":")[2].rpartition("/")[2]


def _decisions_about(names: set[str], run: JsonObject) -> Iterator[JsonObject]:
    for each in map(json_object, json_list(run.get("decisions"))):
        detail, chosen = json_object(each.get("detail")), each.get("chosen")
        said = {json_text(detail.get("step")), json_text(detail.get("stage")), json_text(chosen)}
        said |= {json_text(name) for name in json_list(chosen)} | {json_text(json_object(detail).get("target"))}
        if each.get("what") in _ABOUT_TROUBLE and said & names:
            yield each
