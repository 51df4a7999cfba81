"""Batches of MCP 2025-03-26 at the door: whose they may be, and what becomes of each message in them."""

from typing import Any, cast

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.mcp.batch_door import AT_ONCE
from adapters.mcp.door import McpDoor
from adapters.mcp.exchange import Pace
from adapters.mcp.refusals import CANCELED, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR
from adapters.mcp.wire import Answer
from gateway.core.content import plain
from gateway.core.errors import Denied
from gateway.core.json import Json, JsonObject
from gateway.core.limits import Limits
from gateway.core.model import Complete, Emit, InputRequired, Progress, Request, Result
from tests.fakes_mcp_door import ANA, BOB, Caller, Reply, ShopGateway, Visit, failing, opened, together, tool

pytestmark = pytest.mark.anyio

REVISION = "2025-03-26"


async def member(door: McpDoor, key: str = "ana", *, version: str = REVISION) -> Caller:
    """A client with a session."""
    caller = Caller(door, key=key)
    await caller.initialize(version)
    return caller


def batch(caller: Caller, *elements: Any, **headers: str) -> Visit:
    raw = b"[" + b",".join(each if isinstance(each, bytes) else msgspec.json.encode(each) for each in elements) + b"]"
    return caller.visit(raw, **{"mcp_session_id": caller.session, **headers})


def asks(request_id: Json, method: str, **params: Json) -> JsonObject:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def calls(request_id: Json, name: str = "orders__refund", **more: Json) -> JsonObject:
    return asks(request_id, "tools/call", name=name, arguments={}, **more)


def tells(method: str, **params: Json) -> JsonObject:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def cancels(request_id: Json) -> JsonObject:
    return tells("notifications/cancelled", requestId=request_id)


def codes(reply: Reply) -> list[tuple[Json, int]]:
    """Ids and error codes, 0 where there is a result."""
    return [(each["id"], each.get("error", {}).get("code", 0)) for each in reply.json]


async def test_each_message_is_answered_judged_and_refused_by_itself_in_the_order_of_the_requests() -> None:
    gateway = ShopGateway(tool("refund"), tool("close"))
    gateway.runs["tool:orders/close"] = failing(Denied("not for you", detail={"policy": "access"}))
    async with opened(gateway) as door:
        caller = await member(door)
        reply = await caller.send(
            batch(
                caller,
                calls("a"),
                calls(2, "orders__close"),
                tells("notifications/roots/list_changed"),
                calls(3, "orders__nothing"),
                asks(4, "vendor/unknown"),
                7,
                asks(5, "ping"),
                {"jsonrpc": "2.0", "id": 6},
                {"jsonrpc": "1.0", "id": 8, "method": "ping"},
                [asks(9, "ping")],
                asks(10, "tools/list"),
            )
        )
    assert (reply.status, reply.headers[b"content-type"]) == (200, b"application/json")
    assert codes(reply) == [
        ("a", 0),
        (2, 0),
        (3, INVALID_PARAMS),
        (4, METHOD_NOT_FOUND),
        (None, INVALID_REQUEST),
        (5, 0),
        (6, INVALID_REQUEST),
        (8, INVALID_REQUEST),
        (None, INVALID_REQUEST),
        (10, 0),
    ]
    assert reply.json[1]["result"]["isError"] is True
    assert [each["name"] for each in reply.json[-1]["result"]["tools"]] == ["orders__close", "orders__refund"]
    assert sorted(each.capability for each in gateway.requests) == [
        "tool:orders/close",
        "tool:orders/nothing",
        "tool:orders/refund",
    ]
    assert {each.principal for each in gateway.requests} == {ANA}


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25"])
async def test_no_other_revision_has_batches(version: str) -> None:
    gateway = ShopGateway(tool("refund"))
    async with opened(gateway) as door:
        caller = await member(door, version=version)
        reply = await caller.send(batch(caller, calls(1)))
    assert (reply.status, reply.json["error"]["code"], reply.json["id"]) == (400, INVALID_PARAMS, None)
    assert REVISION in reply.json["error"]["message"]
    assert gateway.requests == []


