"""What operators get of the REST API, over a real socket."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal

import anyio
import anyio.lowlevel
import httpx2
import pytest

from adapters.http.api_configuration import RefusedConfiguration
from adapters.http.api_contract import ENDPOINTS, PREFIX
from gateway.core.errors import Unavailable
from gateway.core.json import JsonObject
from gateway.core.limits import Usage
from gateway.core.ports.costs import Spent
from tests.fakes import tool
from tests.fakes_api import OLGA, ApiBench, a_run, a_step

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def operator(bench: ApiBench, key: str = "olga-key") -> AsyncGenerator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with bench.serving() as url, httpx2.AsyncClient(base_url=url + PREFIX, headers=headers) as client:
        with anyio.fail_after(60):
            yield client


async def test_a_caller_without_a_key_is_told_to_bring_one_and_noted() -> None:
    bench = ApiBench()
    async with operator(bench, key="") as client:
        response = await client.get("/status")
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["code"] == 1401
    assert [(record.operation, record.outcome) for record in bench.gateway.records] == [("api.status", "denied")]


async def test_no_endpoint_serves_anybody_but_operators() -> None:
    bench = ApiBench()
    closed = [each for each in ENDPOINTS if not each.public and not each.for_everybody]
    async with operator(bench, key="bea-key") as client:
        for each in closed:
            response = await client.request(each.method, each.path.replace("{", "").replace("}", ""), json={})
            assert (each.id, response.status_code) == (each.id, 403)
            assert response.json()["error"]["rule"] == "operators-only"
            assert bench.gateway.records[-1].id == response.json()["error"]["record"]
    assert len(closed) == len(bench.gateway.records)


async def test_the_status_names_version_snapshot_and_upstreams() -> None:
    bench = ApiBench()
    bench.gateway.missing = {"calendar": "it cannot be reached"}
    async with operator(bench) as client:
        bench.clock.advance(90)
        status = (await client.get("/status")).json()
    missing = status.pop("notOffered")
    assert (len(missing), missing[0]) == (100, {"at": "/mcp", "name": "tool:orders/t0", "reason": "it has no name"})
    assert status == {
        "version": "0.1.0",
        "snapshot": "snap-1",
        "startedAt": "2023-11-14T22:13:20.000000Z",
        "now": "2023-11-14T22:14:50.000000Z",
        "uptimeSeconds": 90,
        "upstreams": [
            {
                "slug": "orders",
                "kind": "server",
                "state": "up",
                "reason": "",
                "capabilities": 2,
                "breakers": [],
                "dropped": [],
                "droppedCount": 0,
            }
        ],
        "gaps": {"calendar": "it cannot be reached"},
        "issuers": [{"name": "corp", "keys": 2, "ageSeconds": 61, "problem": ""}],
        "notOfferedCount": 101,
        "refusedConfiguration": None,
    }


async def test_looking_as_somebody_lists_what_is_hidden_and_why() -> None:
    bench = ApiBench()
    async with operator(bench) as client:
        said = (await client.get("/tools", params={"as": "bea"})).json()
    assert [each["name"] for each in said["tools"]] == ["tool:orders/find"]
    assert [(each["name"], each["why"]["rule"]) for each in said["hidden"]] == [("tool:orders/refund", "no-grant")]


async def test_what_only_a_run_may_call_is_in_nobodys_list() -> None:
    bench = ApiBench()
    bench.directory.known.append(tool("scratchpad_get", owner="run"))
    async with operator(bench) as client:
        everything = (await client.get("/tools")).json()
        seen = (await client.get("/tools", params={"as": "bea"})).json()
        counted = (await client.get("/principals")).json()["principals"]
    assert "run" not in {each["owner"] for each in [*everything["tools"], *seen["tools"], *seen["hidden"]]}
    assert {each["visible"] + each["hidden"] for each in counted} == {2}


async def test_what_access_allows_and_nobody_sees_is_not_explained_by_access() -> None:
    bench = ApiBench()
    bench.explainer.answer = {"decision": "allow", "rule": "support.allow[0]"}
    async with operator(bench) as client:
        hidden = (await client.get("/tools", params={"as": "bea"})).json()["hidden"]
    assert [each["why"]["rule"] for each in hidden] == ["not-access"]


async def test_one_tool_is_shown_with_its_definition() -> None:
    bench = ApiBench()
    async with operator(bench) as client:
        said = (await client.get("/tools", params={"name": "tool:orders/refund"})).json()
        missing = await client.get("/tools", params={"name": "tool:orders/none"})
    assert [each["effect"] for each in said["tools"]] == ["sink"]
    assert "definition" in said["tools"][0]
    assert missing.status_code == 404


async def test_principals_are_listed_with_how_much_they_see() -> None:
    bench = ApiBench()
    async with operator(bench) as client:
        said = (await client.get("/principals")).json()
    assert said["principals"] == [
        {"subject": "olga", "kind": "operator", "roles": ["owner"], "visible": 2, "hidden": 0},
        {"subject": "bea", "kind": "client", "roles": ["support"], "visible": 1, "hidden": 1},
    ]


async def test_an_agent_is_registered_shown_and_removed_and_each_change_is_recorded() -> None:
    bench = ApiBench()
    async with operator(bench) as client:
        added = await client.post("/agents", json={"url": "http://127.0.0.1:7/card", "slug": "moves"})
        shown = await client.get("/agents/moves")
        removed = await client.delete("/agents/moves")
        gone = await client.get("/agents/moves")
    assert (added.status_code, removed.status_code, gone.status_code) == (201, 204, 404)
    assert added.json()["agent"]["grant"] == "agent:moves"
    assert shown.json()["agent"]["agentCard"]["version"] == "2.1"
    seen = [(record.phase, record.operation, record.capability, record.outcome) for record in bench.gateway.records]
    assert seen == [
        ("intent", "agents.add", "agent:moves", ""),
        ("outcome", "agents.add", "agent:moves", "ok"),
        ("intent", "agents.remove", "agent:moves", ""),
        ("outcome", "agents.remove", "agent:moves", "ok"),
    ]


async def test_an_agent_of_the_configuration_is_not_removed() -> None:
    bench = ApiBench()
    async with operator(bench) as client:
        response = await client.delete("/agents/refunds")
    assert response.status_code == 409
    assert bench.gateway.records[-1].outcome == "error"
    assert "refunds" in bench.agents.known


@pytest.mark.parametrize(
    "body",
    [{"url": "http://a", "command": ["rm"]}, {"slug": "a"}, {"url": "http://a", "slug": "No"}, {"url": 3}, []],
    ids=["command", "no url", "bad slug", "number", "list"],
)
async def test_a_body_the_contract_does_not_allow_changes_nothing(body: object) -> None:
    bench = ApiBench()
    async with operator(bench) as client:
        response = await client.post("/agents", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, 1400)
    assert bench.gateway.records == []
    assert list(bench.agents.known) == ["refunds"]


@pytest.mark.parametrize("body", [b"{", b"[" * 20_000, b'"' + b"x" * 100_000 + b'"'], ids=["cut", "deep", "large"])
async def test_bytes_that_are_no_sensible_json_are_refused(body: bytes) -> None:
    async with operator(ApiBench()) as client:
        response = await client.post("/keys", content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, 1400)


@pytest.mark.parametrize("number", [b"1e400", b"NaN", b"9" * 5000], ids=["1e400", "NaN", "5000 digits"])
async def test_a_number_nobody_can_reckon_with_is_refused_with_its_place(number: bytes) -> None:
    async with operator(ApiBench()) as client:
        response = await client.post("/keys", content=b'{"subject": "cai", "ttl": %b}' % number)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, 1400)
    assert "column 27" in error["message"]


async def test_a_change_that_cannot_be_recorded_is_not_made() -> None:
    bench = ApiBench()
    bench.gateway.refuse = Unavailable("the audit log takes no more records", retry_after_s=2)
    async with operator(bench) as client:
        response = await client.post("/keys", json={"subject": "cai"})
    assert response.status_code == 503
    assert response.headers["retry-after"] == "2"
    assert bench.keys.rows == {}


async def test_a_key_is_shown_once_and_then_only_described() -> None:
    bench = ApiBench()
    async with operator(bench) as client:
        order = {"subject": "cai", "roles": ["support"], "expires_in_s": 60, "note": "laptop"}
        minted = await client.post("/keys", json=order)
        listed = await client.get("/keys")
        revoked = await client.delete("/keys/k1")
        again = await client.delete("/keys/k1")
    assert minted.status_code == 201
    assert minted.headers["cache-control"] == "no-store"
    assert minted.json()["secret"] == "drawbridge_k1_secret"
    assert minted.json()["key"]["expiresAt"] == "2023-11-14T22:14:20.000000Z"
    assert "secret" not in listed.text.replace("drawbridge_k1", "")
    assert (revoked.status_code, again.status_code) == (204, 404)
    assert bench.gateway.records[1].outcome == "ok"
    assert "secret" not in repr([record.detail for record in bench.gateway.records])


async def test_audit_filters_reach_the_reader() -> None:
    bench = ApiBench()
    kept: JsonObject = {"id": "rec_1", "seq": 8, "at_us": 1_000_000}
    bench.audit.records = [kept]
    query = {"subject": "bea", "call": "tool:orders/*", "outcome": "denied", "since": "2026-11-21T10:00:00+01:00"}
    async with operator(bench) as client:
        found = await client.get("/audit", params={**query, "after": "7", "limit": "5000"})
        one = await client.get("/audit/rec_1")
        none = await client.get("/audit/rec_2")
        wrong = await client.get("/audit", params={"since": "yesterday"})
    assert found.json() == one.json() == {"records": [{"id": "rec_1", "seq": 8, "at": "1970-01-01T00:00:01.000000Z"}]}
    asked = bench.audit.asked[0]
    assert (asked.tenant, asked.subject, asked.capability, asked.after) == ("default", "bea", "tool:orders/*", 7)
    assert (asked.since_us, asked.limit) == (1_795_251_600_000_000, 1000)
    assert (none.status_code, wrong.status_code) == (404, 400)


async def test_a_run_is_shown_as_a_tree_of_its_last_attempts() -> None:
    bench = ApiBench()
    await bench.runs.open(a_run())
    for step in (
        a_step("run_1/1", started=1),
        a_step("run_1/2", started=2, state="failed"),
        a_step("run_1/2", started=3, attempt=2),
        a_step("run_1/2/1", parent="run_1/2", started=4),
    ):
        await bench.runs.note_step(step)
    async with operator(bench) as client:
        run = (await client.get("/runs/run_1")).json()["run"]
        listed = (await client.get("/runs", params={"workflow": "help"})).json()["runs"]
    assert run["usage"] == {
        "calls": 3,
        "tokens": 10,
        "inputTokens": 6,
        "outputTokens": 4,
        "countedTokens": 0,
        "costUsd": "0.20",
        "models": ["m"],
    }
    assert [(step["id"], step["attempt"]) for step in run["steps"]] == [("run_1/1", 1), ("run_1/2", 2)]
    assert [earlier["state"] for earlier in run["steps"][1]["earlier"]] == ["failed"]
    assert [step["id"] for step in run["steps"][1]["steps"]] == ["run_1/2/1"]
    assert [each["id"] for each in listed] == ["run_1"]


async def test_another_tenants_run_does_not_exist() -> None:
    bench = ApiBench()
    await bench.runs.open(a_run(tenant="other"))
    async with operator(bench) as client:
        answers = [
            await client.get("/runs/run_1"),
            await client.get("/runs/run_1/events"),
            await client.post("/runs/run_1/cancel"),
            await client.get("/runs"),
        ]
    assert [response.status_code for response in answers] == [404, 404, 404, 200]
    assert answers[3].json() == {"runs": []}


async def test_runs_are_canceled_and_resumed_while_they_may_be() -> None:
    bench = ApiBench()
    await bench.runs.open(a_run())
    async with operator(bench) as client:
        canceled = await client.post("/runs/run_1/cancel")
        again = await client.post("/runs/run_1/cancel")
        resumed = await client.post("/runs/run_1/resume")
    assert (canceled.status_code, canceled.json()["run"]["state"]) == (202, "canceled")
    assert again.status_code == 409
    assert resumed.json()["run"]["state"] == "working"
    assert [record.detail for record in bench.gateway.records[:1]] == [{"run": "run_1"}]


async def test_events_go_on_behind_the_last_one_seen_until_the_run_ends() -> None:
    bench = ApiBench()
    await bench.runs.open(a_run())
    for text in ("one", "two"):
        await bench.runs.append("run_1", text, {"text": text}, 1)
    lines: list[str] = []
    async with operator(bench) as client, anyio.create_task_group() as group:

        async def follow() -> None:
            headers = {"last-event-id": "1"}
            async with client.stream("GET", "/runs/run_1/events", headers=headers) as response:
                lines.extend([line async for line in response.aiter_lines() if line])

        group.start_soon(follow)
        await bench.runs.waiting.wait()
        await bench.runs.append("run_1", "three", {"text": "three"}, 2)
        await bench.runs.update("run_1", state="completed", at_us=3)
    assert [line for line in lines if line.startswith("id:")] == ["id: 2", "id: 3"]
    assert lines[-2] == "event: end"
    assert '"state":"completed"' in lines[-1]


async def test_a_stream_ends_when_its_key_no_longer_counts() -> None:
    bench = ApiBench()
    await bench.runs.open(a_run())
    lines: list[str] = []
    async with operator(bench) as client, anyio.create_task_group() as group:

        async def follow() -> None:
            async with client.stream("GET", "/runs/run_1/events") as response:
                lines.extend([line async for line in response.aiter_lines() if line])

        group.start_soon(follow)
        await bench.runs.waiting.wait()
        del bench.authenticator.tokens["olga-key"]
        await bench.runs.append("run_1", "late", {}, 2)
    assert lines[-2:] == ["event: error", 'data: {"reason":"UNAUTHENTICATED"}']


async def test_more_streams_than_the_bound_are_refused_and_closed_ones_counted_back() -> None:
    bench = ApiBench()
    await bench.runs.open(a_run())
    async with operator(bench) as client:
        async with (
            client.stream("GET", "/runs/run_1/events"),
            client.stream("GET", "/runs/run_1/events") as second,
        ):
            assert second.status_code == 200
            refused = await client.get("/runs/run_1/events")
        await bench.runs.update("run_1", state="completed", at_us=3)
        after = await client.get("/runs/run_1/events")
        while after.status_code == 429:  # the server learns of a closed connection in its own time
            await anyio.lowlevel.checkpoint()
            after = await client.get("/runs/run_1/events")
    assert refused.status_code == 429
    assert "event: end" in after.text


@pytest.mark.parametrize(("tenant", "problem"), [("default", "servers.acme: wrong"), ("beta", "")])
async def test_why_a_configuration_was_refused_is_told_where_all_of_it_may_be_known(tenant: str, problem: str) -> None:
    bench = ApiBench()
    bench.reload.refused = RefusedConfiguration(at_us=1, cause="signal", problem="servers.acme: wrong")
    bench.authenticator.tokens["olga-key"] = replace(OLGA, tenant=tenant)
    async with operator(bench) as client:
        refused = (await client.get("/status")).json()["refusedConfiguration"]
    assert (refused["cause"], refused["problem"]) == ("signal", problem)


async def test_explain_hands_on_the_arguments_as_an_object() -> None:
    bench = ApiBench()
    params = {"as": "bea", "call": "tool:orders/refund"}
    async with operator(bench) as client:
        said = await client.get("/explain", params={**params, "args": '{"amount": 5}'})
        wrong = await client.get("/explain", params={**params, "args": "[1]"})
        unknown = await client.get("/explain", params={**params, "as": "nobody"})
        missing = await client.get("/explain", params={"as": "bea"})
    assert said.json()["rule"] == "no-grant"
    assert bench.explainer.asked == [("bea", "tool:orders/refund", {"amount": 5})]
    assert [wrong.status_code, unknown.status_code, missing.status_code] == [400, 404, 400]


async def test_reload_is_recorded_and_answers_the_new_version() -> None:
    bench = ApiBench()
    async with operator(bench) as client:
        said = await client.post("/reload")
    assert said.json() == {"version": "snap-2", "changed": True}
    assert [record.operation for record in bench.gateway.records] == ["config.reload", "config.reload"]


async def test_what_breaks_inside_shows_nothing_of_itself() -> None:
    bench = ApiBench()

    async def broken() -> JsonObject:
        raise RuntimeError("/secret/path")

    bench.parts = replace(bench.parts, reload=broken)
    async with operator(bench) as client:
        response = await client.post("/reload")
    assert (response.status_code, response.json()["error"]["code"]) == (500, 1500)
    assert "secret" not in response.text
    assert bench.gateway.records[-1].outcome == "error"


async def test_unknown_paths_and_methods_are_json_errors_too() -> None:
    async with operator(ApiBench()) as client:
        path = await client.get("/nothing")
        method = await client.delete("/status")
    assert (path.status_code, path.json()["error"]["reason"]) == (404, "NOT_FOUND")
    assert method.status_code == 405


async def test_the_contract_is_public_and_names_every_endpoint() -> None:
    async with operator(ApiBench(), key="") as client:
        document = (await client.get("/openapi.json")).json()
    named = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert named == {(each.method, PREFIX + each.path) for each in ENDPOINTS}


async def test_costs_are_added_up_by_what_is_asked_for() -> None:
    bench = ApiBench()
    day = "2023-11-14"
    bench.costs.rows = [
        Spent(day=day, tenant="default", target="agent:a", workflow="help", usage=Usage(calls=1, tokens=5)),
        Spent(
            day=day, tenant="default", target="agent:b", workflow="help", usage=Usage(calls=2, cost_usd=Decimal("0.1"))
        ),
        Spent(day="2023-11-13", tenant="default", target="tool:o/x", workflow="", usage=Usage(calls=4)),
        Spent(day=day, tenant="other", target="agent:a", workflow="help", usage=Usage(calls=99)),
    ]
    bench.costs.limits = [{"budget": "tenant default", "limit": "calls_per_day", "most": "10", "spent": "7"}]
    await bench.runs.open(a_run())
    async with operator(bench) as client:

        async def by(name: str, **more: str) -> dict[str, int]:
            said = (await client.get("/costs", params={"by": name, **more})).json()
            return {row["name"]: row["usage"]["calls"] for row in said["rows"]}

        assert await by("agent") == {"b": 2, "a": 1}
        assert await by("tool") == {"o/x": 4}
        assert await by("workflow") == {"help": 3}
        assert await by("tenant") == {"default": 7}
        assert await by("day") == {day: 3, "2023-11-13": 4}
        assert await by("day", since=day) == {day: 3}
        assert await by("run", since="1970-01-01") == {"run_1": 3}
        assert await by("run") == {}
        await bench.runs.note_step(replace(a_step("run_1/2/pay"), usage=Usage(calls=2)))
        assert await by("step", since="1970-01-01") == {"help/pay": 2}
        assert await by("stage", since="1970-01-01") == {}
        said = (await client.get("/costs")).json()
        assert said["total"]["costUsd"] == "0.1"
        assert said["budgets"] == bench.costs.limits
        assert (await client.get("/costs", params={"by": "colour"})).status_code == 400
        assert (await client.get("/costs", params={"since": "yesterday"})).status_code == 400


async def test_advice_is_on_a_run_or_on_a_workflow_and_not_on_both() -> None:
    async with operator(ApiBench()) as client:
        said = (await client.get("/advice", params={"run": "run_1"})).json()["advice"]
        both = await client.get("/advice", params={"run": "run_1", "workflow": "help"})
        neither = await client.get("/advice")
    assert said["about"] == "run_1"
    assert said["granted"] == [each.name for each in ApiBench().gateway.shown["bea"] if each.kind == "tool"]
    assert (both.status_code, neither.status_code) == (400, 400)


async def test_load_says_what_is_under_way_what_fails_and_what_memory_was_good_for() -> None:
    async with operator(ApiBench()) as client:
        said = (await client.get("/load")).json()
    orders, refunds = said["owners"]
    assert orders == {
        "owner": "orders",
        "inFlight": 3,
        "waiting": 2,
        "concurrency": 3,
        "queue": 10,
        "capabilities": [
            {"name": "tool:orders/refund", "inFlight": 1, "waiting": 0, "concurrency": 1, "queue": 10},
        ],
        "breakers": [],
        "answers": {"hits": 3, "misses": 1, "stale": 0, "hitRate": 0.75},
    }
    assert refunds["breakers"] == [
        {"target": "agent:refunds", "state": "open", "failures": 3, "retryAfterSeconds": 12.3},
    ]
    assert refunds["answers"]["hitRate"] is None
    assert (said["answers"], said["answersBytes"]) == (1, 200)


async def test_chaos_is_ordered_listed_ended_and_recorded() -> None:
    bench = ApiBench()
    order = {"target": "agent:refunds", "fault": "delay=2s", "share": 0.2, "for_s": 60}
    async with operator(bench) as client:
        added = await client.post("/chaos", json=order)
        listed = (await client.get("/chaos")).json()
        injection = added.json()["injection"]
        ended = await client.delete(f"/chaos/{injection['id']}")
        again = await client.delete(f"/chaos/{injection['id']}")
    assert (added.status_code, ended.status_code, again.status_code) == (201, 204, 404)
    assert listed["injections"] == [injection]
    assert injection == {
        "id": injection["id"],
        "target": "agent:refunds",
        "fault": "delay=2s",
        "share": 0.2,
        "seed": 0,
        "by": "olga",
        "until": "2023-11-14T22:14:20.000000Z",
        "calls": 0,
        "struck": 0,
    }
    noted = [(each.operation, each.phase, each.outcome) for each in bench.gateway.records]
    assert noted[:2] == [("chaos.add", "intent", ""), ("chaos.add", "outcome", "ok")]
    assert bench.gateway.records[0].detail["fault"] == "delay=2s"


@pytest.mark.parametrize(
    "wrong", [{}, {"fault": "explode"}, {"share": 0}, {"share": 2}, {"for_s": 0}, {"for_s": 1e9}, {"more": 1}]
)
async def test_a_wrong_order_of_chaos_is_refused(wrong: JsonObject) -> None:
    bench = ApiBench()
    order = {"target": "agent:refunds", "fault": "kill", **wrong} if wrong else {}
    async with operator(bench) as client:
        assert (await client.post("/chaos", json=order)).status_code == 400
    assert bench.chaos.of("default") == ()
