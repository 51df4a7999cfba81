"""Programs of the legacy era that ask their callers: each caller's own, answered by nobody else, and ended in time."""

import os
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from msgspec import structs

from adapters.mcp.client_program import MOST_PARKED
from adapters.mcp.client_questions import MOST_QUESTIONS
from adapters.mcp.client_stdio import McpStdioUpstream
from adapters.mcp.settings import ServerSettings
from adapters.mcp.wire import Era, SaidBefore, decode_value
from gateway.core.errors import DeadlineExceeded, Exhausted, InvalidRequest, UpstreamFailed
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.limits import Limits
from gateway.core.model import InputRequired, Log, Request, Result, principal
from tests.adapters.mcp.test_mcp_client_stdio import command
from tests.fakes_mcp_client import LoopClock, Seen, a_request, call, found, params, parts, structured, tool
from tests.fakes_mcp_door import together

pytestmark = pytest.mark.anyio

WITHIN_S = 120.0
"""For a machine with better things to do; nothing here waits for it."""
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
FORM: JsonObject = {"message": "How many?", "requestedSchema": {"type": "object", "properties": {}}}
ACCEPTED: JsonObject = {"action": "accept", "content": {"copies": 2}}
ABLE: JsonObject = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {"listChanged": True}}

# Asks, under the id 1 every time unless told otherwise, and answers the call with what it was answered.
ASKING = """
def discover(m): fail(m, -32601)
calls, hello, told = [], {}, []
def initialize(m): hello.update(m["params"]); answer(m, LEGACY)
def ask(method, params, id=1): say({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
def on(m):
    wanted = m["params"]["arguments"]
    if "ask" in wanted:
        calls.append(m)
        ask(wanted["ask"], wanted.get("with", {}))
    else: done(m, pid=os.getpid(), able=hello["capabilities"], told=told)
def other(m):
    if "method" in m: told.append(m["method"])
    elif calls: done(calls.pop(0), pid=os.getpid(), reply=m)
"""


class Ahead(LoopClock):
    """Its monotonic time can be put forward too."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


@asynccontextmanager
async def program(
    code: str = ASKING,
    *,
    clock: LoopClock | None = None,
    on_changed: Callable[[], None] = lambda: None,
    **settings: object,
) -> AsyncGenerator[McpStdioUpstream]:
    configured = ServerSettings.model_validate({"command": command(code), **settings})
    upstream = McpStdioUpstream("shop", configured, parts(clock=clock), on_changed)
    try:
        with anyio.fail_after(WITHIN_S):
            yield upstream
    finally:
        await upstream.aclose()


def of(
    arguments: Json = None,
    *,
    who: str = "ana",
    able: JsonObject = ABLE,
    within_s: float = WITHIN_S,
    meta: "JsonObject | None" = None,
    **more: Json,
) -> Request:
    """A modern caller's call."""
    body = params("modern", arguments, meta={CAPABILITIES: able, **(meta or {})}, **more)
    state = more.get("requestState")
    return a_request(body, subject=who, within_s=within_s, continuation=state if isinstance(state, str) else "")


def asking(method: str = "elicitation/create", said: JsonObject = FORM) -> JsonObject:
    return {"ask": method, "with": said}


def question_in(result: Result) -> JsonObject:
    assert isinstance(result, InputRequired)
    (question,) = (result.questions or {}).values()
    return json_object(question)


async def asked(upstream: McpStdioUpstream, who: str = "ana", arguments: Json = None) -> InputRequired:
    result = await call(upstream, tool(), of(asking() if arguments is None else arguments, who=who))
    assert isinstance(result, InputRequired)
    return result


async def answered(
    upstream: McpStdioUpstream,
    result: InputRequired,
    reply: JsonObject = ACCEPTED,
    who: str = "ana",
    arguments: Json = None,
    within_s: float = WITHIN_S,
) -> Result:
    given = asking() if arguments is None else arguments
    back = of(given, who=who, within_s=within_s, inputResponses={"question": reply}, requestState=result.state)
    return await call(upstream, tool(), back)