async def test_a_modern_request_cannot_come_in_a_batch() -> None:
    gateway = ShopGateway(tool("refund"))
    meta: JsonObject = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    async with opened(gateway) as door:
        caller = await member(door)
        whole = await caller.send(batch(caller, calls(1), mcp_protocol_version="2026-07-28"))
        alone = await caller.send(batch(caller, calls(1, _meta=meta), asks(2, "ping")))
    assert (whole.status, whole.json["error"]["code"]) == (400, INVALID_REQUEST)
    assert codes(alone) == [(1, INVALID_REQUEST), (2, 0)]
    assert gateway.requests == []


REFUSED: dict[str, tuple[bytes, int]] = {
    "empty": (b" [ ] ", INVALID_REQUEST),
    "initialize": (msgspec.json.encode([calls(1), asks(2, "initialize", protocolVersion=REVISION)]), INVALID_REQUEST),
    "too many": (b"[" + b"1," * 50 + b"1]", INVALID_REQUEST),
    "half": (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}', PARSE_ERROR),
    "two": (b"[1][2]", PARSE_ERROR),
    "not utf-8": (b'[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\xff"}}]', PARSE_ERROR),
    "10,000 levels": (b"[" * 10_000 + b"]" * 10_000, PARSE_ERROR),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_batch_that_is_wrong_as_a_whole_does_nothing(what: str) -> None:
    body, code = REFUSED[what]
    gateway = ShopGateway(tool("refund"))
    async with opened(gateway) as door:
        caller = await member(door)
        reply = await caller.send(caller.visit(body, mcp_session_id=caller.session))
    assert (reply.status, reply.json["error"]["code"], reply.json["id"]) == (400, code, None)
    assert gateway.requests == []


async def test_an_element_nested_too_deeply_is_refused_alone() -> None:
    deep = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"[" * 64 + b"]" * 64 + b"}}"
    async with opened(ShopGateway()) as door:
        caller = await member(door)
        reply = await caller.send(batch(caller, deep, asks(2, "ping")))
    assert codes(reply) == [(None, INVALID_REQUEST), (2, 0)]


async def test_a_session_that_is_unknown_or_somebody_elses_is_refused() -> None:
    gateway = ShopGateway(tool("refund"))
    async with opened(gateway) as door:
        ana, bob = await member(door), Caller(door, key="bob")
        bob.session = ana.session
        replies = [await bob.send(batch(bob, calls(1))), await ana.send(batch(ana, calls(1), mcp_session_id=""))]
    assert [each.status for each in replies] == [404, 400]
    assert gateway.requests == []


async def test_batches_can_be_switched_off() -> None:
    async with opened(ShopGateway(), limits=Limits(batch_messages=0)) as door:
        caller = await member(door)
        reply = await caller.send(batch(caller, asks(1, "ping")))
    assert (reply.status, reply.json["error"]["code"]) == (400, INVALID_REQUEST)


async def test_what_has_no_answer_is_taken_with_202_and_an_empty_body() -> None:
    async with opened(ShopGateway()) as door:
        caller = await member(door)
        told = await caller.send(batch(caller, tells("notifications/initialized"), tells("notifications/x/y")))
        answered = await caller.send(batch(caller, {"jsonrpc": "2.0", "id": "nobody-asked", "result": {}}))
    assert [(each.status, each.body) for each in (told, answered)] == [(202, b"")] * 2


def parallel(under_way: list[int], most: list[int], all_there: anyio.Event, count: int) -> Any:
    async def run(request: Request, emit: Emit) -> Result:
        under_way.append(1)
        most.append(len(under_way))
        if len(most) >= count:
            all_there.set()
        await all_there.wait()
        under_way.pop()
        return Complete(body=plain("done"))

    return run


async def test_a_bounded_number_is_under_way_at_once() -> None:
    gateway = ShopGateway(tool("refund"))
    most: list[int] = []
    gateway.runs["tool:orders/refund"] = parallel([], most, anyio.Event(), AT_ONCE)
    async with opened(gateway) as door:
        caller = await member(door)
        reply = await caller.send(batch(caller, *(calls(number) for number in range(40))))
    assert codes(reply) == [(number, 0) for number in range(40)]
    assert max(most) == AT_ONCE


async def test_what_waits_for_the_others_too_long_is_not_begun() -> None:
    gateway = ShopGateway(tool("refund"))
    let_go = anyio.Event()

    async def run(request: Request, emit: Emit) -> Result:
        await let_go.wait()
        return Complete(body=plain("done"))

    gateway.runs["tool:orders/refund"] = run
    async with opened(gateway, limits=Limits(call_timeout_s=0.3)) as door, together() as group:
        caller = await member(door)
        visit = batch(caller, *(calls(number) for number in range(AT_ONCE + 2)), accept="text/event-stream")
        group.start_soon(caller.send, visit)
        await visit.until(b'"id":9')
        let_go.set()
    answers = {each["id"]: each for each in visit.reply.events}
    late = [each["error"]["code"] for each in answers.values() if "error" in each]
    assert len(answers) == AT_ONCE + 2
    assert {*late} == {1504}
    assert len(gateway.requests) + len(late) == AT_ONCE + 2
    assert len(gateway.requests) <= AT_ONCE


async def test_an_id_is_good_once_in_a_batch_and_once_in_a_session() -> None:
    gateway = ShopGateway(tool("refund"))
    begun, let_go = anyio.Event(), anyio.Event()

    async def run(request: Request, emit: Emit) -> Result:
        begun.set()
        await let_go.wait()
        return Complete(body=plain("done"))

    gateway.runs["tool:orders/refund"] = run
    async with opened(gateway) as door, together() as group:
        caller = await member(door)
        first = batch(caller, calls(1), calls(1), asks("1", "ping"))
        group.start_soon(caller.send, first)
        await begun.wait()
        second = await caller.send(batch(caller, calls(1), asks(2, "ping")))
        let_go.set()
    assert codes(first.reply) == [(1, 0), (1, INVALID_REQUEST), ("1", 0)]
    assert codes(second) == [(1, INVALID_PARAMS), (2, 0)]
    assert len(gateway.requests) == 1


@pytest.mark.parametrize("place", [0, 2])
async def test_what_is_taken_back_in_the_same_batch_is_not_begun(place: int) -> None:
    gateway = ShopGateway(tool("refund"))
    async with opened(gateway) as door:
        caller = await member(door)
        elements = [calls(1), calls(2)]
        elements.insert(place, cancels(1))
        reply = await caller.send(batch(caller, *elements))
    assert codes(reply) == [(1, CANCELED), (2, 0)]
    assert len(gateway.requests) == 1


async def test_one_request_of_a_batch_can_be_cancelled_and_the_others_go_on() -> None:
    gateway = ShopGateway(tool("refund"), tool("close"))
    canceled, begun, let_go = anyio.Event(), anyio.Event(), anyio.Event()

    async def endless(request: Request, emit: Emit) -> Result:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            canceled.set()
        raise AssertionError

    async def patient(request: Request, emit: Emit) -> Result:
        await let_go.wait()
        return Complete(body=plain("done"))

    gateway.runs |= {"tool:orders/refund": endless, "tool:orders/close": patient}
    async with opened(gateway) as door, together() as group:
        ana, bob = await member(door), await member(door, "bob")
        visit = batch(ana, calls(1), calls(2, "orders__close"))
        group.start_soon(ana.send, visit)
        await begun.wait()
        await bob.send(batch(bob, cancels(1)))
        assert not canceled.is_set(), "equal ids of two callers are two calls"
        assert (await ana.send(batch(ana, cancels(1), tells("notifications/initialized")))).status == 202
        await canceled.wait()
        let_go.set()
    assert codes(visit.reply) == [(1, CANCELED), (2, 0)]


@pytest.mark.parametrize("how", ["cancelled", "session ended"])
async def test_what_still_waits_for_its_turn_can_be_taken_back(how: str) -> None:
    gateway = ShopGateway(tool("refund"), tool("close"))
    full, let_go = anyio.Event(), anyio.Event()

    async def patient(request: Request, emit: Emit) -> Result:
        if len(gateway.requests) == AT_ONCE:
            full.set()
        await let_go.wait()
        return Complete(body=plain("done"))

    gateway.runs["tool:orders/refund"] = patient
    async with opened(gateway) as door, together() as group:
        caller = await member(door)
        visit = batch(caller, *(calls(number) for number in range(AT_ONCE)), calls("late", "orders__close"))
        group.start_soon(caller.send, visit)
        await full.wait()
        again = await caller.send(batch(caller, calls("late", "orders__close")))
        if how == "cancelled":
            await caller.send(batch(caller, cancels("late")))
        else:
            await caller.send(caller.visit(b"", method="DELETE", mcp_session_id=caller.session))
        let_go.set()
    assert codes(again) == [("late", INVALID_PARAMS)]
    others = CANCELED if how == "session ended" else 0
    assert codes(visit.reply) == [*((number, others) for number in range(AT_ONCE)), ("late", CANCELED)]
    assert {each.capability for each in gateway.requests} == {"tool:orders/refund"}


async def test_ids_of_a_batch_are_free_again_once_it_is_over() -> None:
    async with opened(ShopGateway(tool("refund"))) as door:
        caller = await member(door)
        for _ in range(2):
            reply = await caller.send(batch(caller, *(calls(number) for number in range(2 * AT_ONCE))))
            assert codes(reply) == [(number, 0) for number in range(2 * AT_ONCE)]


async def test_the_end_of_the_session_ends_every_call_of_a_batch() -> None:
    gateway = ShopGateway(tool("refund"))
    begun: list[int] = []
    there = anyio.Event()
    ended: list[int] = []

    async def endless(request: Request, emit: Emit) -> Result:
        begun.append(1)
        if len(begun) == 3:
            there.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(1)
        raise AssertionError

    gateway.runs["tool:orders/refund"] = endless
    async with opened(gateway) as door, together() as group:
        caller = await member(door)
        visit = batch(caller, calls(1), calls(2), calls(3))
        group.start_soon(caller.send, visit)
        await there.wait()
        await caller.send(caller.visit(b"", method="DELETE", mcp_session_id=caller.session))
    assert codes(visit.reply) == [(1, CANCELED), (2, CANCELED), (3, CANCELED)]
    assert len(ended) == 3


async def test_equal_ids_of_two_callers_never_meet() -> None:
    gateway = ShopGateway(tool("refund"))
    both: list[str] = []
    there = anyio.Event()

    async def run(request: Request, emit: Emit) -> Result:
        both.append(request.principal.subject)
        if len(both) == 4:
            there.set()
        await there.wait()
        await emit(Progress(progress=1, total=None, message=request.principal.subject))
        return Complete(body=plain(request.principal.subject))

    gateway.runs["tool:orders/refund"] = run
    token: JsonObject = {"progressToken": "same"}
    async with opened(gateway) as door, together() as group:
        visits: dict[str, Visit] = {}
        for key in ("ana", "bob"):
            caller = await member(door, key)
            visits[key] = batch(caller, calls(1, _meta=token), calls(2))
            group.start_soon(caller.send, visits[key])
    assert sorted(both) == ["ana", "ana", "bob", "bob"]
    assert {each.principal for each in gateway.requests} == {ANA, BOB}
    for key, visit in visits.items():
        told = [each for each in visit.reply.events if "method" in each]
        answers = {each["id"]: each["result"]["content"][0]["text"] for each in visit.reply.events if "id" in each}
        assert [each["params"]["message"] for each in told] == [key]
        assert answers == {1: key, 2: key}


def asking(asked: list[Request]) -> Any:
    """Asks how many, once, and says what it was told."""

    async def run(request: Request, emit: Emit) -> Result:
        asked.append(request)
        if not request.continuation:
            question: JsonObject = {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {}}}
            raw = msgspec.json.encode({"resultType": "input_required", "inputRequests": {"q": question}})
            return InputRequired(body=Answer(raw, era="modern"), state=request.id, questions={"q": question})
        said = msgspec.json.decode(bytes(request.body.members["inputResponses"]))  # type: ignore[attr-defined]
        return Complete(body=plain(str(said["q"]["content"]["copies"])))

    return run


