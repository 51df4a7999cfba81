"""`drawbridge test`: does an orchestration do what it should, whatever goes wrong?"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gateway.app.contract_trials import ContractOrder, all_kept, run_contracts
from gateway.app.contract_versions import recorded_in
from gateway.app.load_trials import LoadOrder, run_load
from gateway.app.ready import Ready
from gateway.app.scenarios import contracts_source, ready_in, run_scenario, selected
from gateway.cli.contract_views import breaks_view, contracts_view
from gateway.cli.failure import FINDING, OK, USAGE, Failure
from gateway.cli.files import refuse_unwritable_report
from gateway.cli.logs import configure_logs_for_tests
from gateway.cli.options import AsJson, ConfigPath, place
from gateway.cli.render import progress, show
from gateway.cli.scenario_views import load_view, reports_view
from gateway.cli.words import clean
from gateway.core.json import Json
from gateway.testing.contracts.breaks import breaks, mismatches
from gateway.testing.scenarios.files import scenario_schema
from gateway.testing.scenarios.report import LoadReport, ScenarioReport, junit, to_json

MOST_TIMES = 10_000
MOST_RUNS = 1_000_000


class Tests(TyperGroup):
    """`drawbridge test FILES` is `drawbridge test run FILES`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # typer keeps its context class to itself
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Tests,
    help="Test orchestrations: scenarios with mock agents and faults, contracts, load.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def test() -> None:
    """Test orchestrations."""


@app.command("run")
def run(
    files: Annotated[list[Path] | None, typer.Argument(help="Scenario files.", show_default=False)] = None,
    workflow_config: Annotated[
        Path | None,
        typer.Option("--workflow-config", help="Run against this configuration, whatever the files say."),
    ] = None,
    times: Annotated[
        int, typer.Option("--times", min=1, max=MOST_TIMES, help="Run each so often, from one seed to the next.")
    ] = 1,
    seed: Annotated[int | None, typer.Option("--seed", help="Begin with this seed.", show_default=False)] = None,
    select: Annotated[list[str] | None, typer.Option("--select", help="Only scenarios of this name.")] = None,
    junit_file: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML to this file.")] = None,
    real: Annotated[
        bool, typer.Option("--real", help="Ask the agents and servers of the configuration; nobody is mocked.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of scenario files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run scenarios, and say what was expected, what was seen and how the run went."""
    if schema:
        print(json.dumps(scenario_schema(), indent=2, ensure_ascii=False))
        return
    if not files:
        raise Failure("say which scenario files to run", "drawbridge test scenarios/*.yaml", code=USAGE)
    configure_logs_for_tests()
    ready = _ready(files, workflow_config, select or [], real=real)
    if junit_file is not None:
        _refuse_unwritable(junit_file)
    reports: list[ScenarioReport] = []
    for each in ready:
        with progress(f"running {each.scenario.name}"):
            reports.append(run_scenario(each, times=times, seed=seed))
    show(to_json(reports), lambda: reports_view(reports), as_json=as_json)
    if junit_file is not None:
        junit_file.write_text(junit(reports), encoding="utf-8")
    if not all(each.passed for each in reports):
        raise typer.Exit(FINDING)


@app.command("contracts")
def contracts(
    file: Annotated[
        Path | None,
        typer.Argument(help="A scenario file, for its configuration and mocks.", show_default=False),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="A former configuration or scenario file: list every consumer it breaks."),
    ] = None,
    workflow: Annotated[str, typer.Option("--workflow", help="Only this workflow.")] = "",
    agent: Annotated[str, typer.Option("--agent", help="Only consumers that ask this agent.")] = "",
    values: Annotated[int, typer.Option("--values", min=1, max=100, help="Inputs for each consumer.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Of the inputs.")] = 1,
    real: Annotated[
        bool, typer.Option("--real", help="Ask the agents and servers of the configuration; nobody is mocked.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
) -> None:
    """Ask every consumer with valid and boundary inputs, or list what a change of schemas breaks."""
    configure_logs_for_tests()
    at = place(config, None)
    recorded = recorded_in(at.data)
    now = contracts_source(file or at.config, recorded)
    if against is not None:
        found = breaks(contracts_source(against, recorded).version, now.version)
        listed: list[Json] = [each.to_json() for each in found]
        show({"breaks": listed}, lambda: breaks_view(found), as_json=as_json)
        raise typer.Exit(FINDING if found else OK)
    if not real and not now.ready.scenario.mocks:
        raise Failure(
            "nobody is there to be asked",
            "Name a scenario file with mocks, or add --real to ask the configuration's own agents and servers.",
            code=USAGE,
        )
    order = ContractOrder(workflow=workflow, agent=agent, values=values, seed=seed)
    tested = run_contracts(replace(now.ready, real=real), order, now.version.tools)
    wrong = mismatches(replace(now.version, tools=tested.tools))
    said: list[Json] = [each.to_json() for each in tested.reports]
    misfits: list[Json] = [each.to_json() for each in wrong]
    show(
        {"consumers": said, "mismatches": misfits, "unknown": [*tested.unknown]},
        lambda: contracts_view(tested.reports, wrong, tested.unknown),
        as_json=as_json,
    )
    if wrong or not all_kept(tested.reports):
        raise typer.Exit(FINDING)


@app.command("load")
def load(
    file: Annotated[Path, typer.Argument(help="A scenario file.", show_default=False)],
    runs: Annotated[int, typer.Option("--runs", min=1, max=MOST_RUNS, help="How many runs.")] = 200,
    in_flight: Annotated[int, typer.Option("--in-flight", min=1, max=1000, help="How many at once.")] = 20,
    select: Annotated[list[str] | None, typer.Option("--select", help="Only scenarios of this name.")] = None,
    real: Annotated[
        bool, typer.Option("--real", help="Ask the agents and servers of the configuration; nobody is mocked.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a scenario many times at once in one gateway, in real time: throughput, p50, p99, failures."""
    configure_logs_for_tests()
    reports: list[LoadReport] = []
    for each in _ready([file], None, select or [], real=real):
        with progress(f"running {each.scenario.name}"):
            reports.append(run_load(each, LoadOrder(runs=runs, in_flight=in_flight)))
    listed: list[Json] = [each.to_json() for each in reports]
    show({"loads": listed}, lambda: load_view(reports), as_json=as_json)
    if any(each.failed for each in reports):
        raise typer.Exit(FINDING)


def _refuse_unwritable(junit_file: Path) -> None:
    """Raises: Failure: nobody should wait for runs whose report has no place."""
    try:
        refuse_unwritable_report(junit_file)
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise Failure(f"--junit {junit_file} cannot be written: {said}; nothing was run", code=USAGE) from error


def _ready(files: list[Path], instead: Path | None, select: list[str], *, real: bool) -> list[Ready]:
    """Every scenario that is wanted. Raises: Failure: there is none; ConfigurationError."""
    found = [each for file in files for each in ready_in(file, instead=instead, real=real)]
    names = [each.scenario.name for each in found]
    # One that is misspelled must not be taken for one that passed.
    if missing := [each for each in select if each not in names]:
        known = clean(", ".join(names))
        raise Failure(f"no scenario is called {clean(' or '.join(missing))}; there are {known}", code=USAGE)
    return selected(found, select)