async def pid_of(upstream: McpStdioUpstream, who: str = "ana", able: JsonObject = ABLE) -> int:
    pid = structured(await call(upstream, tool(), of(who=who, able=able)))["pid"]
    assert isinstance(pid, int)
    return pid


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def gone(pid: int) -> None:
    while runs(pid):
        await anyio.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    ("method", "said", "reply"),
    [
        ("elicitation/create", FORM, ACCEPTED),
        ("elicitation/create", {"mode": "url", "url": "https://x.example", "message": "go"}, {"action": "decline"}),
        ("sampling/createMessage", {"messages": [], "maxTokens": 1}, {"role": "assistant", "x": {"y": [None]}}),
        ("roots/list", {}, {"roots": [{"uri": "file:///a"}]}),
    ],
)
async def test_what_a_program_asks_reaches_its_caller_and_the_answer_the_program(
    method: str, said: JsonObject, reply: JsonObject
) -> None:
    async with program() as upstream:
        wanted = asking(method, said)
        result = await asked(upstream, arguments=wanted)
        assert question_in(result) == {"method": method, "params": said}
        done = structured(await answered(upstream, result, reply, arguments=wanted))
        assert done["reply"] == {"jsonrpc": "2.0", "id": 1, "result": reply}
        assert structured(await call(upstream, tool(), of()))["able"] == ABLE


async def test_callers_at_once_with_equal_ids_hear_and_answer_only_what_is_theirs() -> None:
    people = ("ana", "bob", "eve")
    async with program() as upstream:
        results: dict[str, InputRequired] = {}
        pids: dict[str, Json] = {}

        async def begin(who: str) -> None:
            results[who] = await asked(upstream, who, asking(said={**FORM, "message": who}))

        async def finish(who: str) -> None:
            wanted = asking(said={**FORM, "message": who})
            done = structured(await answered(upstream, results[who], {"action": who}, who, wanted))
            assert json_object(done["reply"]) == {"jsonrpc": "2.0", "id": 1, "result": {"action": who}}
            pids[who] = done["pid"]

        async with together() as group:
            for who in people:
                group.start_soon(begin, who)
        for who in people:
            assert json_object(question_in(results[who])["params"])["message"] == who
        with pytest.raises(InvalidRequest):  # somebody else's
            await answered(upstream, results["bob"], who="eve", arguments=asking(said={**FORM, "message": "bob"}))
        async with together() as group:
            for who in reversed(people):
                group.start_soon(finish, who)
        assert len(set(pids.values())) == len(people)
        assert await pid_of(upstream) == pids["ana"]
        shared = await pid_of(upstream, "ana", {})
        assert shared == await pid_of(upstream, "bob", {}) != pids["ana"]
        with pytest.raises(InvalidRequest):  # twice
            await answered(upstream, results["bob"], who="bob", arguments=asking(said={**FORM, "message": "bob"}))


async def test_a_workflow_that_calls_for_several_has_a_process_for_each() -> None:
    def run(who: str, arguments: Json = None, able: JsonObject = ABLE) -> Request:
        for_whom = principal("workflow:help", kind="workflow", behind=principal(who))
        return structs.replace(of(arguments, able=able), principal=for_whom)

    async with program() as upstream:
        pids = [structured(await call(upstream, tool(), run(who)))["pid"] for who in ("ana", "bob", "ana")]
        assert (pids[0] == pids[2], pids[0] == pids[1]) == (True, False)
    first, second = Seen(), Seen()
    async with program(LOGGING) as upstream, together() as group:
        group.start_soon(upstream.call, run("ana", {"hold": 1}, {}), tool(), first)
        await first.first.wait()
        await upstream.call(run("bob", able={}), tool(), second)
    assert heard(second) == [], "on the process all share it could be about the other's"


async def test_whoever_cannot_be_asked_this_is_not() -> None:
    async with program() as upstream:
        others: tuple[JsonObject, ...] = ({}, {"sampling": {}})
        for able in others:
            done = structured(await call(upstream, tool(), of(asking(), able=able)))
            assert json_object(json_object(done["reply"])["error"])["code"] == -32601


