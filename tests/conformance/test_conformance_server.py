"""The official conformance suite against a server, and against the gateway before the same server: none worse.

Every revision the suite knows; a server of both eras, and one that knows nothing after 2025-11-25. The table is printed
at the end of the run.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import pytest

from tests.conformance.conftest import KEY_OF
from tests.conformance.suite import RUNS, Outcome, Report, Run, passed, server_report, worse
from tests.e2e.gateways import Gateway, key_of

pytestmark = pytest.mark.e2e

AT_ONCE = 3
"""Runs of the suite side by side: it waits for most of its time."""
TRIES = 3
"""A busy machine loses frames that the suite waits half a second for: what came out worse is run again by itself."""
NEWEST = RUNS[-1].name

# The release in question agrees on a revision in which a server does not do this.
UNPASSED = {("latest release", "server-sse-polling"): {"server-sse-retry-field", "server-sse-priming-event"}}

Differences: TypeAlias = Mapping[tuple[str, str], frozenset[str]]
"""By run and scenario, the checks that are worse through the gateway."""

_MRTR = "input-required-result"

KNOWN: Mapping[str, Differences] = {
    "everything": {},
    # The suite looks for what a server of before 2026-07-28 never says to anybody, so that nobody can pass it on.
    "legacy": {
        # A key of the server's own, `user_name`. Until 2025-11-25 a question is a request with a number, without any
        # key, and nothing in the form is called that. It is asked all the same, under a key of the gateway's.
        (NEWEST, f"{_MRTR}-basic-elicitation"): frozenset(
            {"sep-2322-elicitation-incomplete", "sep-2322-elicitation-complete"}
        ),
        # Answers that come before the question, among others that belong to none, to be told apart by that key. To
        # take whichever would fit the form would have a person agree to what they were not asked.
        (NEWEST, f"{_MRTR}-ignore-extra-params"): frozenset({"sep-2322-ignore-unexpected-params"}),
        # Three questions in one result. This server does not ask the second before the first is answered; the gateway
        # passes on each when it comes, in as many rounds.
        (NEWEST, f"{_MRTR}-multiple-input-requests"): frozenset(
            {"sep-2322-multiple-inputs-incomplete", "sep-2322-multiple-inputs-complete"}
        ),
    },
}
"""By server behind the gateway. It may only shrink."""


@pytest.fixture(scope="module")
def direct(everything_url: str) -> Mapping[str, Report]:
    """What a busy machine made of a check is not what the gateway is measured by."""
    reports = {name: {**report} for name, report in _reports(lambda run: server_report(run, everything_url)).items()}
    for run in RUNS:
        for scenario, outcome in reports[run.name].items():
            for _ in range(TRIES - 1):
                if outcome.failed.keys() <= UNPASSED.get((run.name, scenario), set()):
                    break
                outcome = server_report(run, everything_url, scenarios=(scenario,)).get(scenario, outcome)
            reports[run.name][scenario] = outcome
    return reports


def test_the_everything_server_itself_passes_every_check(direct: Mapping[str, Report]) -> None:
    failed = {(run, scenario): {*each.failed} for run, report in direct.items() for scenario, each in report.items()}
    assert {where: checks for where, checks in failed.items() if checks} == UNPASSED
    assert len(direct[NEWEST]) > 60


@pytest.mark.parametrize("server", ["everything", "legacy"])
def test_no_scenario_is_worse_through_the_gateway(
    direct: Mapping[str, Report],
    gateway: Gateway,
    server: str,
    record_property: Callable[[str, object], None],
) -> None:
    url = f"http://localhost:{gateway.port}/mcp/{server}"
    key = key_of(KEY_OF)
    through = _reports(lambda run: server_report(run if server == "everything" else run.plain, url, key=key))
    found: dict[tuple[str, str], Mapping[str, str]] = {}
    for run in RUNS:
        for scenario, outcome in direct[run.name].items():
            if server == "legacy" and scenario.startswith("tasks-"):
                continue  # an extension, which no legacy server has
            said = worse(outcome, through[run.name].get(scenario, Outcome()))
            for _ in range(TRIES - 1):
                if said.keys() <= KNOWN[server].get((run.name, scenario), frozenset()):
                    break
                said = worse(outcome, server_report(run, url, key=key, scenarios=(scenario,)).get(scenario, Outcome()))
            if said:
                found[run.name, scenario] = said
    record_property("table", _table(server, direct, through))
    assert {each: said for each, said in found.items() if said.keys() != KNOWN[server].get(each)} == {}
    assert found.keys() == KNOWN[server].keys()


def _reports(ask: Callable[[Run], Report]) -> Mapping[str, Report]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # The longest first.
        reports = pool.map(ask, reversed(RUNS))
        return {run.name: report for run, report in zip(reversed(RUNS), reports, strict=True)}


def _table(server: str, direct: Mapping[str, Report], through: Mapping[str, Report]) -> str:
    lines = [f"MCP conformance, server `{server}` behind the gateway", f"{'':28}{'direct':>12}{'through':>12}"]
    for run in RUNS:
        counts = [passed(each[run.name]) for each in (direct, through)]
        lines.append(f"{run.name:28}{counts[0]:>12}{counts[1]:>12}")
    return "\n".join(lines)
