"""Calls through the MCP door: what reaches the path, and what comes back, in both eras."""

from typing import Any

import anyio
import pytest

from adapters.mcp.exchange import Pace
from adapters.mcp.render import SERVER_INFO_KEY
from adapters.mcp.wire import Answer, Era, Frame, Params
from gateway.core.content import Content, content_of, data_part, plain, text_part
from gateway.core.content import Plain as PlainBody
from gateway.core.errors import (
    ERRORS,
    ApprovalNeeded,
    Denied,
    Exhausted,
    GatewayError,
    InvalidRequest,
    Unavailable,
    UpstreamFailed,
)
from gateway.core.json import Json, JsonObject
from gateway.core.labels import Labels
from gateway.core.limits import Limits
from gateway.core.model import (
    Accepted,
    ArtifactAdded,
    Complete,
    Emit,
    Event,
    InputRequired,
    Log,
    Progress,
    Request,
    Result,
    StatusChanged,
    TaskOpened,
)
from gateway.core.ports.gateway import Identity
from gateway.core.task import Artifact, Task, TaskState
from tests.fakes_mcp_door import (
    ANA,
    Badges,
    Caller,
    Run,
    ShopGateway,
    agent,
    answering,
    failing,
    opened,
    prompt,
    resource,
    template,
    together,
    tool,
    workflow,
)

pytestmark = pytest.mark.anyio

REFUND: JsonObject = {"name": "orders__refund", "arguments": {"order": "A1"}}


def shop(run: Run | None = None, name: str = "tool:orders/refund") -> ShopGateway:
    gateway = ShopGateway(
        tool("refund"),
        agent("refunds"),
        workflow("help"),
        prompt("reply"),
        resource("file:///a"),
        template("db://{table}/{id}"),
    )
    if run is not None:
        gateway.runs[name] = run
    return gateway


def emitting(*events: Event) -> Run:
    async def run(request: Request, emit: Emit) -> Result:
        for event in events:
            await emit(event)
        return Complete(body=Answer(b'{"content":[],"resultType":"complete"}', era="modern"))

    return run


async def test_a_modern_call_reaches_the_path_with_all_that_its_caller_brought() -> None:
    identity = Identity(
        principal=ANA,
        run_id="run_1",
        step_id="run_1/2",
        phase="commit",
        labels=Labels(untrusted=frozenset({"server:web"})),
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )
    gateway = shop(answering(b'{"content":[]}'))
    async with opened(gateway, badges=Badges({b"Bearer ana": identity})) as door:
        trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
        meta: JsonObject = {"traceparent": trace, "drawbridge/idempotency-key": "k1"}
        reply = await Caller(door).ask("tools/call", {**REFUND, "future": [1]}, meta=meta)
    (request,) = gateway.requests
    assert reply.status == 200
    assert (request.capability, request.operation, request.protocol) == ("tool:orders/refund", "call", "mcp")
    assert (request.principal, request.labels, request.run_id) == (ANA, identity.labels, "run_1")
    assert (request.step_id, request.phase) == ("run_1/2", "commit")
    assert (request.traceparent, request.idempotency_key) == (trace, "k1")
    body = request.body
    assert isinstance(body, Params)
    assert body.content().structured == {"order": "A1"}
    assert bytes(body.members["future"]) == b"[1]"


@pytest.mark.parametrize(
    ("header", "meta", "expected"),
    [
        ("", {}, "00-" + "c" * 32 + "-" + "d" * 16 + "-01"),
        ("00-" + "e" * 32 + "-" + "f" * 16 + "-01", {}, "00-" + "e" * 32 + "-" + "f" * 16 + "-01"),
        ("nonsense", {"traceparent": 7}, "00-" + "c" * 32 + "-" + "d" * 16 + "-01"),
    ],
)
async def test_the_trace_is_the_callers_and_else_the_runs(header: str, meta: JsonObject, expected: str) -> None:
    identity = Identity(principal=ANA, traceparent="00-" + "c" * 32 + "-" + "d" * 16 + "-01")
    gateway = shop()
    async with opened(gateway, badges=Badges({b"Bearer ana": identity})) as door:
        caller = Caller(door)
        await caller.send(caller.modern("tools/call", REFUND, meta=meta, traceparent=header))
    assert gateway.requests[0].traceparent == expected