async def test_questions_of_two_calls_are_put_on_one_stream_and_answered_by_one_batch() -> None:
    gateway = ShopGateway(tool("refund"))
    gateway.runs["tool:orders/refund"] = asking([])
    async with opened(gateway) as door, together() as group:
        caller = await member(door)
        visit = batch(caller, calls(1), asks(2, "ping"), calls(3), accept="application/json, text/event-stream")
        group.start_soon(caller.send, visit)
        await visit.until(b"drawbridge-2")
        questions = [each for each in visit.reply.events if "method" in each]
        answers = [
            {"jsonrpc": "2.0", "id": each["id"], "result": {"action": "accept", "content": {"copies": number}}}
            for number, each in enumerate(questions)
        ]
        taken = await caller.send(batch(caller, *answers))
    assert (taken.status, taken.body) == (202, b"")
    assert [each["method"] for each in questions] == ["elicitation/create"] * 2
    said = {each["id"]: each["result"] for each in visit.reply.events if "method" not in each}
    assert said.keys() == {1, 2, 3}
    assert sorted(said[number]["content"][0]["text"] for number in (1, 3)) == ["0", "1"]
    assert visit.reply.complete


async def test_what_is_answered_is_told_while_others_are_worked_on_once_there_is_a_stream() -> None:
    gateway = ShopGateway(tool("refund"), tool("close"))
    let_go = anyio.Event()

    async def patient(request: Request, emit: Emit) -> Result:
        await let_go.wait()
        return Complete(body=plain("done"))

    gateway.runs["tool:orders/refund"] = patient
    pace = Pace(attend_after_s=0.01, keep_alive_s=0.01)
    async with opened(gateway, pace=pace) as door, together() as group:
        caller = await member(door)
        visit = batch(caller, calls(1), calls(2, "orders__close"), asks(3, "ping"))
        group.start_soon(caller.send, visit)
        for said in (b": keep-alive", b'"id":2', b'"id":3'):
            await visit.until(said)
        assert b'"id":1' not in visit.reply.body
        let_go.set()
    assert sorted(each["id"] for each in visit.reply.events) == [1, 2, 3]
    assert visit.reply.complete


