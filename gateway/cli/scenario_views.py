"""How reports of scenarios look: what passed, and of the rest what was expected, what was seen, and the run."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from gateway.cli.render import table
from gateway.cli.run_forms import run_table
from gateway.cli.words import clean
from gateway.testing.scenarios.report import LoadReport, ScenarioReport, TrialReport

MOST_COURSES = 5


def reports_view(reports: Sequence[ScenarioReport]) -> RenderableType:
    """The table of all, and below it what failed."""
    lines = [(_mark(each), clean(each.name), _share(each), _courses(each), f"{each.took_s:.2f} s") for each in reports]
    head = table(("", "SCENARIO", "RUNS", "COURSES", "TOOK"), lines, empty="No scenario.")
    failed = [each for each in reports if not each.passed]
    passed = len(reports) - len(failed)
    summary = Text(f"{passed} of {len(reports)} passed", style="green" if not failed else "red")
    return Group(head, *(part for each in failed for part in _failed(each)), Text(""), summary)


def load_view(reports: Sequence[LoadReport]) -> RenderableType:
    """One line a scenario, and below it what went wrong."""
    rows = [
        (
            each.name,
            each.runs,
            each.in_flight,
            f"{each.runs / each.lasted_s:.1f}",
            f"{each.steps / each.lasted_s:.1f}",
            f"{each.quantile(0.5) * 1000:.1f} ms",
            f"{each.quantile(0.99) * 1000:.1f} ms",
            str(each.failed),
        )
        for each in reports
    ]
    head = table(("SCENARIO", "RUNS", "AT ONCE", "RUNS/S", "STEPS/S", "P50", "P99", "FAILED"), rows, empty="")
    wrong = [Text(f"  {number} times: {clean(said)}") for each in reports for said, number in each.failures.items()]
    return Group(head, *wrong)


def _failed(report: ScenarioReport) -> list[RenderableType]:
    parts: list[RenderableType] = [Text("")]
    parts.append(Text.assemble((clean(report.name), "bold"), f"  {clean(str(report.file))}:{report.line}"))
    if report.problem:
        return [*parts, Text(f"  {clean(report.problem)}", style="red")]
    trial = report.first_failed
    if trial is None:
        return parts
    if len(report.trials) > 1:
        seeds = ", ".join(map(str, report.failed_seeds[:10]))
        parts.append(Text(f"  failed with the seeds {seeds}; one again: --seed {trial.seed} --select {report.name}"))
        parts += _different(report)
    rows = [(each.what, each.expected, each.seen) for each in trial.findings]
    parts.append(Padding(table(("WHAT", "EXPECTED", "SEEN"), rows, empty=""), (0, 0, 0, 2)))
    parts += _runs(trial)
    return parts


def _runs(trial: TrialReport) -> list[RenderableType]:
    if trial.answer.error:
        answer = Text(f"  it failed: {clean(trial.answer.error)}", style="dim")
    else:
        answer = Text(f"  it answered: {clean(trial.answer.text)}", style="dim")
    tables = [Padding(run_table(each), (1, 0, 0, 2)) for each in trial.explanations]
    inner = [call for call in trial.trace.calls if call.in_a_step]
    made = [(each.by, each.target, each.state, each.rule or each.reason) for each in inner]
    calls = table(("IN A STEP", "CALLED", "STATE", ""), made, empty="")
    return [answer, *tables, *([Padding(calls, (1, 0, 0, 2))] if made else [])]


def _different(report: ScenarioReport) -> list[RenderableType]:
    courses = report.courses
    if len(courses) < 2:
        return []
    lines: list[RenderableType] = [Text(f"  the runs took {len(courses)} different courses:")]
    for number, course in courses[:MOST_COURSES]:
        lines.append(Text(f"    {number} times: {clean(', '.join(course)) or 'nothing was called'}"))
    return lines


def _mark(report: ScenarioReport) -> Text:
    return Text("ok", style="green") if report.passed else Text("failed", style="red")


def _share(report: ScenarioReport) -> str:
    if report.problem:
        return "could not be run"
    return f"{len(report.trials) - len(report.failed_seeds)} of {len(report.trials)}"


def _courses(report: ScenarioReport) -> str:
    return str(len(report.courses)) if len(report.trials) > 1 else ""