async def test_time_is_bounded_by_the_target_the_kind_and_the_step() -> None:
    gateway = shop()
    late = Identity(principal=ANA, deadline_at_us=1_700_000_000_000_000 + 2_000_000)
    limits = Limits(call_timeout_s=30, run_timeout_s=500)
    async with opened(
        gateway, limits=limits, badges=Badges({b"Bearer ana": Identity(principal=ANA), b"Bearer step": late})
    ) as door:
        now_s = anyio.current_time()
        for name in ("orders__refund", "workflows__help"):
            await Caller(door).ask("tools/call", {"name": name})
        await Caller(door, key="step").ask("tools/call", REFUND)
    left = [round(each.budget.deadline_s - now_s) for each in gateway.requests]
    assert left == [30, 500, 2]


async def test_an_answer_of_the_same_era_is_relayed_byte_for_byte() -> None:
    raw = b'{"content":[ ], "structuredContent":null ,"x":1e2,"resultType":"complete","_meta":{"a":null}}'
    async with opened(shop(answering(raw))) as door:
        reply = await Caller(door).ask("tools/call", REFUND)
    assert reply.body == b'{"jsonrpc":"2.0","id":1,"result":' + raw + b"}"


@pytest.mark.parametrize(
    ("method", "name", "params", "raw", "expected"),
    [
        (
            "tools/call",
            "tool:orders/refund",
            REFUND,
            b'{"content":[],"x":1}',
            {"content": [], "x": 1, "resultType": "complete"},
        ),
        (
            "resources/read",
            "resource:orders/file:///a",
            {"uri": "file:///a"},
            b'{"contents":[]}',
            {"contents": [], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"},
        ),
    ],
)
async def test_a_legacy_answer_gets_what_a_modern_client_needs(
    method: str, name: str, params: JsonObject, raw: bytes, expected: JsonObject
) -> None:
    async with opened(shop(answering(raw, "legacy"), name)) as door:
        reply = await Caller(door).ask(method, params)
    assert reply.json["result"] == expected


async def test_a_modern_answer_loses_what_a_legacy_client_has_no_word_for() -> None:
    raw = b'{"content":[],"resultType":"complete","ttlMs":1,"cacheScope":"public","_meta":{"%b":{},"own":1}}'
    async with opened(shop(answering(raw % SERVER_INFO_KEY.encode()))) as door:
        caller = Caller(door)
        await caller.initialize()
        reply = await caller.say("tools/call", REFUND)
    assert reply.json["result"] == {"content": [], "_meta": {"own": 1}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", [{"type": "text", "text": "[1, 2]"}]),
        (b'"content":[],', [{"type": "text", "text": "[1, 2]"}]),
        (b'"content":[{"type":"image"}],', [{"type": "image"}, {"type": "text", "text": "[1, 2]"}]),
        (b'"content":[{"type":"text","text":"two"}],', [{"type": "text", "text": "two"}]),
    ],
)
async def test_a_modern_servers_list_reaches_a_legacy_client_as_text(content: bytes, expected: JsonObject) -> None:
    raw = b'{%b"structuredContent": [1, 2],"resultType":"complete","isError":false}' % content
    async with opened(shop(answering(raw))) as door:
        caller = Caller(door)
        await caller.initialize()
        legacy = (await caller.say("tools/call", REFUND)).json["result"]
        modern = (await caller.ask("tools/call", REFUND)).json["result"]
    assert legacy == {"content": expected, "isError": False}
    assert modern["structuredContent"] == [1, 2]


async def test_an_extension_result_becomes_an_error_for_a_legacy_client() -> None:
    async with opened(shop(answering(b'{"resultType":"task","taskId":"1"}'))) as door:
        caller = Caller(door)
        await caller.initialize()
        reply = await caller.say("tools/call", REFUND)
    assert reply.json["result"]["isError"] is True


async def test_an_answer_that_is_no_object_is_the_servers_failure() -> None:
    async with opened(shop(answering(b"[1]", "legacy"))) as door:
        reply = await Caller(door).ask("tools/call", REFUND)
    assert reply.json["result"]["_meta"]["drawbridge/error"]["reason"] == "UPSTREAM_FAILED"


