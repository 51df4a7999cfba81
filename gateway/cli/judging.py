"""The judge of a consensus workflow, put to a gold set: by its rules offline, or asked through the running gateway."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.failure import USAGE, Failure
from gateway.cli.options import Place
from gateway.cli.place_contents import sections_of
from gateway.cli.render import facts, table
from gateway.core.contracts import violation
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.patterns.consensus.calibration import Gold, Weighed, calibrated
from gateway.patterns.consensus.panel import PANEL_AT_MOST, judges_input, scores_said, scores_schema
from gateway.patterns.consensus.rubric import Criterion, criteria_in, scored_by_rules
from gateway.patterns.shared.roles import Role, role_in

Call = Callable[[str, JsonObject], Json]
"""Asks a capability for its answer. Raises: Failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A workflow's judge and its rubric."""

    criteria: tuple[Criterion, ...]
    judge: Role

    @property
    def left(self) -> list[Criterion]:
        """Criteria no rule decides."""
        return [each for each in self.criteria if not each.rule]


def bench_of(at: Place, workflow: str) -> Bench:
    """Raises: Failure: no such workflow, or none with a judge; InvalidRequest."""
    workflows = sections_of(at).workflows
    found = workflows.get(workflow)
    if found is None:
        known = ", ".join(sorted(workflows)) or "none"
        raise Failure(f"the configuration has no workflow {workflow}; it has {known}", code=USAGE)
    if found.pattern != "consensus":
        raise Failure(f"{workflow} is a {found.pattern}, and only a consensus has a rubric to judge by", code=USAGE)
    settings = found.to_json()
    criteria = criteria_in(json_object(settings.get("consensus")).get("rubric"))
    judge = role_in(settings, "judge", ("rubric",)) or Role(name="judge", rule="rubric")
    return Bench(criteria=criteria, judge=judge)


def judged(bench: Bench, golds: Sequence[Gold], call: Call | None) -> JsonObject:
    """The comparison. Each case is put to the judge twice, the second time the other way round.

    Raises: Failure: the judge cannot be asked, or does not keep to the form.
    """
    if bench.judge.target and call is None:
        raise Failure(
            f"the judge is {bench.judge.target}, which only answers through the gateway",
            "Add --online and --key FILE, the key of somebody who may call it.",
            code=USAGE,
        )
    weighed = [
        Weighed(gold=gold, order=order, scores=_weighed(bench, gold, order, call))
        for gold in golds
        for order in (tuple(gold.answers), tuple(reversed([*gold.answers])))
    ]
    return calibrated(weighed, bench.criteria)


def calibration_view(said: JsonObject) -> RenderableType:
    position = json_object(said.get("position"))
    changed, first = _percent(position.get("changed")), _percent(position.get("firstWins"))
    leanings = [json_object(each) for each in json_list(said.get("criteria"))]
    wrong = [json_object(each) for each in json_list(said.get("wrong"))]
    rows = [(e.get("criterion"), e.get("weight"), e.get("scores"), e.get("bias"), e.get("error")) for e in leanings]
    head = facts(
        [
            ("cases", said.get("cases")),
            ("accuracy", _percent(said.get("accuracy"))),
            ("rank correlation", said.get("rankCorrelation")),
            ("verdict changed with the order", changed),
            ("first answer won", f"{first}, by chance {_percent(position.get('expected'))}"),
        ]
    )
    lines = [f"{json_text(e.get('id'))}: {_names(e.get('chosen'))}, and {_names(e.get('best'))} is best" for e in wrong]
    found = table(("CRITERION", "WEIGHT", "SCORES", "BIAS", "ERROR"), rows, empty="")
    return Group(head, Text(""), found, Text("\n".join(["", *lines]) if lines else ""))


def _weighed(bench: Bench, gold: Gold, order: tuple[str, ...], call: Call | None) -> dict[str, dict[str, float]]:
    scores = scored_by_rules(bench.criteria, {name: gold.answers[name] for name in order})
    if call is None or not bench.judge.target:
        return scores
    if len(order) > PANEL_AT_MOST:
        raise Failure(f"{gold.id} has more than {PANEL_AT_MOST} answers, which no judge is given at once", code=USAGE)
    letters = dict(zip(ascii_uppercase, order, strict=False))
    answers = {letter: gold.answers[name] for letter, name in letters.items()}
    given: JsonObject = {**bench.judge.input, **judges_input(answers, bench.left)}
    said = call(bench.judge.target, _arguments(bench.judge.target, given, gold))
    broken = violation(scores_schema([*letters], bench.left), said)
    if broken:
        raise Failure(f"{gold.id}: the judge's answer breaks its contract: {broken}")
    by_judge = scores_said(said, letters, bench.left)
    return {name: {**scores[name], **by_judge[name]} for name in order}


def _arguments(target: str, given: JsonObject, gold: Gold) -> JsonObject:
    """What a run would give the judge, as a call of its own."""
    if target.startswith("tool:"):
        return given
    member: JsonObject = {"task": gold.message, "data": gold.data}
    return {"message": gold.message or "Judge these answers.", "data": {**given, "drawbridge": member}}


def _percent(value: Json) -> str:
    return f"{value:.0%}" if isinstance(value, int | float) else ""


def _names(value: Json) -> str:
    return " or ".join(map(str, json_list(value)))