async def test_a_client_that_takes_no_json_gets_each_answer_as_an_event() -> None:
    async with opened(ShopGateway(tool("refund"))) as door:
        caller = await member(door)
        reply = await caller.send(batch(caller, calls(1), asks(2, "ping"), accept="text/event-stream"))
    assert reply.headers[b"content-type"] == b"text/event-stream"
    assert sorted(each["id"] for each in reply.events) == [1, 2]


async def test_a_client_that_takes_no_stream_gets_its_array() -> None:
    gateway = ShopGateway(tool("refund"))
    gateway.runs["tool:orders/refund"] = asking([])
    async with opened(gateway) as door:
        caller = await member(door)
        reply = await caller.send(batch(caller, calls(1), asks(2, "ping"), accept="application/json"))
    assert codes(reply) == [(1, 0), (2, 0)]
    assert reply.json[0]["result"]["isError"] is True


def large(begun: list[Request], last: anyio.Event) -> Any:
    """Answers of 1000 bytes; of `close`, once it may."""

    async def run(request: Request, emit: Emit) -> Result:
        begun.append(request)
        if request.capability.endswith("/close"):
            await last.wait()
        return Complete(body=plain("x" * 1000))

    return run


async def test_answers_too_large_to_wait_for_each_other_are_told_one_by_one() -> None:
    gateway, last = ShopGateway(tool("refund"), tool("close")), anyio.Event()
    gateway.runs |= {name: large([], last) for name in gateway.capabilities}
    limits, pace = Limits(result_bytes=10_000), Pace(keep_alive_s=600)  # no sign of life makes it a stream
    async with opened(gateway, limits=limits, pace=pace) as door, together() as group:
        caller = await member(door)
        visit = batch(caller, calls(0, "orders__close"), *(calls(number) for number in range(1, 40)))
        group.start_soon(caller.send, visit)
        await visit.until(b'"id":30,')
        assert b'"id":0,' not in visit.reply.body
        last.set()
    assert sorted(each["id"] for each in visit.reply.events) == [*range(40)]