async def test_a_body_of_no_protocol_is_rendered() -> None:
    said = PlainBody(Content(parts=(text_part("ok"), data_part({"n": 1})), structured={"n": 1}))

    async def run(request: Request, emit: Emit) -> Result:
        return Complete(body=said, is_error=True, meta={"run": "run_1"})

    async with opened(shop(run)) as door:
        reply = await Caller(door).ask("tools/call", REFUND)
    assert reply.json["result"] == {
        "resultType": "complete",
        "content": [{"type": "text", "text": "ok"}, {"type": "text", "text": '{"n":1}'}],
        "structuredContent": {"n": 1},
        "isError": True,
        "_meta": {"drawbridge/result": {"run": "run_1"}},
    }


@pytest.mark.parametrize("value", [[1, 2], None, "text", {"a": 1}])
async def test_a_legacy_client_gets_structured_content_only_as_an_object(value: Any) -> None:
    async def run(request: Request, emit: Emit) -> Result:
        return Complete(body=PlainBody(content_of(value)))

    async with opened(shop(run)) as door:
        caller = Caller(door)
        await caller.initialize()
        result = (await caller.say("tools/call", REFUND)).json["result"]
    assert ("structuredContent" in result) is isinstance(value, dict)


async def test_prompts_and_resources_of_no_protocol_are_rendered_in_their_shapes() -> None:
    gateway = shop()
    async with opened(gateway) as door:
        caller = Caller(door)
        got = (await caller.ask("prompts/get", {"name": "orders__reply"})).json["result"]
        read = (await caller.ask("resources/read", {"uri": "file:///a"})).json["result"]
    assert got["messages"] == [{"role": "user", "content": {"type": "text", "text": "done"}}]
    assert read["contents"] == [{"uri": "data:", "mimeType": "text/plain", "text": "done"}]
    assert [(each.capability, each.operation) for each in gateway.requests] == [
        ("prompt:orders/reply", "get"),
        ("resource:orders/file:///a", "read"),
    ]


async def test_a_uri_made_from_a_template_goes_to_the_template() -> None:
    gateway = shop()
    async with opened(gateway) as door:
        await Caller(door).ask("resources/read", {"uri": "db://orders/7"})
    (request,) = gateway.requests
    assert request.capability == "resource:orders/db://{table}/{id}"
    assert isinstance(request.body, Params)
    assert bytes(request.body.members["uri"]) == b'"db://orders/7"'


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_resource_nobody_has_is_named_in_the_error(era: Era) -> None:
    async with opened(shop()) as door:
        caller = Caller(door)
        await caller.initialize()
        ask = caller.ask if era == "modern" else caller.say
        reply = await ask("resources/read", {"uri": "file:///z"})
    error = reply.json["error"]
    assert error["code"] == (-32602 if era == "modern" else -32002)
    assert error["data"]["uri"] == "file:///z"
    assert reply.status == (400 if era == "modern" else 200)


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize(
    ("said", "data"),
    [
        ({"code": -32002, "message": "gone"}, {"uri": "file:///a"}),
        ({"code": -32002, "message": "gone", "data": {"uri": "file:///a", "x": 1}}, {"uri": "file:///a", "x": 1}),
        ({"code": -32602, "message": "gone", "data": {"uri": "file:///a"}}, {"uri": "file:///a"}),
        ({"code": -32002, "message": "gone", "data": "all of it"}, "all of it"),
    ],
)
async def test_a_server_says_that_a_resource_is_not_there_in_its_clients_word(
    era: Era, said: JsonObject, data: Json
) -> None:
    gateway = shop()
    gateway.runs["resource:orders/file:///a"] = failing(UpstreamFailed("it failed", detail={"upstream": said}))
    async with opened(gateway) as door:
        caller = Caller(door)
        await caller.initialize()
        ask = caller.ask if era == "modern" else caller.say
        reply = await ask("resources/read", {"uri": "file:///a"})
    code, status = (-32602, 400) if era == "modern" else (-32002, 200)
    assert (reply.status, reply.json["error"]) == (status, {"code": code, "message": "gone", "data": data})


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_any_other_error_of_a_server_is_told_as_it_said_it(era: Era) -> None:
    said: JsonObject = {"code": -32602, "message": "no such page", "data": {"page": 7}}
    gateway = shop()
    gateway.runs["resource:orders/file:///a"] = failing(UpstreamFailed("it failed", detail={"upstream": said}))
    async with opened(gateway) as door:
        caller = Caller(door)
        await caller.initialize()
        ask = caller.ask if era == "modern" else caller.say
        reply = await ask("resources/read", {"uri": "file:///a"})
    assert reply.json["error"] == said


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_an_unknown_tool_is_a_protocol_error_and_reaches_the_record(era: Era) -> None:
    gateway = shop()
    async with opened(gateway) as door:
        caller = Caller(door)
        await caller.initialize()
        ask = caller.ask if era == "modern" else caller.say
        reply = await ask("tools/call", {"name": "orders__nothing"})
    assert reply.json["error"]["code"] == -32602
    assert gateway.requests[-1].capability == "tool:orders/nothing"