async def test_without_processes_of_their_own_callers_share_one_that_can_ask_nobody() -> None:
    async with program(processes=0) as upstream:
        assert await pid_of(upstream) == await pid_of(upstream, "bob") == await pid_of(upstream, able={})
        done = structured(await call(upstream, tool(), of(asking())))
        assert "error" in json_object(done["reply"])


async def test_a_program_killed_while_it_waits_fails_its_call_and_is_started_again() -> None:
    async with program() as upstream:
        pid = await pid_of(upstream)
        result = await asked(upstream)
        os.kill(pid, signal.SIGKILL)
        await gone(pid)
        with pytest.raises(UpstreamFailed):
            await answered(upstream, result)
        again = await pid_of(upstream)
        assert again != pid
        assert await pid_of(upstream) == again
    await gone(again)


async def test_a_program_that_asks_without_end_is_stopped() -> None:
    code = (
        ASKING
        + """
def other(m):
    if "method" in m: told.append(m["method"])
    elif calls and "result" in m: ask("elicitation/create", {}, m["id"] + 1)
"""
    )
    async with program(code) as upstream:
        result: Result = await asked(upstream)
        rounds = 1
        with pytest.raises(UpstreamFailed, match="without end"):
            while isinstance(result, InputRequired):
                result = await answered(upstream, result)
                rounds += 1
        assert rounds == MOST_QUESTIONS
        assert structured(await call(upstream, tool(), of()))["told"] == [
            "notifications/initialized",
            "notifications/cancelled",
        ]


async def test_a_program_that_asks_and_then_says_nothing_meets_the_deadline() -> None:
    code = ASKING + "def other(m): 'method' in m and told.append(m['method'])\n"
    async with program(code) as upstream:
        result = await asked(upstream)
        with pytest.raises(DeadlineExceeded):
            await answered(upstream, result, within_s=1)
        assert json_list(structured(await call(upstream, tool(), of()))["told"])[1:] == ["notifications/cancelled"]


async def test_what_is_asked_twice_under_one_id_is_asked_once() -> None:
    code = (
        ASKING
        + """
def asking(text): return {"jsonrpc": "2.0", "id": "same", "method": "elicitation/create", "params": {"message": text}}
def on(m):
    wanted = m["params"]["arguments"]
    if "ask" not in wanted: return done(m, replies=told)
    calls.append(m)
    raw("".join(json.dumps(asking(text)) + "\\n" for text in ("first", "second")))
def other(m):
    if "method" in m: return
    told.append(m)
    if len(told) == 1: say(asking("third"))
    else: done(calls[0], replies=told)
"""
    )
    async with program(code) as upstream:
        first = await asked(upstream)
        third = await answered(upstream, first, {"n": 1})
        assert [json_object(question_in(each)["params"])["message"] for each in (first, third)] == ["first", "third"]
        assert isinstance(third, InputRequired)
        replies = structured(await answered(upstream, third, {"n": 2}))["replies"]
    assert [json_object(each)["result"] for each in json_list(replies)] == [{"n": 1}, {"n": 2}]


async def test_a_question_taken_back_is_neither_put_nor_answered() -> None:
    code = (
        ASKING
        + """
def asking(id): return {"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": {"message": id}}
def taken_back(id): return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}
def at_once(*values): raw("".join(json.dumps(value) + "\\n" for value in values))
def on(m):
    if "ask" in m["params"]["arguments"]:
        calls.append(m)
        at_once(asking("first"), asking("second"), taken_back("second"))
    else:
        at_once(taken_back("third"))
        done(calls[0], replies=told)
        done(m)
def other(m):
    if "method" not in m:
        told.append(m["id"])
        say(asking("third"))
"""
    )
    async with program(code) as upstream:
        first = await asked(upstream)
        third = await answered(upstream, first)
        assert isinstance(third, InputRequired)
        assert [json_object(question_in(each)["params"])["message"] for each in (first, third)] == ["first", "third"]
        await call(upstream, tool(), of())
        assert structured(await answered(upstream, third))["replies"] == ["first"]


