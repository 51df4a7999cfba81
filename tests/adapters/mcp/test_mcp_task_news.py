"""Whoever began a task hears where it stands on a stream of its own (SEP-2663), nobody else, and nothing unjudged."""

from typing import Any

import anyio
import pytest

from adapters.mcp.client_http import McpHttpUpstream
from adapters.mcp.door import McpDoor
from adapters.mcp.settings import ServerSettings
from adapters.mcp.tasks import EXTENSION, NOTIFICATION, exposed_id
from adapters.mcp.wire import CLIENT_CAPABILITIES_KEY, FOLLOWED, Answer, encode
from gateway.core.catalog import Shelf
from gateway.core.effects import Effects
from gateway.core.errors import Denied, GatewayError, InvalidRequest, Unavailable
from gateway.core.json import JsonObject, json_object
from gateway.core.limits import Limits
from gateway.core.model import Complete, Emit, Event, Log, Request, Result, principal
from gateway.core.pipeline import Pipeline
from gateway.core.plans import Policies, Snapshot
from gateway.core.ports.gateway import Identity
from gateway.testing.stores.effects import MemoryEffectLedger
from tests.adapters.mcp.test_mcp_client_http import MODERN, bench, legacy, message, modern, result
from tests.adapters.mcp.test_mcp_client_stdio import program
from tests.fakes import GRANT, ListAudit, Says
from tests.fakes_mcp_client import Seen, a_request, call, params, parts, said, structured, tool
from tests.fakes_mcp_door import Badges, Caller, Counting, ShopGateway, Ticking, opened, together
from tests.fakes_mcp_door import resource as listed_resource
from tests.fakes_mcp_door import tool as listed_tool
from tests.fakes_upstreams import Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio

DECLARED: JsonObject = {CLIENT_CAPABILITIES_KEY: {"extensions": {EXTENSION: {}}}}
REFUND = "tool:orders/refund"
TASK = exposed_id(REFUND, "sealed")


def listening(*ids: str) -> JsonObject:
    return {"notifications": {"taskIds": [*ids]}}


# At the door


class Work:
    """A task of the tool `refund`, as its server has it."""

    def __init__(self, refused: GatewayError | None = None) -> None:
        self.status = "working"
        self.more: JsonObject = {}
        self.followed = 0
        self.emit: Emit | None = None
        self.following = anyio.Event()
        self._refused = refused

    async def __call__(self, request: Request, emit: Emit) -> Result:
        if request.operation == "task.get":
            state: JsonObject = {"resultType": "complete", "taskId": TASK, "status": self.status, **self.more}
            return Complete(body=Answer(encode(state), era="modern"))
        assert request.operation == "task.subscribe"
        if self._refused is not None:
            raise self._refused
        self.followed += 1
        await emit(Log(level="debug", text=FOLLOWED))
        self.emit = emit
        self.following.set()
        await anyio.sleep_forever()
        raise AssertionError

    async def become(self, status: str) -> None:
        self.status = status
        assert self.emit is not None
        await self.emit(Log(level="debug", text=NOTIFICATION))


def shop(work: Work) -> ShopGateway:
    gateway = ShopGateway(listed_tool("refund"))
    gateway.abouts = {"orders": {"capabilities": {"extensions": {EXTENSION: {}}}}}
    gateway.runs[REFUND] = work
    return gateway


def told(visit: Any) -> list[JsonObject]:
    """Where the task stood, by the notifications of a stream."""
    return [each["params"] for each in visit.reply.events if each.get("method") == NOTIFICATION]


async def test_a_task_that_is_told_of_names_uris_as_they_are_said_here() -> None:
    work = Work()
    link: JsonObject = {"type": "resource_link", "uri": "file:///a", "name": "a"}
    work.more = {"result": {"content": [link]}}
    gateway = shop(work)
    gateway.change(*(listed_resource("file:///a", owner) for owner in ("orders", "stock")))
    async with opened(gateway) as door, together() as group:
        visit = Caller(door).modern("subscriptions/listen", listening(TASK), meta=DECLARED)
        group.start_soon(Caller(door).send, visit)
        await visit.until(b'"working"')
        door.stop()
    assert [each["result"] for each in told(visit)] == [{"content": [{**link, "uri": "orders+file:///a"}]}]