async def test_a_tool_that_is_hidden_is_still_refused_with_its_reason() -> None:
    denial = Denied(
        "ana may not call tool:orders/refund: too much", detail={"policy": "access", "rule": "r1", "record": "rec_7"}
    )
    gateway = shop(failing(denial))
    gateway.hidden["ana"] = frozenset({"tool:orders/refund"})
    async with opened(gateway) as door:
        reply = await Caller(door).ask("tools/call", REFUND)
    result = reply.json["result"]
    assert reply.status == 200
    assert result["isError"] is True
    assert result["resultType"] == "complete"
    assert result["_meta"]["drawbridge/error"] == denial.describe()
    text = result["content"][0]["text"]
    assert all(each in text for each in ("too much", "access", "r1", "rec_7", "grant"))


@pytest.mark.parametrize("kind", [each for each in ERRORS if each.wire.reason != "NOT_FOUND"])
async def test_every_error_of_a_tool_call_is_a_result_a_model_can_read(kind: type[GatewayError]) -> None:
    async with opened(shop(failing(kind("that went wrong")))) as door:
        reply = await Caller(door).ask("tools/call", REFUND)
    result = reply.json["result"]
    assert result["isError"] is True
    assert result["_meta"]["drawbridge/error"]["code"] == kind.wire.code
    assert "hat went wrong" in result["content"][0]["text"]


@pytest.mark.parametrize("kind", [Unavailable, Exhausted])
async def test_a_tool_whose_owner_is_out_of_reach_or_full_answers_what_a_model_can_read(
    kind: type[GatewayError],
) -> None:
    async with opened(shop(failing(kind("orders cannot do it", detail={"upstream": "orders"})))) as door:
        reply = await Caller(door).ask("tools/call", REFUND)
    assert reply.json["result"]["_meta"]["drawbridge/error"]["upstream"] == "orders"


@pytest.mark.parametrize("kind", ERRORS)
async def test_every_error_elsewhere_is_a_protocol_error_by_the_one_table(kind: type[GatewayError]) -> None:
    async with opened(shop(failing(kind("no", retry_after_s=1.2)), "prompt:orders/reply")) as door:
        reply = await Caller(door).ask("prompts/get", {"name": "orders__reply"})
    assert reply.json["error"]["code"] == kind.wire.jsonrpc
    assert reply.json["error"]["data"]["reason"] == kind.wire.reason
    assert reply.headers[b"retry-after"] == b"2"


async def test_when_to_come_again_is_said_with_a_tool_result_too() -> None:
    async with opened(shop(failing(Exhausted("full", retry_after_s=3)))) as door:
        reply = await Caller(door).ask("tools/call", REFUND)
    assert reply.headers[b"retry-after"] == b"3"


@pytest.mark.parametrize("kind", [UpstreamFailed, InvalidRequest])
async def test_a_servers_own_protocol_error_is_relayed(kind: type[GatewayError]) -> None:
    said: JsonObject = {"code": -32021, "message": "needs sampling", "data": {"requiredCapabilities": {}}}
    async with opened(shop(failing(kind("orders: needs sampling", detail={"upstream": said})))) as door:
        reply = await Caller(door).ask("tools/call", REFUND)
    assert reply.json["error"] == said
    assert reply.status == 400


