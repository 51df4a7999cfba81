"""What was said before the turns a run is handed: how much there was, and what it came to; once for the whole run.

That grows by the turns that have fallen out of the history since: what the run before had it come to, goes on in the
next. So it is of the whole conversation, however long that is, and nobody is told again what it says already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.core.json import Json, JsonObject, json_from, json_object, json_text
from gateway.core.labels import CLEAN, Labels
from gateway.core.ports.orchestration import Node, StepResult, Steps
from gateway.core.ports.runs import Run
from gateway.orchestration.records.events import warning_body
from gateway.orchestration.records.history import latest_answered
from gateway.orchestration.records.results import cut, result_from_json
from gateway.orchestration.records.spec import RunSpec, spec_from_json
from gateway.orchestration.running.context import RunContext
from gateway.orchestration.step.summaries import SUMMARY_S, summariser_in
from gateway.orchestration.wiring import Wiring

ASKED = (
    "Say in at most 150 words what these earlier turns of a conversation hold that matters for what is asked next, and "
    "nothing else; `so_far` is what you said of the turns before them."
)
RECAP_CHARS = 1200
_FIRST = 1
"""Place in a run's journal of the step that sums up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoFar:
    """What the run before was told of the turns that its history left out."""

    text: str = ""
    labels: Labels = CLEAN
    before_us: int = 0
    """What began later is not in it."""
    without: frozenset[str] = frozenset()
    """Runs that began earlier and are not in it either."""

    def covers(self, run: Run) -> bool:
        return bool(self.text) and run.created_at_us < self.before_us and run.id not in self.without


NOTHING_YET = SoFar()


async def said_so_far(wiring: Wiring, runs: Sequence[Run]) -> SoFar:
    """What the latest of `runs`, which come newest first, that was answered had earlier turns come to."""
    latest = latest_answered(runs)
    if latest is None or not (latest.spec.get("older") or latest.spec.get("recap")):
        return NOTHING_YET
    spec = spec_from_json(dict(latest.spec))
    without = {turn.run_id for turn in spec.history}
    text, labels = await _summed_up(wiring, spec)
    if not text:
        text, labels = spec.recap, spec.older_labels
        without |= {turn.run_id for turn in spec.older}
    return SoFar(text=text, labels=labels, before_us=latest.created_at_us, without=frozenset(without))


async def _summed_up(wiring: Wiring, spec: RunSpec) -> tuple[str, Labels]:
    """What the run's own summary was; empty where it made none, or none is kept."""
    role = summariser_in(spec.settings)
    if role is None or not spec.older:
        return "", CLEAN
    attempts = await wiring.journal.attempts(spec.run_id, f"{spec.name_of(_FIRST)}/{_FIRST}")
    results = map(result_from_json, attempts)
    said = next((each for each in results if each.ok and each.target == role.target), None)
    return ("", CLEAN) if said is None else (_words(said), said.labels)


async def recapitulated(run: RunContext, steps: Steps) -> None:
    """Tell whoever watches what was left out of the history, and have it summed up where somebody does that: a step as
    any other, recorded, and the same after a crash."""
    spec = run.spec
    if spec.left_out and not spec.parent_run:
        await run.chronicle.event("history:left out", warning_body(f"left out: {'; '.join(spec.left_out)}"))
    role = summariser_in(spec.settings)
    if role is None or not spec.older:
        return
    turns: list[Json] = [turn.told() for turn in spec.older]
    value: Json = {"so_far": spec.recap, "turns": turns} if spec.recap else turns
    given: JsonObject = {**json_from(role.input), "instruction": ASKED, "value": value}
    said = await steps.call(
        Node(
            target=role.target,
            input=given,
            labels=spec.older_labels,
            whole=False,
            timeout_s=SUMMARY_S if role.timeout_s is None else role.timeout_s,
            phase="propose",  # it changes nothing outside
            input_schema=_schema(role.input_schema),
            output_schema=_schema(role.output_schema),
        )
    )
    if said.ok:
        run.recap.text, run.recap.labels = _words(said), said.labels


def _words(said: StepResult) -> str:
    told = json_text(json_object(said.answer).get("summary")) or said.text or said.summary
    return cut(told, RECAP_CHARS)


def _schema(said: Mapping[str, object] | None) -> "JsonObject | None":
    return json_from(said) if said else None
