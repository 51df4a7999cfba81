"""What a server asks before it answers, carried to clients of either era, from servers of either."""

import anyio.lowlevel
import pytest
from msgspec import Raw

from adapters.mcp.wire import Answer, Params, SaidBefore, decode_value, encode
from gateway.core.errors import GatewayError, InvalidRequest, UpstreamFailed
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.model import Complete, Emit, InputRequired, Request, Result, principal
from tests.adapters.mcp.test_mcp_client_http import DONE, bench, legacy, message, modern, result
from tests.fakes_mcp_client import a_request, call, params, said, tool
from tests.fakes_mcp_door import Caller, Reply, Run, ShopGateway, Visit, opened, together
from tests.fakes_mcp_door import tool as listed_tool
from tests.fakes_upstreams import Exchange

pytestmark = pytest.mark.anyio

FORM: JsonObject = {"method": "elicitation/create", "params": {"message": "How many?", "requestedSchema": {}}}
BY_URL: JsonObject = {"method": "elicitation/create", "params": {"mode": "url", "url": "https://pay.example/1"}}
SAMPLE: JsonObject = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}
ABLE: JsonObject = {"elicitation": {}, "sampling": {}}
REFUND: JsonObject = {"name": "orders__refund", "arguments": {"order": "7"}}
ACCEPTED: JsonObject = {"action": "accept", "content": {"copies": 2}}


def asking(*rounds: JsonObject) -> Run:
    """A server that asks one round after the other, then answers."""
    waiting = list(rounds)

    async def run(request: Request, emit: Emit) -> Result:
        if not waiting:
            return Complete(body=Answer(b'{"content":[]}', era="modern"))
        asked = {"resultType": "input_required", "inputRequests": waiting.pop(0)}
        return InputRequired(body=Answer(encode(asked), era="modern"), state=f"sealed {len(waiting)}")

    return run


def shop(run: Run) -> ShopGateway:
    gateway = ShopGateway(listed_tool("refund"))
    gateway.runs["tool:orders/refund"] = run
    return gateway


async def asked(visit: Visit, count: int = 1) -> list[JsonObject]:
    """The first `count` questions on the stream of a call."""
    while len(visit.reply.events) < count:
        await visit.written.wait()
    return [json_object(each) for each in visit.reply.events[:count]]


async def reply(caller: Caller, question: JsonObject, **outcome: Json) -> Reply:
    body: JsonObject = {"jsonrpc": "2.0", "id": question["id"], **outcome}
    return await caller.send(caller.visit(body, mcp_session_id=caller.session, mcp_protocol_version="2025-11-25"))


def brought(request: Request) -> JsonObject:
    assert isinstance(request.body, Params)
    return json_object(decode_value(bytes(request.body.members["inputResponses"])))


async def test_a_legacy_client_is_asked_while_its_call_is_held() -> None:
    gateway = shop(asking({"q": FORM}, {"r": SAMPLE}))
    async with opened(gateway) as door, together() as group:
        caller = Caller(door)
        await caller.initialize(capabilities=ABLE)
        visit = caller.legacy("tools/call", REFUND, request_id="call")
        group.start_soon(caller.send, visit)
        (first,) = await asked(visit)
        assert (await reply(caller, first, result=ACCEPTED)).status == 202
        second = (await asked(visit, 2))[1]
        await reply(caller, second, result={"role": "assistant"})
        await visit.until(b'"call"')
    assert {**first, "id": 0} == {"jsonrpc": "2.0", "id": 0, **FORM}
    assert {**second, "id": 0} == {"jsonrpc": "2.0", "id": 0, **SAMPLE}
    assert visit.reply.events[-1] == {"jsonrpc": "2.0", "id": "call", "result": {"content": []}}
    assert [each.continuation for each in gateway.requests] == ["", "sealed 1", "sealed 0"]
    assert [brought(each) for each in gateway.requests[1:]] == [{"q": ACCEPTED}, {"r": {"role": "assistant"}}]
    assert len({each.id for each in gateway.requests}) == 3


