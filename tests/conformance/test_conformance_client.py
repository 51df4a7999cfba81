"""The official conformance suite at a client, and at the gateway in that client's place: none worse.

The suite starts a server for each scenario. The official SDK visits it directly, and then a gateway before it, so that
the client whom the suite sees is the gateway. The table is printed at the end of the run.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from anyio import to_thread

from tests.conformance.acts import act
from tests.conformance.conftest import KEY_OF
from tests.conformance.crowd import Crowd
from tests.conformance.signing_in import sdk_auth
from tests.conformance.suite import CLIENT_RUNS, Outcome, Report, Run, client_report, passed, worse
from tests.conformance.visits import Visit, Visitor, visited_by
from tests.e2e.gateways import Gateway

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

TRIES = 3
"""What came out worse is run again by itself: the suite measures by the clock how soon a client comes back."""

UNVISITED: Mapping[str, str] = {
    "auth/dpop": "an extension that neither the SDK nor the gateway has: tokens bound to a key",
    "auth/dpop-nonce": "see auth/dpop",
    "auth/enterprise-managed-authorization": "an extension the gateway has not: a grant by an identity provider's word",
    "auth/wif-jwt-bearer": "an extension the gateway has not: a grant by a workload's own token",
    "sep-2640-client-no-prefetch": "skills are read by hosts; a gateway is none",
    "sep-2640-client-verify-digest": "see sep-2640-client-no-prefetch",
    "sep-2640-client-verify-frontmatter": "see sep-2640-client-no-prefetch",
    "sep-2640-client-verify-size": "see sep-2640-client-no-prefetch",
    "auth/cross-app-access-complete-flow": "auth/enterprise-managed-authorization, as the latest release calls it",
}
"""Scenarios that are not run, each with the reason."""

CONFIGURATION = {
    # The suite's issuers are on this machine, at any port.
    "egress": {"allow": ["127.0.0.0/8", "::1", "localhost"], "ports": []},
    "roles": {"all": {"allow": ["tool:*/*", "prompt:*/*", "resource:*/**"]}},
    "principals": {KEY_OF: {"roles": ["all"], "key": f"env:{KEY_OF.upper()}_KEY"}},
}


async def test_no_scenario_is_worse_at_the_gateway_than_at_the_sdk(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    gateway = Gateway(tmp_path, CONFIGURATION, environment={})
    direct: dict[Run, Report] = {}
    through: dict[Run, Report] = {}
    found: dict[tuple[str, str], Mapping[str, str]] = {}
    try:
        for number, run in enumerate(CLIENT_RUNS):
            direct[run] = await _reported(run, _as_the_sdk)
            through[run] = await _reported(run, Crowd(gateway, f"r{number}-", len(direct[run])).visit)
            for scenario, outcome in direct[run].items():
                said = worse(outcome, through[run].get(scenario, Outcome()))
                for again in range(TRIES - 1):
                    if not said:
                        break
                    alone = Crowd(gateway, f"r{number}-{len(found)}-{again}-", 1)
                    report = await _reported(run, alone.visit, scenario)
                    said = worse(outcome, report.get(scenario, Outcome()))
                if said:
                    found[run.name, scenario] = said
    finally:
        gateway.close()
    record_property("table", _table(direct, through))
    assert found == {}


async def _as_the_sdk(visit: Visit) -> None:
    await act(replace(visit, auth=sdk_auth(visit)))


async def _reported(run: Run, visitor: Visitor, scenario: str = "") -> Report:
    async with visited_by(visitor) as command:
        return await to_thread.run_sync(lambda: client_report(run, command, scenario=scenario))


def _table(direct: Mapping[Run, Report], through: Mapping[Run, Report]) -> str:
    lines = ["MCP conformance, the gateway as a client", f"{'':28}{'direct':>12}{'through':>12}"]
    lines += [f"{run.name:28}{passed(direct[run]):>12}{passed(through[run]):>12}" for run in CLIENT_RUNS]
    return "\n".join(lines)