async def test_an_unexpected_exception_says_nothing_of_itself() -> None:
    async with opened(shop(failing(ZeroDivisionError("secret")), "prompt:orders/reply")) as door:
        reply = await Caller(door).ask("prompts/get", {"name": "orders__reply"})
    assert reply.json["error"]["code"] == -32603
    assert b"secret" not in reply.body
    assert reply.json["id"] == 1


ASKING = (
    b'{"inputRequests":{"q":{"method":"elicitation/create","params":{}}},'
    b'"requestState":"inner","resultType":"input_required"}'
)


def asking(state: str) -> Run:
    async def run(request: Request, emit: Emit) -> Result:
        return InputRequired(body=Answer(ASKING, era="modern"), state=state)

    return run


async def test_a_question_back_is_relayed_to_a_modern_client_under_the_gateways_state() -> None:
    gateway = shop(asking("sealed"))
    async with opened(gateway) as door:
        caller = Caller(door)
        result = (await caller.ask("tools/call", REFUND)).json["result"]
        await caller.ask("tools/call", {**REFUND, "requestState": "sealed", "inputResponses": {"q": {}}})
    assert result["resultType"] == "input_required"
    assert result["requestState"] == "sealed"
    assert result["inputRequests"]["q"]["method"] == "elicitation/create"
    assert [each.continuation for each in gateway.requests] == ["", "sealed"]


async def test_a_question_back_is_an_error_for_a_legacy_client_that_cannot_be_asked() -> None:
    async with opened(shop(asking("sealed"))) as door:
        caller = Caller(door)
        await caller.initialize(capabilities={"sampling": {}})
        result = (await caller.say("tools/call", REFUND)).json["result"]
    assert result["isError"] is True
    assert "resultType" not in result


async def test_what_an_agent_asks_is_told_in_its_words() -> None:
    async def run(request: Request, emit: Emit) -> Result:
        return InputRequired(body=plain("Which order?"), state="s")

    async with opened(shop(run, "agent:refunds")) as door:
        result = (await Caller(door).ask("tools/call", {"name": "agents__refunds"})).json["result"]
    assert result["isError"] is True
    assert "Which order?" in result["content"][0]["text"]


async def test_a_call_that_became_a_task_gives_its_id() -> None:
    async def run(request: Request, emit: Emit) -> Result:
        return Accepted(task=Task(id="t1", context_id="c1", state=TaskState.WORKING, updated_at_us=0))

    async with opened(shop(run, "workflow:help")) as door:
        result = (await Caller(door).ask("tools/call", {"name": "workflows__help"})).json["result"]
    assert result["structuredContent"] == {"task": {"id": "t1", "contextId": "c1", "state": "working"}}


def progress(token: str, done: int) -> Progress:
    raw = (
        f'{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{done}}}}}'
    )
    return Progress(progress=done, native=Frame(raw.encode()))


async def test_progress_makes_the_answer_a_stream() -> None:
    async with opened(
        shop(emitting(progress('"t"', 1), progress("7", 2), Progress(progress=3, total=4, message="m")))
    ) as door:
        reply = await Caller(door).ask("tools/call", REFUND, meta={"progressToken": "t"})
    assert reply.headers[b"content-type"] == b"text/event-stream"
    first, second, third, last = reply.events
    assert [each["params"]["progress"] for each in (first, second, third)] == [1, 2, 3]
    assert {each["params"]["progressToken"] for each in (first, second, third)} == {"t"}
    assert third["params"] == {"progressToken": "t", "progress": 3, "total": 4, "message": "m"}
    assert last["result"]["content"] == []
    assert reply.complete


@pytest.mark.parametrize("token", [None, 1.5, {"a": 1}, True])
async def test_without_a_proper_token_there_is_no_progress(token: Any) -> None:
    meta = {} if token is None else {"progressToken": token}
    async with opened(shop(emitting(progress("1", 1)))) as door:
        reply = await Caller(door).ask("tools/call", REFUND, meta=meta)
    assert reply.headers[b"content-type"] == b"application/json"