async def test_a_refusal_travels_apart_from_the_answers() -> None:
    gateway = shop(asking({"q": FORM, "r": SAMPLE}))
    async with opened(gateway) as door, together() as group:
        caller = Caller(door)
        await caller.initialize(capabilities=ABLE)
        visit = caller.legacy("tools/call", REFUND, request_id="call")
        group.start_soon(caller.send, visit)
        first, second = await asked(visit, 2)
        await reply(caller, first, result=ACCEPTED)
        await reply(caller, second, error={"code": -1, "message": "rather not"})
        await visit.until(b'"call"')
    assert brought(gateway.requests[1]) == {"q": ACCEPTED}
    assert gateway.requests[1].meta == {
        "mcp/refused": {"r": {"method": SAMPLE["method"], "error": {"code": -1, "message": "rather not"}}}
    }


@pytest.mark.parametrize("capabilities", [{}, {"sampling": {}}, {"elicitation": {}}], ids=str)
async def test_a_client_is_asked_nothing_it_did_not_declare(capabilities: JsonObject) -> None:
    async with opened(shop(asking({"q": BY_URL}))) as door:
        caller = Caller(door)
        await caller.initialize(capabilities=capabilities)
        assert (await caller.say("tools/call", REFUND)).json["result"]["isError"] is True


async def test_an_elicitation_by_url_gets_the_id_that_legacy_clients_know_it_by() -> None:
    async with opened(shop(asking({"q": BY_URL}))) as door, together() as group:
        caller = Caller(door)
        await caller.initialize(capabilities={"elicitation": {"url": {}}})
        visit = caller.legacy("tools/call", REFUND, request_id="call")
        group.start_soon(caller.send, visit)
        (question,) = await asked(visit)
        await reply(caller, question, result={"action": "accept"})
        await visit.until(b'"call"')
    assert json_object(question["params"])["elicitationId"]


async def test_nobody_answers_for_another_session() -> None:
    gateway = shop(asking({"q": FORM}))
    async with opened(gateway) as door, together() as group:
        mine, other = Caller(door), Caller(door)
        await mine.initialize()
        await other.initialize()
        visit = mine.legacy("tools/call", REFUND, request_id="call")
        group.start_soon(mine.send, visit)
        (question,) = await asked(visit)
        assert (await reply(other, question, result={"action": "decline"})).status == 202
        await reply(mine, question, result=ACCEPTED)
        await visit.until(b'"call"')
    assert brought(gateway.requests[1]) == {"q": ACCEPTED}


def ask_on(exchange: Exchange, method: str, request_id: Json) -> None:
    exchange.event(encode({"jsonrpc": "2.0", "id": request_id, "method": method, "params": {"message": "?"}}))


async def test_what_a_legacy_server_asks_becomes_a_question_back_and_its_stream_waits() -> None:
    calls: list[Exchange] = []

    def then(exchange: Exchange) -> None:
        calls.append(exchange)
        exchange.stream()
        ask_on(exchange, "elicitation/create", "e-1")

    async with bench(legacy(then)) as (server, upstream):
        first = await call(upstream, tool(), a_request(params("modern", {"order": "7"})))
        assert isinstance(first, InputRequired)
        assert isinstance(first.body, Answer)
        asked_back = json_object(decode_value(first.body.raw))
        assert asked_back["inputRequests"] == {"question": {"method": "elicitation/create", "params": {"message": "?"}}}
        body = params("modern", {"order": "7"}, inputResponses={"question": ACCEPTED})
        again = a_request(body, continuation=first.state)
        async with together() as group:
            answers: list[Result] = []

            async def resume() -> None:
                answers.append(await call(upstream, tool(), again))

            group.start_soon(resume)
            while not any(message(each).get("id") == "e-1" for each in server.exchanges):
                await anyio.lowlevel.checkpoint()
            calls[0].event(result(calls[0], DONE))
            calls[0].end()
        with pytest.raises(InvalidRequest):
            await call(upstream, tool(), again)
    told = next(message(each) for each in server.exchanges if message(each).get("id") == "e-1")
    assert told == {"jsonrpc": "2.0", "id": "e-1", "result": ACCEPTED}
    assert said(answers[0]) == DONE
    assert len(calls) == 1


