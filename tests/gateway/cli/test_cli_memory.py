"""What agents remember, looked through and taken away from the command line."""

import json

import pytest

from gateway.cli.failure import OK, USAGE
from gateway.core.labels import CLEAN
from gateway.orchestration.messages.memories import Source
from tests.fakes_api import ApiBench
from tests.gateway.cli.test_cli_online import Shell, bench, shell

pytestmark = pytest.mark.anyio
__all__ = ["bench", "shell"]

BY = Source(run_id="run_1", step_id="run_1/2", agent="agent:refunds")


async def test_entries_are_searched_listed_and_forgotten(bench: ApiBench, shell: Shell) -> None:
    none = await shell("memory", "list")
    for text in ("refunds take \x1b[31mthree days", "parcels get lost"):
        await bench.memories.add("default", "desk", text, ["days"], BY, CLEAN)

    names = await shell("memory", "list")
    listed = await shell("memory", "list", "desk", "--json")
    found = await shell("memory", "search", "desk", "the refunds")
    forgotten = await shell("memory", "forget", "desk", json.loads(listed.out)["entries"][0]["id"])
    rest = await shell("memory", "forget", "desk", "--all", "--json")

    assert "No workflow has a memory" in none.out
    assert [line.split() for line in names.out.splitlines()][-1] == ["desk", "2"]
    assert len(json.loads(listed.out)["entries"]) == 2
    assert "agent:refunds" in found.out
    assert "\x1b[31m" not in found.out
    assert "parcels" not in found.out
    assert (forgotten.code, json.loads(rest.out)) == (OK, {"memory": "desk", "forgotten": 1})


@pytest.mark.parametrize("which", [(), ("m1", "--all"), ("--all", "--older-than", "3d"), ("--older-than", "long")])
async def test_what_is_to_be_forgotten_has_to_be_said_once(shell: Shell, which: tuple[str, ...]) -> None:
    assert (await shell("memory", "forget", "desk", *which)).code == USAGE