async def test_what_waits_for_room_and_is_taken_back_holds_nothing_up() -> None:
    gateway, begun = ShopGateway(tool("refund")), list[Request]()
    gateway.runs["tool:orders/refund"] = large(begun, anyio.Event())
    async with opened(gateway, limits=Limits(result_bytes=10_000), within_s=30) as door, together() as group:
        caller = await member(door)
        visit = batch(caller, *(calls(number) for number in range(40)))
        visit.room = anyio.Event()
        group.start_soon(caller.send, visit)
        await anyio.wait_all_tasks_blocked()
        assert 9 <= len(begun) < 40
        await caller.send(caller.visit(b"", method="DELETE", mcp_session_id=caller.session))
        visit.room.set()
    answers = {each["id"]: "result" in each for each in visit.reply.events}
    assert [*answers.values()].count(True) == len(begun)
    assert answers.keys() == {*range(40)}
    assert visit.reply.complete


async def test_what_would_make_a_plain_answer_too_large_is_not_begun() -> None:
    gateway, last, begun = ShopGateway(tool("refund"), tool("close")), anyio.Event(), list[Request]()
    gateway.runs |= {name: large(begun, last) for name in gateway.capabilities}
    last.set()
    async with opened(gateway, limits=Limits(result_bytes=10_000)) as door:
        caller = await member(door)
        some = [calls(number) for number in range(40)]
        reply = await caller.send(batch(caller, *some, accept="application/json"))
        one = await caller.send(batch(caller, calls("one"), accept="application/json"))
    assert [each["id"] for each in reply.json] == [*range(40)]
    answered = [each for each in reply.json if "result" in each]
    assert 9 <= len(answered) == len(begun) - 1 <= 10 + AT_ONCE
    assert {each["error"]["code"] for each in reply.json if "error" in each} == {1429}
    assert codes(one) == [("one", 0)]


