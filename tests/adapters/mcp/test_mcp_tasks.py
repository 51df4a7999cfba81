"""Tasks of MCP servers through the gateway: their ids are their callers' own, and lead back to the right server."""

import pytest

from adapters.mcp.tasks import EXTENSION, exposed_id, parts_of
from adapters.mcp.wire import CLIENT_CAPABILITIES_KEY, Answer
from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject, json_object
from gateway.core.model import Complete, Emit, Request, Result
from tests.adapters.mcp.test_mcp_client_http import bench, legacy, message, modern, result
from tests.fakes_mcp_client import a_request, call, params, said, tool
from tests.fakes_mcp_door import Caller, ShopGateway, opened
from tests.fakes_mcp_door import tool as listed_tool
from tests.fakes_upstreams import Exchange

pytestmark = pytest.mark.anyio

BEGUN: JsonObject = {"resultType": "task", "taskId": "theirs-1", "status": "working", "ttlMs": None}
DECLARED: JsonObject = {CLIENT_CAPABILITIES_KEY: {"extensions": {EXTENSION: {}}}}
METHODS = ("tasks/get", "tasks/update", "tasks/cancel")


def tasks_server(exchange: Exchange) -> None:
    begins = message(exchange)["method"] == "tools/call"
    asked = json_object(message(exchange)["params"]).get("taskId")
    more: JsonObject = {"resultType": "complete", "taskId": asked, "status": "completed", "result": {"content": []}}
    exchange.answer(result(exchange, BEGUN if begins else more))


async def test_a_task_is_known_to_its_caller_by_an_id_of_its_own() -> None:
    async with bench(modern(tasks_server)) as (server, upstream):
        begun = said(await call(upstream, tool(), a_request(params("modern"))))
        task_id = str(begun["taskId"])
        assert {**begun, "taskId": "theirs-1"} == BEGUN
        assert "theirs" not in task_id
        assert parts_of(task_id)[0] == tool().name
        got = said(await call(upstream, tool(), a_request(params("modern", taskId=task_id), operation="task.get")))
    assert got["taskId"] == task_id
    asked = server.exchanges[-1]
    assert message(asked)["method"] == "tasks/get"
    assert json_object(message(asked)["params"])["taskId"] == "theirs-1"
    assert asked.headers[b"mcp-name"] == b"theirs-1"


async def test_a_task_of_another_caller_or_tool_does_not_exist() -> None:
    async with bench(modern(tasks_server)) as (server, upstream):
        task_id = str(said(await call(upstream, tool(), a_request(params("modern"))))["taskId"])
        before = len(server.exchanges)
        body = params("modern", taskId=task_id)
        with pytest.raises(InvalidRequest, match="no such task"):
            await call(upstream, tool(), a_request(body, operation="task.get", subject="eve"))
        with pytest.raises(InvalidRequest, match="no such task"):
            await call(upstream, tool("other"), a_request(body, operation="task.cancel"))
        assert len(server.exchanges) == before


async def test_a_legacy_server_has_no_tasks_to_ask_about() -> None:
    async with bench(legacy(tasks_server)) as (_, upstream):
        with pytest.raises(InvalidRequest):
            await call(upstream, tool(), a_request(params("modern", taskId="x.y"), operation="task.get"))


def gateway_with_tasks() -> ShopGateway:
    async def run(request: Request, emit: Emit) -> Result:
        return Complete(body=Answer(b'{"resultType":"complete"}', era="modern"))

    gateway = ShopGateway(listed_tool("refund"))
    gateway.abouts = {"orders": {"capabilities": {"extensions": {EXTENSION: {}}}}}
    gateway.runs["tool:orders/refund"] = run
    return gateway


@pytest.mark.parametrize("method", METHODS)
async def test_a_question_about_a_task_is_a_call_of_the_tool_it_is_a_task_of(method: str) -> None:
    gateway = gateway_with_tasks()
    task_id = exposed_id("tool:orders/refund", "sealed")
    async with opened(gateway) as door:
        caller = Caller(door)
        visit = caller.modern(method, {"taskId": task_id}, meta=DECLARED, mcp_name=task_id)
        assert (await caller.send(visit)).json["result"] == {"resultType": "complete"}
    assert [(each.capability, each.operation) for each in gateway.requests] == [
        ("tool:orders/refund", method.replace("tasks/", "task."))
    ]


@pytest.mark.parametrize("method", METHODS)
async def test_who_does_not_declare_tasks_is_told_that_it_has_to(method: str) -> None:
    async with opened(gateway_with_tasks()) as door:
        caller = Caller(door)
        answer = await caller.send(caller.modern(method, {"taskId": "x"}, mcp_name="x"))
    assert (answer.status, answer.json["error"]["code"]) == (400, -32021)
    assert answer.json["error"]["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}


@pytest.mark.parametrize(
    ("task_id", "name", "code"), [("x", "x", -32602), ("!.sealed", "!.sealed", -32602), ("x", "y", -32020)]
)
async def test_an_id_nobody_gave_and_a_header_that_names_another_are_refused(
    task_id: str, name: str, code: int
) -> None:
    async with opened(gateway_with_tasks()) as door:
        caller = Caller(door)
        visit = caller.modern("tasks/get", {"taskId": task_id}, meta=DECLARED, mcp_name=name)
        assert (await caller.send(visit)).json["error"]["code"] == code


async def test_where_no_server_has_tasks_there_is_no_such_method() -> None:
    async with opened(ShopGateway(listed_tool("refund"))) as door:
        caller = Caller(door)
        answer = await caller.send(caller.modern("tasks/get", {"taskId": "x"}, meta=DECLARED, mcp_name="x"))
    assert (answer.status, answer.json["error"]["code"]) == (404, -32601)