async def test_a_tasks_life_is_progress_too() -> None:
    task = Task(id="t1", context_id="c", state=TaskState.WORKING, updated_at_us=0)
    events = (
        TaskOpened(task=task),
        StatusChanged(task_id="t1", context_id="c", state=TaskState.WORKING, text="looking"),
        ArtifactAdded(
            task_id="t1", context_id="c", artifact=Artifact(id="a", content=Content(parts=(text_part("half"),)))
        ),
    )
    async with opened(shop(emitting(*events), "agent:refunds")) as door:
        reply = await Caller(door).ask("tools/call", {"name": "agents__refunds"}, meta={"progressToken": 5})
    told = [each["params"] for each in reply.events[:-1]]
    assert [each["progress"] for each in told] == [1, 2, 3]
    assert [each["message"] for each in told] == ["task t1 is working", "looking", "half"]


async def test_a_modern_client_gets_logs_from_the_level_it_names() -> None:
    events = (Log(level="info", text="quiet"), Log(level="error", text="loud"), Log(level="odd", text="strange"))
    async with opened(shop(emitting(*events))) as door:
        silent = await Caller(door).ask("tools/call", REFUND)
        reply = await Caller(door).ask("tools/call", REFUND, meta={"io.modelcontextprotocol/logLevel": "warning"})
    assert silent.headers[b"content-type"] == b"application/json"
    assert [each["params"]["data"] for each in reply.events[:-1]] == ["loud"]


async def test_a_legacy_session_sets_its_log_level() -> None:
    native = Frame(b'{"jsonrpc":"2.0",\n"method":"notifications/message","params":{"level":"info","data":{"a":1}}}')
    async with opened(shop(emitting(Log(level="info", text="x", native=native)))) as door:
        caller = Caller(door)
        await caller.initialize()
        before = await caller.say("tools/call", REFUND)
        assert (await caller.say("logging/setLevel", {"level": "error"})).json["result"] == {}
        after = await caller.say("tools/call", REFUND)
        wrong = await caller.say("logging/setLevel", {"level": "loud"})
    assert before.events[0]["params"] == {"level": "info", "data": {"a": 1}}
    assert after.headers[b"content-type"] == b"application/json"
    assert wrong.json["error"]["code"] == -32602


@pytest.mark.parametrize(
    ("accept", "kind", "count"),
    [
        ("application/json", b"application/json", 0),
        ("text/event-stream", b"text/event-stream", 2),
        ("*/*", b"text/event-stream", 2),
    ],
)
async def test_the_client_gets_what_it_accepts(accept: str, kind: bytes, count: int) -> None:
    async with opened(shop(emitting(progress("1", 1)))) as door:
        caller = Caller(door)
        reply = await caller.send(caller.modern("tools/call", REFUND, meta={"progressToken": 1}, accept=accept))
    assert reply.headers[b"content-type"] == kind
    assert len(reply.events) == count


async def test_a_client_that_accepts_only_a_stream_gets_a_quick_answer_as_one() -> None:
    async with opened(shop()) as door:
        caller = Caller(door)
        reply = await caller.send(caller.modern("tools/call", REFUND, accept="text/event-stream"))
    assert len(reply.events) == 1


class Slow:
    """A call that runs until it is told to end, and says how it ended."""

    def __init__(self) -> None:
        self.began = anyio.Event()
        self.finish = anyio.Event()
        self.canceled = anyio.Event()

    async def __call__(self, request: Request, emit: Emit) -> Result:
        self.began.set()
        try:
            await self.finish.wait()
        except anyio.get_cancelled_exc_class():
            self.canceled.set()
            raise
        return Complete(body=plain("late"))


QUICK = Pace(attend_after_s=0.0, keep_alive_s=0.01)
PATIENT = Pace(attend_after_s=0.0)


async def test_silence_makes_the_answer_a_stream_that_is_kept_alive() -> None:
    slow = Slow()
    async with opened(shop(slow), pace=QUICK) as door, together() as group:
        caller = Caller(door)
        visit = caller.modern("tools/call", REFUND)
        group.start_soon(caller.send, visit)
        await visit.until(b": keep-alive\n\n: keep-alive\n\n")
        slow.finish.set()
    assert visit.reply.headers[b"content-type"] == b"text/event-stream"
    assert visit.reply.events[-1]["result"]["content"] == [{"type": "text", "text": "late"}]
    assert visit.reply.complete