async def test_a_caller_who_never_comes_back_is_given_up_and_the_process_ended() -> None:
    clock = Ahead()
    code = (
        ASKING
        + """
def on(m):
    if "ask" in m["params"]["arguments"]: ask("elicitation/create", {}, 7)
    else: done(m, pid=os.getpid(), told=told)
def other(m): told.append(m.get("method", m))
"""
    )
    limits = Limits()
    async with program(code, clock=clock) as upstream:
        pid = await pid_of(upstream)
        result = await asked(upstream)
        clock.ahead_s = 601.0
        with pytest.raises(InvalidRequest):
            await answered(upstream, result)
        told = json_list(structured(await call(upstream, tool(), of(within_s=WITHIN_S + clock.ahead_s)))["told"])
        assert told[1] == "notifications/cancelled"
        refused = json_object(told[2])
        assert (refused["id"], "error" in refused) == (7, True)
        await upstream.tidy()
        assert runs(pid)
        clock.ahead_s += limits.session_idle_s + 1
        await upstream.tidy()
        await gone(pid)


async def test_a_call_given_up_while_it_runs_is_withdrawn_with_what_it_asked() -> None:
    code = (
        ASKING
        + """
def on(m):
    if "ask" in m["params"]["arguments"]: ask("roots/list", {}, 7); ask("elicitation/create", {}, 8)
    else: done(m, told=told)
def other(m): told.append(m.get("method") or [m["id"], *m])
"""
    )
    async with program(code) as upstream:
        result = await asked(upstream)
        with pytest.raises(DeadlineExceeded):
            second = await answered(upstream, result, {"roots": []})
            assert isinstance(second, InputRequired)
            await answered(upstream, second, within_s=1)
        told = json_list(structured(await call(upstream, tool(), of()))["told"])
    assert [each if isinstance(each, str) else json_list(each)[0] for each in told[1:]] == [
        7,
        8,
        "notifications/cancelled",
    ]


async def test_the_process_used_longest_ago_makes_room_and_one_that_waits_does_not() -> None:
    async with program(processes=2) as upstream:
        ana, bob = await pid_of(upstream), await pid_of(upstream, "bob")
        assert ana == await pid_of(upstream)
        eve = await pid_of(upstream, "eve")
        assert not runs(bob)
        assert runs(ana)
        waiting = await asked(upstream), await asked(upstream, "eve")
        with pytest.raises(Exhausted) as failure:
            await pid_of(upstream, "bob")
        assert failure.value.retry_after_s
        assert structured(await answered(upstream, waiting[0]))["pid"] == ana
        assert await pid_of(upstream, "eve") == eve
        bob = await pid_of(upstream, "bob")
        assert not runs(ana)
        assert runs(eve)
        shared = await pid_of(upstream, able={})
    for pid in (eve, bob, shared):
        await gone(pid)


async def test_no_caller_takes_every_process() -> None:
    async with program(processes=4) as upstream:
        ways: tuple[JsonObject, ...] = ({"elicitation": {}}, {"roots": {}}, {"sampling": {}})
        first, second, third = [await pid_of(upstream, able=able) for able in ways]
        assert [runs(first), runs(second), runs(third)] == [False, True, True]
        # The same, said in another order, is the same.
        both: JsonObject = {"roots": {}, "sampling": {}}
        assert await pid_of(upstream, able=both) == await pid_of(upstream, able=dict(reversed(both.items())))


async def test_the_call_parked_longest_ago_makes_room_for_another_of_its_caller() -> None:
    code = ASKING + "def on(m): ask('elicitation/create', {}, m['id'])\n"
    async with program(code) as upstream:
        results = [await asked(upstream) for _ in range(MOST_PARKED + 1)]
        with pytest.raises(InvalidRequest):
            await answered(upstream, results[0])