async def test_a_legacy_server_learns_what_its_caller_can_be_asked_and_opens_a_session_for_each() -> None:
    async with bench(legacy(lambda exchange: exchange.answer(result(exchange, DONE)))) as (server, upstream):
        declared: tuple[JsonObject, ...] = ({"elicitation": {}}, {"roots": {"listChanged": True}}, {"elicitation": {}})
        for able in declared:
            body = Params(
                {"arguments": Raw(b"{}")}, era="legacy", said_before=SaidBefore(capabilities=able, log_level="info")
            )
            await call(upstream, tool(), a_request(body))
    heard = [
        json_object(message(each)["params"])["capabilities"]
        for each in server.exchanges
        if message(each).get("method") == "initialize"
    ]
    # The first is the gateway's own, which finds out who is there.
    assert heard == [{}, {"elicitation": {}}, {"roots": {"listChanged": True}}]


async def test_a_workflow_that_calls_for_several_has_a_session_for_each() -> None:
    async with bench(legacy(lambda exchange: exchange.answer(result(exchange, DONE)))) as (server, upstream):
        for who in ("ana", "bob", "ana"):
            run = principal("workflow:help", kind="workflow", behind=principal(who))
            await call(upstream, tool(), a_request(params("legacy"), principal=run))
    opened = [each for each in server.exchanges if message(each).get("method") == "initialize"]
    assert len(opened) == 3, "the gateway's own, and one for each of two"


async def test_an_answer_that_is_none_leaves_the_call_waiting() -> None:
    calls: list[Exchange] = []

    def then(exchange: Exchange) -> None:
        calls.append(exchange)
        exchange.stream()
        ask_on(exchange, "elicitation/create", 1)

    async with bench(legacy(then)) as (_, upstream):
        waiting = await call(upstream, tool(), a_request(params("modern")))
        answers: tuple[Json, ...] = ([], "no", None, {"other": {}})
        for none in answers:
            assert isinstance(waiting, InputRequired)
            body = params("modern", inputResponses=none)
            waiting = await call(upstream, tool(), a_request(body, continuation=waiting.state))
        assert isinstance(waiting, InputRequired)
        calls[0].event(result(calls[0], DONE))
        calls[0].end()
        body = params("modern", inputResponses={"question": ACCEPTED})
        assert said(await call(upstream, tool(), a_request(body, continuation=waiting.state))) == DONE
    assert len(calls) == 1


async def test_a_call_whose_answer_cannot_be_brought_is_not_waited_for() -> None:
    calls: list[Exchange] = []

    def then(exchange: Exchange) -> None:
        calls.append(exchange)
        exchange.stream()
        ask_on(exchange, "elicitation/create", "e-1")

    serve = legacy(then)

    def behave(exchange: Exchange) -> None:
        if message(exchange).get("id") == "e-1":
            exchange.reset()
        else:
            serve(exchange)

    async with bench(behave) as (_, upstream):
        first = await call(upstream, tool(), a_request(params("modern")))
        assert isinstance(first, InputRequired)
        body = params("modern", inputResponses={"question": ACCEPTED})
        with pytest.raises(GatewayError):
            await call(upstream, tool(), a_request(body, continuation=first.state, within_s=60.0))
        await calls[0].gone.wait()


