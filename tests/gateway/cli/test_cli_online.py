"""Commands that ask a running gateway, against the REST API on a real socket."""

import functools
import io
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from adapters.http.api_configuration import RefusedConfiguration
from adapters.storage.directory import DataDirectory, Endpoint
from gateway.cli.diagnosis import Finding, callers, in_force
from gateway.cli.failure import FINDING, OK, UNREACHABLE, USAGE
from gateway.cli.main import main
from gateway.cli.options import Place
from gateway.cli.remote import connect
from gateway.core.json import JsonObject
from gateway.core.limits import Usage
from gateway.core.model import Capability, principal
from gateway.core.ports.costs import Spent
from gateway.core.ports.dead_letters import DeadLetter
from tests.fakes_api import ApiBench, a_run, a_step
from tests.fakes_finding import REGISTERS
from tests.fakes_oauth import ISSUER, FakeAuthorizationServer

pytestmark = pytest.mark.anyio


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    code: int
    out: str
    err: str


class Shell:
    """Runs commands against a gateway of fakes."""

    def __init__(self, bench: ApiBench, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._bench = bench
        self._data = DataDirectory(root=root / ".drawbridge")
        self._config = root / "gateway.yaml"
        self._capsys = capsys

    @property
    def place(self) -> Place:
        return Place(config=self._config, data=self._data)

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        async with self._bench.serving() as url:
            self._data.prepare()
            self._data.operator_key.write_text("olga-key\n")
            self._data.write_endpoint(Endpoint(url=url, pid=1, started_at_us=1))
            with anyio.fail_after(60):
                yield

    async def __call__(self, *arguments: str) -> Said:
        given = [*arguments, "--config", str(self._config), "--data", str(self._data.root)]
        code = await anyio.to_thread.run_sync(functools.partial(main, given))
        out, err = self._capsys.readouterr()
        return Said(code=code, out=out, err=err)


@pytest.fixture
def bench() -> ApiBench:
    return ApiBench()


@pytest.fixture
async def shell(
    bench: ApiBench, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Shell]:
    monkeypatch.setenv("COLUMNS", "160")
    shell = Shell(bench, tmp_path, capsys)
    async with shell.serving():
        yield shell


async def test_agents_are_added_with_the_grant_to_paste_and_removed(bench: ApiBench, shell: Shell) -> None:
    added = await shell("agents", "add", "http://127.0.0.1:7/card", "--slug", "moves")
    listed = await shell("agents", "list")
    shown = await shell("agents", "show", "moves", "--json")
    removed = await shell("agents", "remove", "moves")
    assert (added.code, removed.code) == (OK, OK)
    assert "allow: ['agent:moves']" in added.out
    assert "moves" in listed.out
    assert json.loads(shown.out)["agentCard"]["version"] == "2.1"
    assert list(bench.agents.known) == ["refunds"]


async def test_what_the_gateway_refuses_exits_with_1_and_its_reason(shell: Shell) -> None:
    said = await shell("agents", "remove", "refunds")
    assert said.code == FINDING
    assert "it stands in the configuration" in said.err


async def test_tools_seen_as_somebody_name_what_is_hidden(shell: Shell) -> None:
    said = await shell("tools", "list", "--as", "bea")
    assert said.code == OK
    assert said.out.index("tool:orders/find") < said.out.index("Hidden from bea") < said.out.index("tool:orders/refund")
    assert "no rule grants this call [no-grant]" in said.out


async def test_descriptions_from_outside_cannot_steer_the_terminal(bench: ApiBench, shell: Shell) -> None:
    evil = Capability(name="tool:x/y", kind="tool", owner="x", local="y", description="\x1b]0;owned\x07[bold]hi")
    bench.directory.known.append(evil)
    said = await shell("tools", "list")
    assert "\x1b" not in said.out
    assert "[bold]hi" in said.out


async def test_one_tool_is_shown_as_json(shell: Shell) -> None:
    said = await shell("tools", "show", "tool:orders/refund", "--json")
    assert json.loads(said.out)["effect"] == "sink"


async def test_a_minted_key_that_nobody_would_see_is_not_minted(bench: ApiBench, shell: Shell) -> None:
    said = await shell("keys", "mint", "cai")
    assert said.code == USAGE
    assert bench.keys.rows == {}


async def test_a_minted_key_is_shown_on_demand_and_later_revoked(bench: ApiBench, shell: Shell) -> None:
    minted = await shell("keys", "mint", "cai", "--role", "support", "--expires", "30d", "--show")
    listed = await shell("keys", "list")
    revoked = await shell("keys", "revoke", "k1")
    again = await shell("keys", "revoke", "k1")
    assert minted.out == "drawbridge_k1_secret\n"
    assert bench.keys.rows["k1"].roles == {"support"}
    assert "secret" not in listed.out
    assert (revoked.code, again.code) == (OK, FINDING)


async def test_a_key_goes_into_a_file_only_its_owner_reads(shell: Shell, tmp_path: Path) -> None:
    said = await shell("keys", "mint", "cai", "--to", str(tmp_path / "cai.key"), "--json")
    file = tmp_path / "cai.key"
    assert "secret" not in said.out.replace(str(file), "")
    assert file.read_text() == "drawbridge_k1_secret\n"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("lifetime", ["soon", "0d", "-1h", "5"])
async def test_a_lifetime_that_is_none_mints_nothing(lifetime: str, bench: ApiBench, shell: Shell) -> None:
    said = await shell("keys", "mint", "cai", "--show", f"--expires={lifetime}")
    assert said.code == USAGE
    assert bench.keys.rows == {}


async def test_a_run_is_shown_as_a_tree(bench: ApiBench, shell: Shell) -> None:
    await bench.runs.open(a_run())
    await bench.runs.note_step(a_step("run_1/1"))
    await bench.runs.note_step(a_step("run_1/1/1", parent="run_1/1", state="denied", started=2))
    made: list[JsonObject] = [
        {
            "id": "rec_7",
            "phase": "outcome",
            "step_id": "run_1/1",
            "subject": "agent:refunds",
            "capability": "tool:orders/refund",
            "outcome": "denied",
            "rule": "refunds.deny[0]",
            "reason": "not today",
        },
        {
            "id": "rec_8",
            "phase": "outcome",
            "step_id": "run_1/1",
            "kind": "workflow",
            "capability": "agent:refunds",
            "outcome": "ok",
            "rule": "workflow:help.targets[0]",
        },
    ]
    bench.audit.records = made
    said = await shell("runs", "show", "--last")
    assert "denied  agent:refunds -> tool:orders/refund    refunds.deny[0]: not today" in said.out
    assert "ok  agent:refunds  2 ms  workflow:help.targets[0]" in said.out
    assert bench.audit.asked[0].run_id == "run_1"
    said = await shell("runs", "show", "run_1", "--json")
    assert json.loads(said.out)["calls"]["run_1/1"][0]["id"] == "rec_7"
    said = await shell("runs", "show", "run_0", "--last")
    assert (said.code, "which run: run_0, or the newest?" in said.err) == (USAGE, True)
    bench.audit.records = []
    said = await shell("runs", "show", "--last")
    assert [line.strip("│├└─ ").split("  ")[0] for line in said.out.splitlines() if "agent:" in line] == [
        "ok",
        "denied",
    ]
    assert "10 tokens (6 in, 4 out), 0.20 USD, m" in said.out


async def test_watching_ends_with_the_run_and_says_whether_it_completed(bench: ApiBench, shell: Shell) -> None:
    await bench.runs.open(a_run(state="failed"))
    await bench.runs.append("run_1", "a", {"kind": "status", "text": "looking"}, 1)
    said = await shell("runs", "watch", "run_1", "--json")
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert said.code == FINDING
    assert [each.get("seq") for each in lines] == [1, None]
    assert lines[-1]["run"]["state"] == "failed"


async def test_runs_are_steered(bench: ApiBench, shell: Shell) -> None:
    await bench.runs.open(a_run())
    canceled = await shell("runs", "cancel", "run_1")
    again = await shell("runs", "cancel", "run_1")
    resumed = await shell("runs", "resume", "run_1", "--json")
    assert (canceled.code, again.code) == (OK, FINDING)
    assert json.loads(resumed.out)["state"] == "working"


async def test_chaos_is_added_listed_and_removed(bench: ApiBench, shell: Shell) -> None:
    added = await shell("chaos", "add", "--target", "agent:refunds", "--fault", "kill", "--share", "0.2", "--for", "5m")
    listed = await shell("chaos", "list")
    removed = await shell("chaos", "remove", added.out.strip())
    again = await shell("chaos", "remove", added.out.strip())
    empty = await shell("chaos", "list", "--json")
    assert (added.code, removed.code, again.code) == (OK, OK, FINDING)
    assert "kill at agent:refunds until 2023-11-14 22:18:20" in added.err
    assert added.out.strip() in listed.out
    assert json.loads(empty.out) == {"injections": []}
    assert bench.chaos.of("default") == ()


async def test_what_became_of_a_fault_is_reported(bench: ApiBench, shell: Shell) -> None:
    nothing = await shell("chaos", "report", "c1")
    detail: JsonObject = {"chaos": [{"id": "c1", "fault": "kill"}], "breaker": "opened"}
    struck: JsonObject = {"id": "r1", "phase": "outcome", "capability": "agent:a", "outcome": "error"}
    record: JsonObject = {**struck, "detail": detail}
    bench.audit.records = [record]
    told = await shell("chaos", "report", "c1")
    assert "it struck no call" in nothing.out
    assert "kill: 1 calls struck, 0 more reached, stopped 1 times; it was part of no run" in told.out
    assert "the breaker" in told.out


async def test_a_fault_that_is_none_says_which_there_are(shell: Shell) -> None:
    said = await shell("chaos", "add", "--target", "agent:refunds", "--fault", "explode")
    assert said.code == USAGE
    assert "there are delay, kill" in said.err


async def test_a_key_that_cannot_be_kept_is_not_minted(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for to in (tmp_path, tmp_path / "file" / "key"):
        refused = await shell("keys", "mint", "ana", "--to", str(to))
        assert refused.code == FINDING
        assert str(tmp_path) in refused.err
        assert "internal" not in refused.err
    assert json.loads((await shell("keys", "list", "--json")).out)["keys"] == []


async def test_runs_are_paused_forked_and_forgotten(bench: ApiBench, shell: Shell) -> None:
    await bench.runs.open(a_run())
    paused = await shell("runs", "pause", "run_1")
    assert paused.err.strip().endswith("run_1 is paused")
    assert "paused" in (await shell("runs", "list")).out
    forked = await shell("runs", "fork", "run_1", "--from", "2/refund", "--json")
    assert json.loads(forked.out)["forkedFrom"] == {"run": "run_1", "step": "2/refund"}
    assert "goes on from 2/refund" in (await shell("runs", "show", "run_1_fork")).out
    pruned = await shell("runs", "prune", "--before", "2026-11-21T00:00:00Z")
    assert "3 runs, 2 effects, 1 task owners, 0 memories" in pruned.err
    assert "4 memories" in (await shell("runs", "prune", "--memories", "--before", "30d")).err
    assert (await shell("runs", "prune", "--before", "999999999w")).code == OK
    assert bench.retention.asked[0] == ("default", 1_795_219_200_000_000)
    assert bench.retention.memories == [False, True, False]
    assert (await shell("runs", "prune", "--before", "yesterday")).code != OK


async def test_dead_letters_are_looked_at_and_settled(bench: ApiBench, shell: Shell) -> None:
    for run_id in ("run_1", "run_2"):
        await bench.dead_letters.kept.add(a_letter(run_id))
    await bench.dead_letters.kept.add(replace(a_letter("run_3"), tenant="other"))
    listed = json.loads((await shell("dead", "list", "--json")).out)["deadLetters"]
    assert sorted(each["run"] for each in listed) == ["run_1", "run_2"]
    assert "tool:orders/find" in (await shell("dead", "list")).out
    assert "no stock" in (await shell("dead", "show", "run_1")).out
    retried = json.loads((await shell("dead", "retry", "run_1", "--json")).out)
    assert (retried["state"], retried["retriedAs"], retried["settledBy"]) == ("retried", "run_1", "olga")
    assert (await shell("dead", "drop", "run_2")).code == OK
    assert (await shell("dead", "drop", "run_2")).code == FINDING
    assert (await shell("dead", "show", "run_3")).code == FINDING
    assert json.loads((await shell("dead", "list", "--json")).out)["deadLetters"] == []
    assert len(json.loads((await shell("dead", "list", "--settled", "--json")).out)["deadLetters"]) == 2
    assert [each.operation for each in bench.gateway.records if each.operation.startswith("dead.")]


def a_letter(run_id: str) -> DeadLetter:
    return DeadLetter(
        run_id=run_id,
        tenant="default",
        workflow="help",
        owner="bea",
        cause="failed",
        reason="no stock",
        step=f"{run_id}/2",
        target="tool:orders/find",
        attempts=2,
        at_us=5,
    )


async def test_a_gateway_that_is_gone_exits_with_3(shell: Shell, tmp_path: Path) -> None:
    data = DataDirectory(root=tmp_path / ".drawbridge")
    data.write_endpoint(Endpoint(url="http://127.0.0.1:9", pid=1, started_at_us=1))
    said = await shell("agents", "list")
    assert said.code == UNREACHABLE


async def test_a_key_that_does_not_fit_says_where_to_look(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / ".drawbridge" / "keys" / "operator.key").write_text("other")
    said = await shell("agents", "list")
    assert said.code == FINDING
    assert "--data" in said.err


async def test_costs_are_shown_with_what_the_budgets_have_left(bench: ApiBench, shell: Shell) -> None:
    usage = Usage(calls=2, tokens=30, cost_usd=Decimal("0.0000001"), counted_tokens=30, models=("m-1",))
    bench.costs.rows = [Spent(day="2023-11-14", tenant="default", target="agent:a", workflow="", usage=usage)]
    limit = {
        "budget": "agent a",
        "limit": "calls_per_day",
        "most": "10",
        "spent": "2",
        "opensAt": "2023-11-15T00:00:00Z",
    }
    bench.costs.limits = [dict(limit)]
    said = await shell("costs", "--by", "agent")
    assert said.code == OK
    [head, row, _, _, budget] = [line.split() for line in said.out.splitlines() if line.strip() or line == ""]
    assert head[:3] == ["AGENT", "CALLS", "TOKENS"]
    assert row == ["a", "2", "30", "0", "0", "30", "0.0000001", "m-1"]
    assert budget[:5] == ["agent", "a", "calls_per_day", "2", "10"]
    assert json.loads((await shell("costs", "--json")).out)["total"]["calls"] == 2
    assert "Nothing was spent" in (await shell("costs", "--by", "workflow")).out
    assert (await shell("costs", "--by", "colour")).code == USAGE


async def test_doctor_says_nothing_of_agents_that_call_nobody(bench: ApiBench, shell: Shell) -> None:
    clerk = principal("agent:clerk", kind="agent", roles=frozenset({"clerk"}))
    bench.principals.known = (clerk, principal("agent:quote", kind="agent"))

    def looked() -> list[Finding]:
        with connect(shell.place) as remote:
            return [*callers(remote)]

    [finding] = await anyio.to_thread.run_sync(looked)
    assert (finding.about, finding.level) == ("principal agent:clerk", "warning")


async def test_what_stages_used_is_shown_as_far_as_it_is_kept(bench: ApiBench, shell: Shell) -> None:
    why: JsonObject = {"stages": {"quote": {"attempts": 2, "tokens": 30, "cost_usd": "0.1"}}}
    await bench.runs.open(replace(a_run(), output={"content": {"structured": {"why": why}}}))
    said = (await shell("costs", "--by", "stage", "--since", "1970-01-01")).out
    head, row = (line.split() for line in said.splitlines() if line.strip())
    assert head == ["STAGE", "CALLS", "TOKENS", "USD"]
    assert row == ["help/quote", "2", "30", "0.1"]


async def test_a_run_shows_which_tokens_it_used_on_which_models(bench: ApiBench, shell: Shell) -> None:
    await bench.runs.open(a_run())
    counted = Usage(calls=1, tokens=9, input_tokens=4, output_tokens=5, counted_tokens=9)
    await bench.runs.note_step(replace(a_step("run_1/1"), usage=counted))
    said = (await shell("runs", "show", "run_1")).out
    assert "10 tokens (6 in, 4 out), 0.20 USD, m" in said
    assert "about 9 tokens (4 in, 5 out)" in said


async def test_what_an_issuer_registered_the_gateway_as_is_listed_and_forgotten(bench: ApiBench, shell: Shell) -> None:
    issuer = FakeAuthorizationServer()
    issuer.about = REGISTERS
    client = await bench.accounts.registrations.client("crm", "default", issuer, {})
    await bench.accounts.registrations.client("theirs", "acme", issuer, {})
    before = await shell("tokens", "registrations", "--json")
    forgotten = await shell("tokens", "reregister", "crm")
    others = await shell("tokens", "reregister", "theirs")
    after = await shell("tokens", "registrations")

    (row,) = json.loads(before.out)["registrations"]
    assert (row["server"], row["issuer"]) == ("crm", ISSUER)
    assert client.secret is not None and client.secret.reveal() not in before.out
    assert (forgotten.code, others.code) == (OK, FINDING)
    assert "registered itself nowhere" in after.out
    assert [each.server for each in await bench.accounts.registered("acme")] == ["theirs"]
    said = [(each.operation, each.detail["server"], each.phase, each.outcome) for each in bench.gateway.records]
    assert said == [
        ("registrations.forget", "crm", "intent", ""),
        ("registrations.forget", "crm", "outcome", "ok"),
        ("registrations.forget", "theirs", "intent", ""),
        ("registrations.forget", "theirs", "outcome", "error"),
    ]


async def test_doctor_says_that_the_gateway_refuses_what_the_file_says(bench: ApiBench, shell: Shell) -> None:
    def found() -> list[Finding]:
        with connect(shell.place) as remote:
            return [*in_force(remote.get("status"))]

    assert await anyio.to_thread.run_sync(found) == []
    problem = "servers: no such thing"
    bench.reload.refused = RefusedConfiguration(at_us=1_767_225_600_000_000, cause="changed", problem=problem)
    [told] = await anyio.to_thread.run_sync(found)
    assert (told.about, told.level) == ("configuration", "error")
    assert "2026-01-01T00:00:00" in told.text
    assert told.text.endswith(f"goes by the one before: {problem}")


async def test_kept_bodies_are_erased_once_it_is_said_which_and_that_it_is_meant(
    bench: ApiBench, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.bodies.kept = 3
    assert (await shell("audit", "erase", "--yes")).code == USAGE
    assert bench.bodies.asked == []

    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    refused = await shell("audit", "erase", "--as", "ana")
    assert "Erase 3 bodies" in refused.err
    assert (refused.code, bench.bodies.kept) == (FINDING, 3)

    erased = await shell("audit", "erase", "--as", "ana", "--until", "2026-01-01T00:00:00Z", "--yes")
    nothing = await shell("audit", "erase", "secret", "--json")
    assert (erased.code, bench.bodies.kept) == (OK, 0)
    assert "3 bodies erased" in erased.err
    asked = bench.bodies.asked[-2]
    assert (asked.tenant, asked.subject, asked.until_us) == ("default", "ana", 1_767_225_600_000_000)
    assert json.loads(nothing.out) == {"erased": 0}