LOGGING = (
    ASKING
    + """
LEGACY["capabilities"]["logging"] = {}
levels, held = [], []
def log(text): say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}})
def on(m):
    wanted = m["params"]["arguments"]
    if "hold" in wanted: held.append(m); log("held"); return
    log("whose?")
    say({"jsonrpc": "2.0", "method": "notifications/vendor/thing", "params": {"x": 1}})
    done(m, levels=levels)
    for x in held: done(x)
    held.clear()
def other(m):
    if m.get("method") == "logging/setLevel": levels.append(m["params"]["level"]); answer(m, {})
"""
)


def heard(seen: Seen) -> list[str]:
    return [event.text for event in seen.events if isinstance(event, Log)]


async def test_on_a_shared_process_what_is_said_to_nobody_reaches_only_the_one_call_it_can_belong_to() -> None:
    first, second, third = Seen(), Seen(), Seen()
    async with program(LOGGING) as upstream:
        for who in ("ana", "bob"):
            await upstream.call(of(who=who, able={}), tool(), third)
        async with together() as group:
            group.start_soon(upstream.call, of({"hold": 1}, able={}), tool(), first)
            await first.first.wait()
            await upstream.call(of(who="bob", able={}), tool(), second)
        assert heard(third) == ["whose?", "notifications/vendor/thing"] * 2
        assert (heard(first), heard(second)) == (["held"], [])
        # One that was given up may be worked on all the same.
        with pytest.raises(DeadlineExceeded):
            await upstream.call(of({"hold": 1}, able={}, within_s=5), tool(), first)
        await upstream.call(of(who="bob", able={}), tool(), second)
        assert heard(second) == []
        await upstream.call(of(who="bob", able={}), tool(), second)
        assert heard(second) == ["whose?", "notifications/vendor/thing"]


async def test_in_its_own_process_a_callers_newest_call_hears_it() -> None:
    first, second, other = Seen(), Seen(), Seen()
    async with program(LOGGING) as upstream, together() as group:
        group.start_soon(upstream.call, of({"hold": 1}), tool(), first)
        await first.first.wait()
        await upstream.call(of(who="bob"), tool(), other)
        await upstream.call(of(), tool(), second)
    assert (heard(first), heard(second)) == (["held"], ["whose?", "notifications/vendor/thing"])
    assert heard(other) == ["whose?", "notifications/vendor/thing"]


async def test_the_lowest_log_level_wanted_is_told_once_per_change() -> None:
    key = "io.modelcontextprotocol/logLevel"
    async with program(LOGGING) as upstream:
        for level in ("info", "info", "error", None):
            await call(upstream, tool(), of(meta={key: level} if level else {}))
        seen = Seen()
        async with together() as group:
            group.start_soon(upstream.call, of({"hold": 1}, meta={key: "debug"}), tool(), seen)
            await seen.first.wait()
            done = await call(upstream, tool(), of(meta={key: "warning"}))
        assert structured(done)["levels"] == ["info", "error", "debug"]
        assert structured(await call(upstream, tool(), of(meta={key: "notice"})))["levels"] == [
            *("info", "error", "debug", "notice")
        ]


async def test_changed_roots_are_told_to_the_callers_own_process_before_its_next_call() -> None:
    roots = object()

    def legacy(who: str, stands_for: object) -> Request:
        body = params("legacy")
        body.said_before = SaidBefore(capabilities={"roots": {"listChanged": True}}, log_level="", roots=stands_for)
        return a_request(body, subject=who, within_s=WITHIN_S)

    told: list[Json] = []
    async with program() as upstream:
        for who, stands_for in (("ana", roots), ("bob", roots), ("ana", roots), ("ana", object()), ("bob", roots)):
            told.append(structured(await call(upstream, tool(), legacy(who, stands_for)))["told"])
    assert [json_list(each)[1:] for each in told] == [[], [], [], ["notifications/roots/list_changed"], []]