async def test_another_callers_state_wakes_no_call_that_waits() -> None:
    def then(exchange: Exchange) -> None:
        exchange.stream()
        ask_on(exchange, "elicitation/create", 1)

    async with bench(legacy(then)) as (_, upstream):
        first = await call(upstream, tool(), a_request(params("modern")))
        assert isinstance(first, InputRequired)
        body = params("modern", inputResponses={"question": ACCEPTED})
        with pytest.raises(InvalidRequest):
            await call(upstream, tool(), a_request(body, continuation=first.state, subject="eve"))


async def test_what_nobody_declared_is_still_refused_to_the_server() -> None:
    def then(exchange: Exchange) -> None:
        exchange.stream()
        ask_on(exchange, "sampling/createMessage", "s-1")
        exchange.event(result(exchange, DONE))
        exchange.end()

    async with bench(legacy(then)) as (server, upstream):
        assert said(await call(upstream, tool(), a_request(params("modern")))) == DONE
    told = next(message(each) for each in server.exchanges if message(each).get("id") == "s-1")
    assert json_object(told["error"])["code"] == -32601


@pytest.mark.parametrize(("method", "ends"), [("elicitation/create", False), ("sampling/createMessage", True)])
async def test_a_modern_server_hears_of_a_refusal_what_its_era_has_a_word_for(method: str, ends: bool) -> None:
    asks: JsonObject = {"resultType": "input_required", "inputRequests": {"q": {"method": method, "params": {}}}}

    def then(exchange: Exchange) -> None:
        again = "inputResponses" in json_object(message(exchange)["params"])
        exchange.answer(result(exchange, DONE if again else asks))

    async with bench(modern(then)) as (server, upstream):
        before = SaidBefore(capabilities={"elicitation": {}, "sampling": {}}, log_level="info")
        members = {"arguments": Raw(b"{}")}
        first = await call(upstream, tool(), a_request(Params(members, era="legacy", said_before=before)))
        assert isinstance(first, InputRequired)
        refused = {"q": {"method": method, "error": {"code": -1, "message": "no"}}}
        again = a_request(
            Params({**members, "inputResponses": Raw(b"{}")}, era="legacy", said_before=before),
            continuation=first.state,
            meta={"mcp/refused": refused},
        )
        if ends:
            with pytest.raises(InvalidRequest, match="no"):
                await call(upstream, tool(), again)
            return
        assert said(await call(upstream, tool(), again)) == DONE
    told = json_object(message(server.exchanges[-1])["params"])
    assert told["inputResponses"] == {"q": {"action": "cancel"}}


async def test_a_stream_that_dies_while_it_waits_fails_its_call_only() -> None:
    calls: list[Exchange] = []

    def then(exchange: Exchange) -> None:
        calls.append(exchange)
        exchange.stream()
        ask_on(exchange, "elicitation/create", 1)

    async with bench(legacy(then)) as (_, upstream):
        first = await call(upstream, tool(), a_request(params("modern")))
        assert isinstance(first, InputRequired)
        calls[0].close()
        body = params("modern", inputResponses={"question": ACCEPTED})
        with pytest.raises(UpstreamFailed):
            await call(upstream, tool(), a_request(body, continuation=first.state))
        assert isinstance(await call(upstream, tool(), a_request(params("modern"))), InputRequired)


async def test_a_clients_roots_are_others_once_it_said_that_they_changed() -> None:
    gateway = shop(asking())
    async with opened(gateway) as door:
        caller = Caller(door)
        await caller.initialize(capabilities={"roots": {"listChanged": True}})
        for _ in range(2):
            await caller.say("tools/call", REFUND)
        told: JsonObject = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
        visit = caller.visit(told, mcp_session_id=caller.session, mcp_protocol_version="2025-11-25")
        assert (await caller.send(visit)).status == 202
        await caller.say("tools/call", REFUND)
    before, still, after = (
        each.body.said_before.roots
        for each in gateway.requests
        if isinstance(each.body, Params) and each.body.said_before
    )
    assert before is still
    assert after is not before
