"""Scenario files against configurations: read, run as often as wanted, reported."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter

from gateway.app.ready import Ready
from gateway.app.sections import SECTIONS, Sections
from gateway.app.trials import run_trial
from gateway.config.checks import standard_checks
from gateway.config.load import Configuration
from gateway.config.problems import Problem
from gateway.core.errors import GatewayError
from gateway.testing.scenarios.files import ScenarioFile, read_scenarios
from gateway.testing.scenarios.report import ScenarioReport, TrialReport


def ready_in(path: Path, *, instead: Path | None = None, real: bool = False) -> list[Ready]:
    """The scenarios in a file. `real`: against upstreams over sockets.

    Raises: ConfigurationError: says everything that is wrong.
    """
    found: ScenarioFile = read_scenarios(path, SECTIONS, (_without_callers,), instead=instead)
    sections = Sections(found.configuration)
    return [Ready(scenario=each, sections=sections, real=real) for each in found.scenarios]


def run_scenario(ready: Ready, *, times: int, seed: int | None) -> ScenarioReport:
    """The scenario, run so often, each time from the next seed. `seed`: the first, instead of the scenario's own."""
    scenario = ready.scenario
    first = scenario.settings.seed if seed is None else seed
    began_s = perf_counter()
    trials: list[TrialReport] = []
    problem = ""
    try:
        trials += [run_trial(ready, first + number) for number in range(times)]
    except GatewayError as error:
        problem = error.message
    return ScenarioReport(
        name=scenario.name,
        file=scenario.file,
        line=scenario.line,
        trials=tuple(trials),
        took_s=perf_counter() - began_s,
        problem=problem,
    )


def selected(found: Sequence[Ready], names: Sequence[str]) -> list[Ready]:
    """Those of these names; all of them where none is given."""
    return [each for each in found if not names or each.scenario.name in names]


def _without_callers(configuration: Configuration) -> Iterator[Problem]:
    """As a gateway checks it, but for warnings: nobody knocks here with a key."""
    for check in standard_checks():
        yield from (each for each in check(configuration) if each.severity == "error")