async def test_a_stream_tells_where_a_task_stands_until_it_is_over() -> None:
    work = Work()
    gateway = shop(work)
    async with opened(gateway) as door, together() as group:
        visit = Caller(door).modern("subscriptions/listen", listening(TASK), meta=DECLARED)
        group.start_soon(Caller(door).send, visit)
        await visit.until(b'"working"')
        await work.become("working")  # which is no news
        await work.become("input_required")
        await visit.until(b'"input_required"')
        await work.become("completed")
        await visit.until(b'"completed"')
        await anyio.wait_all_tasks_blocked()
        gateway.change()
        await anyio.wait_all_tasks_blocked()
        door.stop()
    acknowledged = visit.reply.events[0]["params"]
    assert acknowledged["notifications"] == {"taskIds": [TASK]}
    of_this_stream = acknowledged["_meta"]
    assert told(visit) == [
        {"taskId": TASK, "status": status, "_meta": of_this_stream}
        for status in ("working", "input_required", "completed")
    ]
    assert work.followed == 2, "once to know whether it is told of, once to tell"
    assert {(each.capability, each.operation) for each in gateway.requests} == {
        (REFUND, "task.subscribe"),
        (REFUND, "task.get"),
    }


async def test_where_a_task_stands_is_asked_as_whoever_the_holder_is_by_now() -> None:
    work, badges = Work(), Badges()
    gateway = shop(work)
    async with opened(gateway, badges=badges) as door, together() as group:
        visit = Caller(door).modern("subscriptions/listen", listening(TASK), meta=DECLARED)
        group.start_soon(Caller(door).send, visit)
        await visit.until(b'"working"')
        badges.known[b"Bearer ana"] = Identity(principal=principal("ana", roles=frozenset({"guest"})))
        await work.become("completed")
        await visit.until(b'"completed"')
        door.stop()
    asked = [each.principal.roles for each in gateway.requests if each.operation == "task.get"]
    assert asked[-1] == {"guest"}


@pytest.mark.parametrize("refused", [Denied("no"), InvalidRequest("polls only"), Unavailable("down")])
async def test_a_task_that_may_not_or_will_not_be_told_of_is_not_acknowledged(refused: GatewayError) -> None:
    async with opened(shop(Work(refused))) as door, together() as group:
        visit = Caller(door).modern("subscriptions/listen", listening(TASK, "no-id-of-ours"), meta=DECLARED)
        group.start_soon(Caller(door).send, visit)
        await visit.until(b"acknowledged")
        door.stop()
    assert visit.reply.events[0]["params"]["notifications"] == {}
    assert told(visit) == []