async def test_a_modern_client_that_leaves_cancels_its_call() -> None:
    slow = Slow()
    async with opened(shop(slow), pace=PATIENT) as door, together() as group:
        caller = Caller(door)
        visit = caller.modern("tools/call", REFUND)
        group.start_soon(caller.send, visit)
        await slow.began.wait()
        visit.left.set()
        await slow.canceled.wait()
    assert visit.reply.status == 0


async def test_a_legacy_client_that_leaves_does_not() -> None:
    slow = Slow()
    async with opened(shop(slow), pace=QUICK) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        visit = caller.legacy("tools/call", REFUND)
        group.start_soon(caller.send, visit)
        await visit.until(b"keep-alive")
        visit.left.set()
        await anyio.wait_all_tasks_blocked()
        slow.finish.set()
    assert not slow.canceled.is_set()


@pytest.mark.parametrize("request_id", [3, "three"])
async def test_a_legacy_client_cancels_by_saying_so(request_id: Any) -> None:
    slow = Slow()
    async with opened(shop(slow)) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        visit = caller.legacy("tools/call", REFUND, request_id=request_id)
        group.start_soon(caller.send, visit)
        await slow.began.wait()
        stranger = Caller(door)
        await stranger.initialize()
        await stranger.say("notifications/cancelled", {"requestId": request_id}, request_id=None)
        again = await caller.say("tools/call", REFUND, request_id=request_id)
        assert not slow.canceled.is_set()
        noted = await caller.say("notifications/cancelled", {"requestId": request_id}, request_id=None)
        await slow.canceled.wait()
    assert again.json["error"]["code"] == -32602
    assert noted.status == 202
    assert visit.reply.json["error"]["code"] == -32800


async def test_ending_a_session_ends_its_calls() -> None:
    slow = Slow()
    async with opened(shop(slow)) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        group.start_soon(caller.send, caller.legacy("tools/call", REFUND))
        await slow.began.wait()
        reply = await caller.send(caller.visit(b"", method="DELETE", mcp_session_id=caller.session))
        await slow.canceled.wait()
    assert reply.status == 200


async def test_a_call_that_outlives_its_deadline_is_cut() -> None:
    slow = Slow()
    pace = Pace(attend_after_s=0.0, keep_alive_s=0.01, overdue_s=0.0)
    async with opened(shop(slow), limits=Limits(call_timeout_s=0.0), pace=pace) as door:
        reply = await Caller(door).ask("tools/call", REFUND)
    assert slow.canceled.is_set()
    assert reply.json["error"]["code"] == 1504


async def test_shutdown_is_not_taken_for_a_client_that_left_and_is_told_to_it() -> None:
    slow = Slow()
    async with opened(shop(slow)) as door, together() as group:
        caller = Caller(door)
        visit = caller.modern("tools/call", REFUND)
        group.start_soon(caller.send, visit)
        await slow.began.wait()
        group.cancel_scope.cancel()
    assert slow.canceled.is_set()
    assert visit.reply.json["error"]["code"] == 1503


def chatty(slow: Slow) -> Run:
    async def run(request: Request, emit: Emit) -> Result:
        try:
            await emit(progress("1", 1))
        except anyio.get_cancelled_exc_class():
            slow.canceled.set()
            raise
        return await slow(request, emit)

    return run


SLOW_READER = Pace(attend_after_s=10.0, slow_reader_s=0.01)


async def test_a_modern_client_that_does_not_read_loses_its_call() -> None:
    slow = Slow()
    async with opened(shop(chatty(slow)), pace=SLOW_READER) as door, together() as group:
        caller = Caller(door)
        visit = caller.modern("tools/call", REFUND, meta={"progressToken": 1})
        visit.room = anyio.Event()
        group.start_soon(caller.send, visit)
        await slow.canceled.wait()


