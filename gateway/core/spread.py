"""How far a fault on purpose spread, and what stopped it. Pure: made from audit records, and from what runs say of
themselves, both as JSON; knows neither the log nor the runs.

What a fault distorts is labelled, and labels follow data: a call that carries the label was told, or told, something of
it. A fault that ends a call leaves nothing to carry; there, what stopped it is whatever was done about the failure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

_ABOUT_TROUBLE = frozenset(
    {"retry", "again", "fallback", "escalate", "reassign", "replan", "verdict", "unresolved", "drop", "skip", "stop"}
    | {"undo", "on_failure"}
)
"""Decisions of a run that say what was done about something."""
_FINE = frozenset({"ok", "running"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What is known of one injection."""

    injection: str
    records: Sequence[JsonObject]
    """Outcomes of calls that it struck, and of those that carry its label, as the audit log stores them."""
    runs: Sequence[JsonObject] = ()
    """Those of which such calls were part, as runs are explained."""
    left_out: int = 0
    """Runs beyond those."""

    def to_json(self) -> JsonObject:
        """`faults`, `struck` calls, those it `reached`, what `stopped` it where, `runs` and whether their answers carry
        it, answers to `callers` of other calls that do, and how `far` that is."""
        records = sorted(self._outcomes(), key=_place)
        struck = [each for each in records if self._strike(each)]
        reached = [each for each in records if not self._strike(each)]
        faults = dict.fromkeys(json_text(self._strike(each).get("fault")) for each in struck)
        stopped = [*self._stopped_calls(records), *self._stopped_in_runs(struck)]
        targets: list[Json] = [*dict.fromkeys(json_text(each.get("capability")) for each in reached)]
        return {
            "injection": self.injection,
            "faults": [*faults],
            "struck": [self._call(each) for each in struck],
            "reached": [self._call(each) for each in reached],
            "stopped": [*stopped],
            "runs": [self._run(json_object(each.get("run"))) for each in self.runs],
            "callers": [*self._callers(records)],
            "far": {
                "calls": len(reached),
                "targets": targets,
                "runs": len(self.runs) + self.left_out,
                "runs_left_out": self.left_out,
            },
        }

    @property
    def _label(self) -> str:
        return f"chaos:{self.injection}"

    def _outcomes(self) -> Iterator[JsonObject]:
        found: dict[str, JsonObject] = {}
        for each in self.records:
            if each.get("phase") == "outcome" and (self._strike(each) or self._carries(each)):
                found[json_text(each.get("id"))] = each
        yield from found.values()

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

    def _stopped_calls(self, records: Iterable[JsonObject]) -> Iterator[JsonObject]:
        """By a policy, a breaker, or an answer kept from before."""
        for each in records:
            detail = json_object(each.get("detail"))
            if each.get("outcome") == "denied":
                by = " ".join(filter(None, (json_text(each.get("policy")), json_text(each.get("rule")))))
                yield self._stop(each, "denied", by=by, because=json_text(each.get("reason")))
            elif detail.get("breaker") == "opened":
                because = "it failed again and again, and is left alone for a while"
                yield self._stop(each, "breaker", by="the breaker", because=because)
            elif detail.get("cached") is True:
                because = json_text(detail.get("reason")) or "it was answered before"
                yield self._stop(each, "cached", by="an earlier answer", because=because)

    def _stop(self, record: JsonObject, how: str, *, by: str, because: str) -> JsonObject:
        stop: JsonObject = {"how": how, "by": by, "call": json_text(record.get("capability")), "because": because}
        where = {"run": record.get("run_id"), "step": record.get("step_id"), "record": record.get("id")}
        return {**stop, **{name: value for name, value in where.items() if value}}

    def _stopped_in_runs(self, struck: Iterable[JsonObject]) -> Iterator[JsonObject]:
        """By what became of the steps that it struck or reached, and by what was decided about them."""
        hit = {json_text(each.get("step_id")) for each in struck} - {""}
        for run in self.runs:
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

    def _callers(self, records: Iterable[JsonObject]) -> Iterator[JsonObject]:
        """Who was answered with it outside of runs."""
        for each in records:
            if not each.get("run_id") and each.get("outcome") == "ok" and self._carries(each):
                yield {"record": each.get("id"), "call": each.get("capability"), "by": each.get("subject")}


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


def runs_to_ask(records: Iterable[JsonObject]) -> list[str]:
    """Ids of the runs of which the calls were part, each once, the first one first."""
    return [*dict.fromkeys(run for each in records if (run := json_text(each.get("run_id"))))]


def _place(record: JsonObject) -> int:
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