async def test_who_does_not_declare_tasks_is_told_that_it_has_to() -> None:
    async with opened(shop(Work())) as door:
        answer = await Caller(door).ask("subscriptions/listen", listening(TASK))
    assert (answer.status, answer.json["error"]["code"]) == (400, -32021)
    assert answer.json["error"]["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}


@pytest.mark.parametrize("wanted", ["x", {"a": 1}, [f"task-{number}" for number in range(300)]])
async def test_what_is_no_list_of_tasks_or_too_long_a_one_is_refused(wanted: Any) -> None:
    async with opened(shop(Work())) as door:
        asked: JsonObject = {"notifications": {"taskIds": wanted}}
        answer = await Caller(door).ask("subscriptions/listen", asked, meta=DECLARED)
    assert answer.json["error"]["code"] == -32602


async def test_where_no_server_has_tasks_nothing_is_promised() -> None:
    async with opened(ShopGateway(listed_tool("refund"))) as door, together() as group:
        visit = Caller(door).modern("subscriptions/listen", listening(TASK))
        group.start_soon(Caller(door).send, visit)
        await visit.until(b"acknowledged")
        door.stop()
    assert visit.reply.events[0]["params"]["notifications"] == {}


# Before the server


class TaskServer:
    """A modern server whose every call is a task."""

    def __init__(self, *, tells: bool = True) -> None:
        self.listening: list[Exchange] = []
        self.begun = anyio.Event()
        self._tells = tells

    def __call__(self, exchange: Exchange) -> None:
        asked = message(exchange)
        given = json_object(asked["params"])
        match asked["method"]:
            case "tools/list":
                listed: JsonObject = {"tools": [{"name": "refund", "inputSchema": {"type": "object"}}]}
                exchange.answer(result(exchange, {"resultType": "complete", **listed}))
            case "tools/call":
                exchange.answer(result(exchange, {"resultType": "task", "taskId": "theirs-1", "status": "working"}))
            case "tasks/get":
                state: JsonObject = {"taskId": given["taskId"], "status": "completed", "result": {"content": []}}
                exchange.answer(result(exchange, {"resultType": "complete", **state}))
            case _:
                ids = json_object(given["notifications"])["taskIds"]
                agreed: JsonObject = {"taskIds": ids} if self._tells else {}
                exchange.stream(note("notifications/subscriptions/acknowledged", {"notifications": agreed}))
                self.listening.append(exchange)
                self.begun.set()


def note(method: str, params: JsonObject) -> bytes:
    return encode({"jsonrpc": "2.0", "method": method, "params": params})


async def begun(upstream: McpHttpUpstream) -> str:
    return str(said(await call(upstream, tool(), a_request(params("modern"))))["taskId"])


async def test_a_server_is_listened_to_in_the_callers_name_under_its_own_id() -> None:
    server = TaskServer()
    heard: list[str] = []

    async def hear(event: Event) -> None:
        assert isinstance(event, Log)
        heard.append(event.text)

    async with bench(modern(server)) as (_, upstream):
        body = params("modern", taskId=await begun(upstream))
        async with together() as group:

            async def tell() -> None:
                await server.begun.wait()
                (stream,) = server.listening
                stream.event(note(NOTIFICATION, {"taskId": "another", "status": "failed"}))
                stream.event(note("notifications/message", {"level": "error", "data": "not for here"}))
                stream.event(note(NOTIFICATION, {"taskId": "theirs-1", "status": "completed"}))
                stream.event(result(stream, {"resultType": "complete"}))
                stream.end()

            group.start_soon(tell)
            with pytest.raises(Unavailable):
                await upstream.call(a_request(body, operation="task.subscribe", within_s=60), tool(), hear)
    assert heard == [FOLLOWED, NOTIFICATION]
    asked = json_object(message(server.listening[0])["params"])
    assert asked["notifications"] == {"taskIds": ["theirs-1"]}
    assert json_object(asked["_meta"])[CLIENT_CAPABILITIES_KEY] == {"elicitation": {"form": {}}}


async def test_a_server_that_does_not_agree_and_one_that_has_no_tasks_are_not_waited_for() -> None:
    async def hear(event: Event) -> None:
        raise AssertionError("nothing is told")

    async with bench(modern(TaskServer(tells=False))) as (_, upstream):
        body = params("modern", taskId=await begun(upstream))
        with pytest.raises(InvalidRequest, match="does not tell"):
            await upstream.call(a_request(body, operation="task.subscribe"), tool(), hear)
        with pytest.raises(InvalidRequest, match="no such task"):
            await upstream.call(a_request(body, operation="task.subscribe", subject="eve"), tool(), hear)
    async with bench(legacy(TaskServer())) as (_, upstream):
        with pytest.raises(InvalidRequest):
            await upstream.call(a_request(body, operation="task.subscribe"), tool(), hear)


PROGRAM = """
EXTENSION = "io.modelcontextprotocol/tasks"
MODERN["capabilities"] = {"tools": {}, "extensions": {EXTENSION: {}}}
def note(method, params, m=None):
    tag = {} if m is None else {"_meta": {"io.modelcontextprotocol/subscriptionId": m["id"]}}
    say({"jsonrpc": "2.0", "method": method, "params": {**params, **tag}})
calls, listens = [], []
def on(m):
    calls.append(m)
    if len(calls) == 1:
        answer(m, {"resultType": "task", "taskId": "theirs-1", "status": "working"})
        return
    note("notifications/message", {"level": "info", "data": "hello"})
    done(m, withdrawn=[x["params"]["requestId"] for x in seen if x["method"] == "notifications/cancelled"],
         listened=[x["id"] for x in listens], asked=listens[0]["params"])
    note("notifications/tasks", {"taskId": "theirs-1", "status": "failed"})
    note("notifications/tasks", {"taskId": "another", "status": "failed"}, listens[0])
    note("notifications/tasks", {"taskId": "theirs-1", "status": "completed"}, listens[0])
def other(m):
    ids = m.get("params", {}).get("notifications", {}).get("taskIds")
    if m["method"] == "subscriptions/listen" and ids:
        listens.append(m)
        note("notifications/subscriptions/acknowledged", {"notifications": {"taskIds": AGREED(ids)}}, m)
"""


async def test_a_program_is_listened_to_as_well_and_hears_when_nobody_wants_to_know() -> None:
    heard: list[str] = []
    following, changed = anyio.Event(), anyio.Event()

    async def hear(event: Event) -> None:
        assert isinstance(event, Log)
        heard.append(event.text)
        (following if event.text == FOLLOWED else changed).set()

    async with program(PROGRAM + "AGREED = lambda ids: ids\n") as upstream:
        body = params("modern", taskId=str(said(await call(upstream, tool(), a_request()))["taskId"]))
        with pytest.raises(InvalidRequest, match="no such task"):
            await upstream.call(a_request(body, operation="task.subscribe", subject="eve"), tool(), hear)
        async with together() as group:
            group.start_soon(upstream.call, a_request(body, operation="task.subscribe", within_s=120), tool(), hear)
            await following.wait()
            beside, lines = a_request(subject="bob"), Seen()
            first = structured(await upstream.call(beside, tool(), lines))
            await changed.wait()
            group.cancel_scope.cancel()
        second = structured(await call(upstream, tool(), a_request()))
    assert heard == [FOLLOWED, NOTIFICATION]
    assert json_object(first["asked"])["notifications"] == {"taskIds": ["theirs-1"]}
    assert [each.text for each in lines.events if isinstance(each, Log)] == ["hello"], "its own, though one listens"
    assert (first["withdrawn"], second["withdrawn"]) == ([], first["listened"])


async def test_a_program_that_does_not_agree_is_not_waited_for() -> None:
    async def hear(event: Event) -> None:
        raise AssertionError("nothing is told")

    async with program(PROGRAM + "AGREED = lambda ids: []\n") as upstream:
        body = params("modern", taskId=str(said(await call(upstream, tool(), a_request()))["taskId"]))
        with pytest.raises(InvalidRequest, match="does not tell"):
            await upstream.call(a_request(body, operation="task.subscribe"), tool(), hear)
        again = structured(await call(upstream, tool(), a_request()))
    assert again["withdrawn"] == again["listened"] != []


# The whole way


async def test_from_a_server_to_whoever_began_the_task_and_to_nobody_else() -> None:
    server, clock, limits = TaskServer(), Ticking(), Limits()

    def behave(exchange: Exchange) -> None:
        if message(exchange).get("method") == "server/discover":
            capabilities: JsonObject = {"tools": {}, "extensions": {EXTENSION: {}}}
            exchange.answer(result(exchange, {**MODERN, "capabilities": capabilities}))
        else:
            server(exchange)

    async with raw_server(behave) as raw:
        upstream = _upstream(raw)
        shelf = Shelf()
        shelf.add(upstream, "default")
        shelf.arrived("shop", await upstream.capabilities())
        pipeline = Pipeline(
            snapshot=Snapshot(version="1", catalog=shelf.catalog(), policies=Policies(requests=[Says(GRANT)])),
            audit=ListAudit(),
            effects=Effects(MemoryEffectLedger(), clock),
            clock=clock,
            ids=Counting(),
            limits=limits,
        )
        door = McpDoor(gateway=pipeline, authenticator=Badges(), clock=clock, ids=Counting(), limits=limits)
        with anyio.fail_after(60):
            async with door.running(), together() as group:
                ana, bob = Caller(door), Caller(door, key="bob")
                called = await ana.ask("tools/call", {"name": "shop__refund", "arguments": {}}, meta=DECLARED)
                task_id = called.json["result"]["taskId"]
                visits = [each.modern("subscriptions/listen", listening(task_id), meta=DECLARED) for each in (ana, bob)]
                for caller, visit in zip((ana, bob), visits, strict=True):
                    group.start_soon(caller.send, visit)
                await visits[0].until(b'"completed"')
                await visits[1].until(b"acknowledged")
                door.stop()
        await upstream.aclose()
    assert [(each["taskId"], each["status"]) for each in told(visits[0])] == [(task_id, "completed")]
    assert visits[1].reply.events[0]["params"]["notifications"] == {}
    assert told(visits[1]) == []


def _upstream(raw: RawServer) -> McpHttpUpstream:
    return McpHttpUpstream("shop", ServerSettings.model_validate({"url": raw.url}), parts())