PAGES = (
    ASKING
    + """
def on(m):
    if "tools/call" not in told:
        told.append("tools/call")
        data = {"elicitations": [{"mode": "url", "url": "https://x.example", "message": "go", "elicitationId": "e"}]}
        say({"jsonrpc": "2.0", "id": m["id"], "error": {"code": -32042, "message": "open", "data": data}})
    else:
        for id in ("e" * 2**20, "e"):  # the longer one is more than anybody keeps
            say({"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": id}})
        done(m, params=sorted(m["params"]))
"""
)


class Listening:
    """A legacy client beside its calls."""

    def __init__(self) -> None:
        self.heard: list[Json] = []

    def say(self, message: bytes) -> None:
        self.heard.append(json_object(decode_value(message))["method"])


async def test_a_page_that_is_needed_becomes_a_question_and_the_call_begins_anew() -> None:
    ana, bob = Listening(), Listening()

    def legacy(who: str, client: Listening) -> Request:
        body = params("legacy")
        body.said_before = SaidBefore(capabilities=ABLE, log_level="", client=client)
        return a_request(body, subject=who, within_s=WITHIN_S)

    async with program(PAGES) as upstream:
        result = await asked(upstream, arguments={})
        page = json_object(question_in(result)["params"])
        assert page == {"mode": "url", "url": "https://x.example", "message": "go"}
        back = of({}, inputResponses={"page-1": {"action": "accept"}}, requestState=result.state)
        assert structured(await call(upstream, tool(), back))["params"] == ["arguments", "name"]
        with pytest.raises(UpstreamFailed):  # an older client gets the error as it is
            await call(upstream, tool(), legacy("bob", bob))
        for who, client in (("ana", ana), ("bob", bob)):
            await call(upstream, tool(), legacy(who, client))
    assert ana.heard == bob.heard == ["notifications/elicitation/complete"]


SHOWING = (
    ASKING
    + """
def listing(m):
    able = hello["capabilities"]
    open(PIDS, "a").write(f"{os.getpid()} ")
    names = ["refund"] + ["form"] * ("elicitation" in able) + ["model"] * ("sampling" in able)
    answer(m, {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]})
"""
)


async def test_tools_shown_only_to_who_can_be_asked_are_found_aside_and_leave_no_process(tmp_path: Path) -> None:
    pids, changed = tmp_path / "pids", anyio.Event()
    code = f"PIDS = {str(pids)!r}\n{SHOWING}"
    async with program(code, on_changed=changed.set) as upstream, together() as group:
        # Nobody waits for the other programs.
        assert [each.local for each in (await upstream.capabilities()).capabilities] == ["refund"]
        group.start_soon(upstream.watch)
        await changed.wait()
        for _ in range(2):
            listing = await upstream.capabilities()
            assert found(listing, "tool:shop/refund").needs == frozenset()
            assert found(listing, "tool:shop/form").needs == {"elicitation", "elicitation.url"}
            assert found(listing, "tool:shop/model").needs == {"sampling", "sampling.tools"}
        shared = await pid_of(upstream, able={})
        started = {int(each) for each in pids.read_text().split()}
        assert len(started) == 7
        assert [pid for pid in started if runs(pid)] == [shared]
        group.cancel_scope.cancel()


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_modern_program_asks_in_its_answer_and_serves_everybody_alone(era: Era) -> None:
    code = """
def on(m):
    if "inputResponses" in m["params"]: done(m, pid=os.getpid(), back=m["params"]["inputResponses"])
    else: answer(m, {"resultType": "input_required", "inputRequests": {"q": {"method": "roots/list"}}})
"""
    pids: list[Json] = []
    async with program(code) as upstream:
        for who in ("ana", "bob"):
            body = params(era, meta={CAPABILITIES: ABLE})
            if era == "legacy":
                body.said_before = SaidBefore(capabilities=ABLE, log_level="info")
            first = await call(upstream, tool(), a_request(body, subject=who, within_s=WITHIN_S))
            assert isinstance(first, InputRequired)
            back = of(who=who, inputResponses={"q": {}}, requestState=first.state)
            done = structured(await call(upstream, tool(), back))
            assert done["back"] == {"q": {}}
            pids.append(done["pid"])
    assert pids[0] == pids[1]