async def test_a_modern_client_that_reads_again_is_told_why_its_call_ended() -> None:
    slow = Slow()
    async with opened(shop(chatty(slow)), pace=SLOW_READER) as door, together() as group:
        caller = Caller(door)
        visit = caller.modern("tools/call", REFUND, meta={"progressToken": 1})
        visit.room = anyio.Event()
        group.start_soon(caller.send, visit)
        await slow.canceled.wait()
        visit.room.set()
        await visit.until(b'"error"')
    assert visit.reply.json["error"]["code"] == 1429
    assert visit.reply.complete


async def test_a_legacy_client_that_does_not_read_loses_only_its_events() -> None:
    slow = Slow()
    async with opened(shop(chatty(slow)), pace=SLOW_READER) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        visit = caller.legacy("tools/call", {**REFUND, "_meta": {"progressToken": 1}})
        visit.room = anyio.Event()
        group.start_soon(caller.send, visit)
        await slow.began.wait()
        visit.room.set()
        slow.finish.set()
    assert not slow.canceled.is_set()
    assert visit.reply.json["result"]["isError"] is False


async def test_a_body_that_never_ends_is_given_up() -> None:
    pace = Pace(attend_after_s=0.0, keep_alive_s=0.01, slow_body_s=0.02)
    async with opened(shop(), pace=pace) as door:
        caller = Caller(door)
        visit = caller.modern("tools/call", REFUND)
        waiting = anyio.Event()

        async def receive() -> dict[str, Any]:
            await waiting.wait()
            raise AssertionError

        await door(visit.scope, receive, visit.send)
    assert visit.reply.status == 408


async def test_a_denial_that_asks_for_a_person_says_to_repeat_the_call() -> None:
    async with opened(shop(failing(ApprovalNeeded("needs the agreement of lead")))) as door:
        result = (await Caller(door).ask("tools/call", REFUND)).json["result"]
    assert "exactly the same call" in result["content"][0]["text"]


async def test_completions_pass_where_the_owner_offers_them() -> None:
    async def run(request: Request, emit: Emit) -> Result:
        return Complete(body=Answer(b'{"completion":{"values":["a"]}}', era="legacy"))

    gateway = shop(run, "prompt:orders/reply")
    gateway.abouts["orders"] = {"capabilities": {"completions": {}}}
    ask: JsonObject = {
        "ref": {"type": "ref/prompt", "name": "orders__reply"},
        "argument": {"name": "tone", "value": "a"},
    }
    async with opened(gateway) as door:
        caller = Caller(door)
        found = await caller.ask("completion/complete", ask)
        by_uri = await caller.ask(
            "completion/complete", {**ask, "ref": {"type": "ref/resource", "uri": "db://{table}/{id}"}}
        )
        nothing = await caller.ask("completion/complete", {**ask, "ref": {"type": "ref/other"}})
        gateway.abouts["orders"] = {"capabilities": {}}
        refused = await caller.ask("completion/complete", ask)
    assert found.json["result"]["completion"] == {"values": ["a"]}
    assert by_uri.status == 200
    assert [(each.capability, each.operation) for each in gateway.requests] == [
        ("prompt:orders/reply", "complete"),
        ("resource:orders/db://{table}/{id}", "complete"),
    ]
    assert nothing.json["error"]["code"] == -32602
    assert (refused.status, refused.json["error"]["code"]) == (404, -32601)


MIRRORED: JsonObject = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
}


@pytest.mark.parametrize(("header", "expected"), [("eu", 200), ("us", 400), ("", 400)])
async def test_mirrored_arguments_must_agree_and_are_handed_on(header: str, expected: int) -> None:
    gateway = ShopGateway(tool("ship", schema=MIRRORED))
    async with opened(gateway) as door:
        caller = Caller(door)
        params: JsonObject = {"name": "orders__ship", "arguments": {"region": "eu"}}
        reply = await caller.send(caller.modern("tools/call", params, mcp_param_region=header, mcp_param_other="x"))
    assert reply.status == expected
    if expected == 200:
        body = gateway.requests[0].body
        assert isinstance(body, Params)
        assert body.headers == ((b"mcp-param-region", b"eu"), (b"mcp-param-other", b"x"))
    else:
        assert reply.json["error"]["code"] == -32020
        assert gateway.requests == []
