"""Scenario files against configurations: read, run as often as wanted, reported."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from gateway.app.contract_versions import version_of
from gateway.app.ready import Ready
from gateway.app.sections import SECTIONS, Sections, load_configuration
from gateway.app.trials import run_trial
from gateway.config.checks import standard_checks
from gateway.config.document import read_document
from gateway.config.load import Configuration
from gateway.config.problems import Problem
from gateway.core.errors import GatewayError
from gateway.testing.contracts.breaks import Tools, Version
from gateway.testing.scenarios.files import Scenario, ScenarioFile, read_scenarios
from gateway.testing.scenarios.mocks import MockSettings
from gateway.testing.scenarios.report import ScenarioReport, TrialReport
from gateway.testing.scenarios.settings import ScenarioSettings


def ready_in(path: Path, *, instead: Path | None = None, real: bool = False) -> list[Ready]:
    """The scenarios in a file. `real`: against upstreams over sockets.

    Raises: ConfigurationError: says everything that is wrong.
    """
    found: ScenarioFile = read_scenarios(path, SECTIONS, (_without_callers,), instead=instead)
    sections = Sections(found.configuration)
    return [Ready(scenario=each, sections=sections, real=real) for each in found.scenarios]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractsSource:
    """A configuration, with what is known of the contracts in it."""

    version: Version
    ready: Ready


def contracts_source(path: Path, recorded: Tools | None = None) -> ContractsSource:
    """What a configuration says, or a scenario file: its configuration, and the mocks of all its scenarios.
    `recorded`: what else is known of tools.

    Raises: ConfigurationError.
    """
    if _is_scenario_file(path):
        found = read_scenarios(path, SECTIONS, (_without_callers,))
        sections, scenarios = Sections(found.configuration), found.scenarios
        mocks = {target: mock for each in reversed(scenarios) for target, mock in each.mocks.items()}
    else:
        sections, mocks = Sections(load_configuration(path)), dict[str, MockSettings]()
    asked = Scenario(name="contracts", file=path, line=1, settings=ScenarioSettings(say="contracts"), mocks=mocks)
    return ContractsSource(
        version=version_of(sections, mocks, recorded), ready=Ready(scenario=asked, sections=sections)
    )


def _is_scenario_file(path: Path) -> bool:
    try:
        return "scenarios" in read_document(path.read_text(encoding="utf-8")).data
    except (OSError, UnicodeDecodeError):
        return False


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