async def test_a_stream_that_broke_off_is_taken_up_with_all_that_was_said_since() -> None:
    gateway = ShopGateway(tool("refund"), tool("close"))
    let_go = anyio.Event()

    async def patient(request: Request, emit: Emit) -> Result:
        await emit(Progress(progress=1, total=None, message="begun"))
        await let_go.wait()
        return Complete(body=plain("done"))

    gateway.runs["tool:orders/refund"] = patient
    async with opened(gateway) as door, together() as group:
        caller = await member(door)
        visit = batch(
            caller, calls(1, _meta={"progressToken": 1}), calls(2, "orders__close"), calls(3, "orders__close")
        )
        group.start_soon(caller.send, visit)
        await visit.until(b"begun")
        visit.left.set()
        last = next(line[4:] for line in visit.reply.body.split(b"\n") if line.startswith(b"id: "))
        again = caller.visit(b"", method="GET", mcp_session_id=caller.session, last_event_id=last.decode())
        group.start_soon(caller.send, again)
        let_go.set()
        for number in (b'"id":1', b'"id":2', b'"id":3'):
            await again.until(number)
        again.left.set()
    answers = [each["id"] for each in (*visit.reply.events, *again.reply.events) if "id" in each]
    assert sorted(answers) == [1, 2, 3]


async def test_who_does_not_read_can_read_on_later_and_no_call_of_the_batch_is_lost() -> None:
    gateway = ShopGateway(tool("refund"), tool("close"))
    unread, done = anyio.Event(), anyio.Event()

    async def talkative(request: Request, emit: Emit) -> Result:
        await emit(Progress(progress=1, total=None, message="begun"))
        await unread.wait()
        await emit(Progress(progress=2, total=None, message="more"))
        return Complete(body=plain("done"))

    async def send(caller: Caller, visit: Visit) -> None:
        await caller.send(visit)
        done.set()

    gateway.runs["tool:orders/refund"] = talkative
    async with opened(gateway, pace=Pace(slow_reader_s=0.5), within_s=60) as door, together() as group:
        caller = await member(door)
        visit = batch(caller, calls(1, _meta={"progressToken": 1}), calls(2, _meta={"progressToken": 2}))
        group.start_soon(send, caller, visit)
        await visit.until(b"begun")
        last = next(line[4:] for line in visit.reply.body.split(b"\n") if line.startswith(b"id: "))
        visit.room = anyio.Event()
        unread.set()
        await done.wait()
        again = caller.visit(b"", method="GET", mcp_session_id=caller.session, last_event_id=last.decode())
        group.start_soon(caller.send, again)
        for said in (b'"id":1,"result"', b'"id":2,"result"'):
            await again.until(said)
        again.left.set()
    assert len(gateway.requests) == 2
    assert "batch" in {each.operation for each in gateway.records if each.outcome == "error"}


async def test_a_batch_that_is_under_way_when_the_gateway_goes_down_is_answered_to_the_last() -> None:
    gateway = ShopGateway(tool("refund"))
    begun = anyio.Event()

    async def endless(request: Request, emit: Emit) -> Result:
        begun.set()
        await anyio.sleep_forever()
        raise AssertionError

    gateway.runs["tool:orders/refund"] = endless
    async with opened(gateway) as door, together() as group:
        caller = await member(door)
        visit = batch(caller, asks(1, "ping"), calls(2))
        group.start_soon(caller.send, visit)
        await begun.wait()
        group.cancel_scope.cancel()
    assert codes(visit.reply) == [(1, 0), (2, 1503)]


async def test_who_does_not_read_loses_the_calls_where_nothing_is_kept() -> None:
    gateway = ShopGateway(tool("refund"))
    ended = anyio.Event()

    async def talkative(request: Request, emit: Emit) -> Result:
        try:
            while True:
                await emit(Progress(progress=1, total=None, message="on and on"))
        finally:
            ended.set()

    gateway.runs["tool:orders/refund"] = talkative
    pace = Pace(slow_reader_s=0.5)
    async with opened(gateway, pace=pace, limits=Limits(kept_events=0)) as door, together() as group:
        caller = await member(door)
        visit = batch(caller, calls(1, _meta={"progressToken": 1}), asks(2, "ping"))
        visit.room = anyio.Event()
        group.start_soon(caller.send, visit)
        await ended.wait()
    assert [each for each in gateway.records if each.operation == "batch" and each.outcome == "error"]


METHODS = st.sampled_from(["ping", "tools/list", "tools/call", "notifications/initialized", "vendor/x", "", "\u2028"])
JSON_RPC: dict[str, Any] = {"jsonrpc": st.sampled_from(["2.0", "2.0", "2.0", "1.0"])}
MEMBERS: dict[str, Any] = {
    "id": st.integers(0, 5) | st.text("ab", max_size=1) | st.none() | st.floats(0, 1),
    "method": METHODS | st.integers(),
    "params": st.dictionaries(st.sampled_from(["name", "_meta", "uri"]), st.text('x"', max_size=3), max_size=2)
    | st.lists(st.none(), max_size=1),
    "result": st.just(None),
    "error": st.just(7),
}
SIMPLE: Any = (
    st.none() | st.booleans() | st.integers() | st.text("[]", max_size=2) | st.lists(st.integers(), max_size=2)
)
ELEMENTS: Any = SIMPLE | cast("Any", st.fixed_dictionaries(JSON_RPC, optional=MEMBERS))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ELEMENTS, min_size=1, max_size=8))
async def test_whatever_is_in_a_batch_each_request_is_answered_once_and_nothing_else_is(elements: list[Any]) -> None:
    async with opened(ShopGateway(tool("refund"))) as door:
        caller = await member(door)
        reply = await caller.send(batch(caller, *elements))
    wanted = [each for each in (_answer_to(element) for element in elements) if each is not NO_ANSWER]
    if wanted:
        assert reply.status == 200
        assert [each["id"] for each in reply.json] == wanted
        assert all(("result" in each) != ("error" in each) for each in reply.json)
    else:
        assert (reply.status, reply.body) == (202, b"")


NO_ANSWER = object()


def _answer_to(element: Any) -> Any:
    """The id of the answer an element gets, as JSON-RPC 2.0 has it."""
    if not isinstance(element, dict):
        return None
    said: dict[str, Any] = {**cast("dict[str, Any]", element)}
    request_id: Any = said.get("id", NO_ANSWER)
    known = isinstance(request_id, int | str) and not isinstance(request_id, bool)
    is_message = (
        said["jsonrpc"] == "2.0"
        and isinstance(said.get("method", ""), str)
        and isinstance(said.get("params", {}), dict)
    )
    if not is_message or not (said.get("method") and (known or request_id is NO_ANSWER)):
        replies = is_message and not said.get("method") and ("result" in said or "error" in said)
        return NO_ANSWER if replies else request_id if known else None
    if request_id is NO_ANSWER:
        return NO_ANSWER if isinstance(said.get("params", {}).get("_meta", {}), dict) else None
    return request_id
