"""The upstream face against programs that print garbage, hang, die and answer for others."""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from msgspec import Raw

from adapters.mcp.client_conversation import MOST_GARBAGE
from adapters.mcp.client_http import LIST_S
from adapters.mcp.client_program import START_S
from adapters.mcp.client_stdio import McpStdioUpstream
from adapters.mcp.client_updates import UPDATED
from adapters.mcp.settings import ServerSettings
from adapters.mcp.wire import Params
from gateway.core.content import plain
from gateway.core.errors import DeadlineExceeded, InvalidRequest, Unavailable, UpstreamFailed
from gateway.core.json import json_list, json_object
from gateway.core.limits import Limits
from gateway.core.lists import LIST_ATTEMPT_S
from gateway.core.model import Capability, Event, Log
from tests.fakes_mcp_client import Seen, a_request, call, found, params, parts, structured, tool
from tests.fakes_mcp_door import together

pytestmark = pytest.mark.anyio

# A server in few words: `on(message)` decides what is said to a call; everything that came in is kept in `seen`.
BEGINNING = """
import json, os, sys, signal
seen = []
def say(value): sys.stdout.write(json.dumps(value) + "\\n"); sys.stdout.flush()
def raw(text): sys.stdout.write(text); sys.stdout.flush()
def answer(m, value): say({"jsonrpc": "2.0", "id": m["id"], "result": value})
def done(m, **value): answer(m, {"content": [], "structuredContent": value})
def fail(m, code): say({"jsonrpc": "2.0", "id": m["id"], "error": {"code": code, "message": "no"}})
MODERN = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
LEGACY = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "old"}}
def discover(m): answer(m, MODERN)
def initialize(m): answer(m, LEGACY)
def listing(m): answer(m, {"tools": [{"name": "refund"}]})
def other(m): pass
def on(m): done(m)
"""
LOOP = """
for line in sys.stdin:
    m = json.loads(line)
    seen.append(m)
    method = m.get("method")
    if method == "server/discover": discover(m)
    elif method == "initialize": initialize(m)
    elif method == "tools/list": listing(m)
    elif method == "tools/call": on(m)
    else: other(m)
"""


def command(code: str) -> tuple[str, ...]:
    """The program, with what it does otherwise."""
    return (sys.executable, "-S", "-E", "-u", "-c", BEGINNING + code + LOOP)


@asynccontextmanager
async def program(
    code: str = "", *, limits: Limits | None = None, probe_s: float = 3.0, **settings: object
) -> AsyncGenerator[McpStdioUpstream, None]:
    configured = ServerSettings.model_validate({"command": command(code), **settings})
    upstream = McpStdioUpstream(
        "shop", configured, parts(limits=limits, secrets={"env:TOKEN": "s3cret"}), probe_s=probe_s
    )
    try:
        with anyio.fail_after(60):
            yield upstream
    finally:
        await upstream.aclose()


async def test_garbage_on_standard_output_is_skipped_and_reported() -> None:
    async with program('raw(\'Listening...\\n\\n{"level": "info"}\\n[1]\\n42\\n\\xff\\n\')') as upstream:
        listing = await upstream.capabilities()
        assert found(listing, "tool:shop/refund")
        assert listing.about["garbage"] is True
        assert structured(await call(upstream, tool(), a_request())) == {}


async def test_a_program_that_says_nothing_but_garbage_is_ended() -> None:
    code = f"def on(m):\n    for _ in range({MOST_GARBAGE + 1}): raw('noise\\n')\n"
    async with program(code) as upstream:
        with pytest.raises(UpstreamFailed):
            await call(upstream, tool(), a_request())


async def test_line_breaks_in_arguments_make_no_second_message() -> None:
    """Otherwise whoever may call one tool could call every other of the same program."""
    hidden = b'{"jsonrpc": "2.0", "id": 99, "method": "tools/call", "params": {"name": "drop_everything"}}'
    for end in (b"\n", b"\r\n", b"\r"):
        arguments = Raw(b'{"list": [%b%b%b]}' % (end, hidden, end))
        body = Params({**params("modern").members, "arguments": arguments}, era="modern")
        async with program("def on(m): done(m, calls=[x for x in seen if x['method'] == 'tools/call'])") as upstream:
            seen = json_list(structured(await call(upstream, tool(), a_request(body)))["calls"])
        names = [json_object(json_object(each).get("params")).get("name") for each in seen]
        assert names == ["refund"]


async def test_an_old_server_is_initialized() -> None:
    async with program(
        "def discover(m): fail(m, -32601)\ndef on(m): done(m, methods=[x['method'] for x in seen])"
    ) as upstream:
        assert (await upstream.capabilities()).about["protocolVersion"] == "2025-06-18"
        methods = structured(await call(upstream, tool(), a_request()))["methods"]
        assert methods == [
            "server/discover",
            "initialize",
            "notifications/initialized",
            "tools/list",
            "tools/call",
        ]


async def test_a_server_that_ends_at_an_unknown_first_word_is_started_again_and_initialized() -> None:
    async with program("def discover(m): sys.exit(1)") as upstream:
        assert (await upstream.capabilities()).about["era"] == "legacy"


async def test_a_server_that_is_silent_about_an_unknown_word_is_initialized() -> None:
    async with program("def discover(m): pass", probe_s=1.0) as upstream:
        assert (await upstream.capabilities()).about["era"] == "legacy"


async def test_a_modern_server_that_was_slow_to_start_stays_modern() -> None:
    code = "def discover(m):\n    if len(seen) > 1: answer(m, MODERN)\ndef initialize(m): fail(m, -32022)"
    async with program(code, probe_s=1.0) as upstream:
        assert (await upstream.capabilities()).about["era"] == "modern"


async def test_a_program_of_no_known_version_is_unavailable() -> None:
    code = "def discover(m): fail(m, -32601)\ndef initialize(m): answer(m, {'protocolVersion': '1999-01-01'})"
    async with program(code) as upstream:
        with pytest.raises(Unavailable):
            await upstream.capabilities()


async def test_whoever_reads_lists_waits_for_all_the_time_a_server_may_take_to_start_and_to_list() -> None:
    """Otherwise a program that needs most of it would be ended before it had begun, and begun anew, for ever."""
    assert max(START_S, LIST_S) < LIST_ATTEMPT_S


async def test_a_command_that_does_not_exist_is_unavailable() -> None:
    upstream = McpStdioUpstream("shop", ServerSettings(command=("/no/such/program",)), parts())
    with pytest.raises(Unavailable) as failure:
        await upstream.capabilities()
    assert "/no/such" not in failure.value.message
    await upstream.aclose()


async def test_a_program_that_dies_fails_what_is_under_way_as_unknown_and_is_started_again() -> None:
    code = """
def on(m):
    wanted = m["params"]["arguments"]
    if wanted.get("die"): os._exit(3)
    if not wanted.get("hang"): done(m, pid=os.getpid())
"""
    failures: list[type[Exception]] = []
    async with program(code) as upstream:
        before = structured(await call(upstream, tool(), a_request()))["pid"]

        async def hanging() -> None:
            with pytest.raises(UpstreamFailed) as failure:
                await call(upstream, tool(), a_request(plain({"hang": True})))
            failures.append(type(failure.value))

        async with anyio.create_task_group() as calls:
            for _ in range(3):
                calls.start_soon(hanging)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(UpstreamFailed):
                await call(upstream, tool(), a_request(plain({"die": True})))
        after = structured(await call(upstream, tool(), a_request()))["pid"]
    assert failures == [UpstreamFailed] * 3
    assert before != after


async def test_a_program_that_keeps_dying_is_left_alone_for_a_while() -> None:
    async with program("sys.stderr.write('no licence'); sys.exit(1)") as upstream:
        waits: list[float] = []
        for _ in range(3):
            with pytest.raises(Unavailable) as failure:
                await upstream.capabilities()
            waits.append(failure.value.retry_after_s or 0.0)
            assert "licence" not in failure.value.message
    # Twice it is tried at once: a first death may be an accident.
    assert waits[:2] == [0.0, 0.0]
    assert 0.0 < waits[2] <= 0.5


async def test_what_is_written_before_the_end_still_counts() -> None:
    async with program("def on(m):\n    done(m, last=True)\n    os._exit(0)") as upstream:
        assert structured(await call(upstream, tool(), a_request())) == {"last": True}


async def test_answers_out_of_order_reach_their_own_callers() -> None:
    code = """
held = []
def on(m):
    held.append(m)
    if len(held) == 3:
        for x in reversed(held): done(x, n=x["params"]["arguments"]["n"])
"""
    answers: dict[int, object] = {}
    async with program(code) as upstream, anyio.create_task_group() as calls:

        async def one(number: int) -> None:
            answers[number] = structured(await call(upstream, tool(), a_request(plain({"n": number}))))["n"]

        for number in range(3):
            calls.start_soon(one, number)
    assert answers == {0: 0, 1: 1, 2: 2}


async def test_two_callers_with_the_same_token_never_see_each_others_progress() -> None:
    code = """
held = []
def progress(m, text):
    token = m["params"]["_meta"]["progressToken"]
    params = {"progressToken": token, "progress": 1, "message": text}
    say({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
def on(m):
    held.append(m)
    if len(held) == 2:
        for x in held: progress(x, x["params"]["arguments"]["who"])
        say({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "tok", "progress": 9}})
        say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "whose?"}})
        for x in held: done(x)
"""
    seen = {"ana": Seen(), "bob": Seen()}
    async with program(code) as upstream, anyio.create_task_group() as calls:
        for who, events in seen.items():
            body = params("legacy", {"who": who}, meta={"progressToken": "tok"})
            calls.start_soon(upstream.call, a_request(body, subject=who), tool(), events)
    for who, events in seen.items():
        assert [getattr(event, "message", "") for event in events.events] == [who]


async def test_a_programs_log_reaches_its_only_caller() -> None:
    code = """
def on(m):
    say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "working"}})
    done(m)
"""
    seen = Seen()
    async with program(code) as upstream:
        await upstream.call(a_request(), tool(), seen)
    assert [event.text for event in seen.events if isinstance(event, Log)] == ["working"]


async def test_an_answer_that_is_too_large_fails_its_own_call_only() -> None:
    code = "def on(m):\n    big = m['params']['arguments'].get('big', 0)\n    done(m, x='x' * big)"
    async with program(code, limits=Limits(result_bytes=100_000)) as upstream:
        for big in (100_001, 5_000_000):
            with pytest.raises(UpstreamFailed):
                await call(upstream, tool(), a_request(plain({"big": big})))
            assert structured(await call(upstream, tool(), a_request(plain({"big": 1})))) == {"x": "x"}


@pytest.mark.parametrize(
    "lie",
    [
        "say({'jsonrpc': '2.0', 'id': m['id']})",
        "say({'jsonrpc': '2.0', 'id': m['id'], 'result': [1]})",
        "say({'jsonrpc': '2.0', 'id': m['id'], 'result': {'isError': 'yes'}})",
        "say({'jsonrpc': '2.0', 'id': m['id'], 'result': {}, 'error': {'code': 1, 'message': 'x'}})",
    ],
)
async def test_a_wrong_answer_fails_the_call(lie: str) -> None:
    async with program(f"def on(m): {lie}") as upstream:
        with pytest.raises(UpstreamFailed):
            await call(upstream, tool(), a_request())


async def test_what_the_server_calls_invalid_is_invalid() -> None:
    async with program("def on(m): fail(m, -32602)") as upstream:
        with pytest.raises(InvalidRequest):
            await call(upstream, tool(), a_request())


async def test_an_answer_to_nobody_and_a_second_answer_harm_nobody() -> None:
    code = "def on(m):\n    say({'jsonrpc': '2.0', 'id': 999999, 'result': {}})\n    done(m, n=1)\n    done(m, n=2)"
    async with program(code) as upstream:
        for _ in range(3):
            assert structured(await call(upstream, tool(), a_request())) == {"n": 1}


@pytest.mark.parametrize("how", ["canceled", "deadline"])
async def test_a_call_no_longer_wanted_is_withdrawn(how: str) -> None:
    code = """
def other(m):
    if m["method"] == "notifications/cancelled": told.append(m["params"]["requestId"])
told = []
def on(m):
    if m["params"]["arguments"].get("hang"):
        hung.append(m["id"])
        say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "began"}})
    else: done(m, same=told == hung)
hung = []
"""
    async with program(code) as upstream:
        await upstream.capabilities()
        seen = Seen()

        async def hanging() -> None:
            with pytest.raises(DeadlineExceeded):
                await upstream.call(a_request(plain({"hang": True}), within_s=3), tool(), seen)

        async with anyio.create_task_group() as calls:
            calls.start_soon(hanging)
            await seen.first.wait()
            if how == "canceled":
                calls.cancel_scope.cancel()
        assert structured(await call(upstream, tool(), a_request())) == {"same": True}


async def test_a_server_that_asks_is_answered() -> None:
    code = """
def on(m):
    held.append(m)
    say({"jsonrpc": "2.0", "id": "a", "method": "ping"})
    say({"jsonrpc": "2.0", "id": 1, "method": "roots/list"})
held, got = [], []
def other(m):
    if "method" not in m:
        got.append([m["id"], "result" in m])
        if len(got) == 2: done(held[0], got=got)
"""
    async with program(code) as upstream:
        assert json_list(structured(await call(upstream, tool(), a_request()))["got"]) == [["a", True], [1, False]]


async def test_a_program_gets_nothing_of_the_gateways_environment_but_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GATEWAY_SECRET", "x")
    code = "def on(m): done(m, env=dict(os.environ), cwd=os.getcwd())"
    async with program(code, env={"TOKEN": "env:TOKEN", "MODE": "test"}, cwd=str(tmp_path)) as upstream:
        told = structured(await call(upstream, tool(), a_request()))
    env = told["env"]
    assert isinstance(env, dict)
    assert (env["TOKEN"], env["MODE"]) == ("s3cret", "test")
    assert set(env) <= {"PATH", "HOME", "LANG", "TOKEN", "MODE", "LC_CTYPE"}
    assert told["cwd"] == str(tmp_path)


async def test_a_missing_secret_starts_nothing(tmp_path: Path) -> None:
    async with program(f"open({str(tmp_path / 'started')!r}, 'w')", env={"TOKEN": "env:MISSING"}) as upstream:
        with pytest.raises(Unavailable) as failed:
            await upstream.capabilities()
    assert not (tmp_path / "started").exists()
    assert "MISSING" not in json.dumps(failed.value.describe())
    assert "env:MISSING" in failed.value.for_operators


async def test_standard_error_is_drained_kept_in_bounds_and_shown_to_operators_only() -> None:
    async with program("sys.stderr.write('e' * 1_000_000 + 'the end'); sys.stderr.flush()") as upstream:
        await upstream.capabilities()
        assert upstream.stderr_tail().endswith(b"the end")
        assert len(upstream.stderr_tail()) <= 64 * 1024


async def test_a_program_that_ignores_every_polite_request_is_killed_with_its_children() -> None:
    code = """
import subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
def on(m): done(m, pids=[os.getpid(), child.pid])
LOOPS = True
"""
    upstream = McpStdioUpstream(
        "shop",
        ServerSettings(
            command=(sys.executable, "-S", "-E", "-u", "-c", BEGINNING + code + LOOP + "\nwhile True: signal.pause()")
        ),
        parts(),
    )
    with anyio.fail_after(60):
        pids = json_list(structured(await call(upstream, tool(), a_request()))["pids"])
        await upstream.aclose()
        await upstream.aclose()
        for pid in pids:
            assert isinstance(pid, int)
            while _runs(pid):
                await anyio.wait_all_tasks_blocked()
        with pytest.raises(Unavailable):
            await call(upstream, tool(), a_request())


def _runs(pid: int) -> bool:
    """Not merely a zombie nobody has waited for."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_closing_while_a_call_is_under_way_fails_it() -> None:
    async with program("def on(m): pass") as upstream, anyio.create_task_group() as calls:
        await upstream.capabilities()

        async def hanging() -> None:
            with pytest.raises(UpstreamFailed):
                await call(upstream, tool(), a_request())

        calls.start_soon(hanging)
        await anyio.wait_all_tasks_blocked()
        await upstream.aclose()


async def test_a_program_that_does_not_read_meets_the_deadline_and_a_bound() -> None:
    code = "def on(m):\n    import time\n    time.sleep(600)"
    async with program(code) as upstream:
        # It has begun: what it does not read is not what waits for it to begin.
        await upstream.capabilities()
        with pytest.raises(DeadlineExceeded):
            await call(upstream, tool(), a_request(within_s=0.5))
        with pytest.raises(Unavailable):
            # Some may have no time left before they are sent.
            for _ in range(100):
                with pytest.raises(DeadlineExceeded):
                    await call(upstream, tool(), a_request(plain({"x": "x" * 4_000_000}), within_s=0.05))


async def test_a_change_of_the_lists_is_told() -> None:
    changed = anyio.Event()
    code = "def on(m):\n    say({'jsonrpc': '2.0', 'method': 'notifications/tools/list_changed'})\n    done(m)"
    upstream = McpStdioUpstream("shop", ServerSettings(command=command(code)), parts(), changed.set)
    with anyio.fail_after(60):
        seen = Seen()
        await upstream.call(a_request(), tool(), seen)
        await changed.wait()
        assert seen.events == []
    await upstream.aclose()


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_changes_are_heard_from_the_first_on_and_unsubscribed_when_nobody_follows(era: str) -> None:
    code = """
CHANGED = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "note://a"}}
def other(m):
    if m.get("method") in ("resources/subscribe", "subscriptions/listen") and "note://a" in json.dumps(m):
        raw(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": {}}) + "\\n" + json.dumps(CHANGED) + "\\n")
def on(m): done(m, seen=seen[-3:])
"""
    if era == "legacy":
        code += "def discover(m): fail(m, -32601)\n"
    watched = Capability(name="resource:shop/note://a", kind="resource", owner="shop", local="note://a")
    body = Params({"uri": Raw(b'"note://a"')}, era="modern")
    told = anyio.Event()

    async def tell(event: Event) -> None:
        if isinstance(event, Log) and event.text == UPDATED:
            told.set()

    async with program(code) as upstream:
        async with together() as group:
            group.start_soon(upstream.call, a_request(body, operation="subscribe", within_s=60), watched, tell)
            await told.wait()
            group.cancel_scope.cancel()
        last = json_list(structured(await call(upstream, tool(), a_request()))["seen"])
    first, second = ("subscriptions/listen", "notifications/cancelled")
    if era == "legacy":
        first, second = ("resources/subscribe", "resources/unsubscribe")
    assert [json_object(each)["method"] for each in last] == [first, second, "tools/call"]
    if era == "modern":
        assert json_object(json_object(last[1])["params"])["requestId"] == json_object(last[0])["id"]


async def test_whoever_follows_beside_one_who_is_refused_is_asked_for_too() -> None:
    code = """
CHANGED = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "note://a"}}
first = []
def discover(m): fail(m, -32601)
def other(m):
    if m.get("method") == "resources/subscribe" and not first:
        first.append(m)
        say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    elif m.get("method") == "resources/subscribe":
        raw(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": {}}) + "\\n" + json.dumps(CHANGED) + "\\n")
def on(m):
    fail(first[0], -32602)
    done(m)
"""
    watched = Capability(name="resource:shop/note://a", kind="resource", owner="shop", local="note://a")
    body = Params({"uri": Raw(b'"note://a"')}, era="modern")
    told, refused, asked = anyio.Event(), anyio.Event(), anyio.Event()

    async def tell(event: Event) -> None:
        if isinstance(event, Log) and event.text == UPDATED:
            told.set()

    upstream = McpStdioUpstream("shop", ServerSettings(command=command(code)), parts(), asked.set)

    async def follow() -> None:
        try:
            await upstream.call(a_request(body, operation="subscribe", within_s=120), watched, tell)
        except InvalidRequest:
            refused.set()

    with anyio.fail_after(120):
        async with together() as group:
            group.start_soon(follow)
            await asked.wait()
            group.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            await call(upstream, tool(), a_request())
            await refused.wait()
            await told.wait()
            group.cancel_scope.cancel()
        await upstream.aclose()


async def test_large_events_for_a_caller_that_does_not_take_them_are_dropped() -> None:
    code = """
def on(m):
    token = m["params"]["_meta"]["progressToken"]
    for n in range(20):
        params = {"progressToken": token, "progress": n, "message": "x" * 30000}
        say({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
    done(m)
"""
    taken: list[Event] = []
    began, answered = anyio.Event(), anyio.Event()

    async def slowly(event: Event) -> None:
        taken.append(event)
        began.set()
        await answered.wait()

    async with program(code, limits=Limits(event_bytes=100_000)) as upstream, together() as group:

        async def one() -> None:
            body = params("modern", meta={"progressToken": 1})
            await upstream.call(a_request(body), tool(), slowly)

        group.start_soon(one)
        await began.wait()
        # Answered after the other, so that all was said.
        await call(upstream, tool(), a_request(params("modern", meta={"progressToken": 2})))
        answered.set()
    assert 1 <= len(taken) <= 4


async def test_who_follows_a_resource_learns_that_the_program_ended() -> None:
    code = "def other(m):\n    if m.get('method') == 'subscriptions/listen' and DYING: os._exit(0)\nDYING = "
    watched = Capability(name="resource:shop/note://a", kind="resource", owner="shop", local="note://a")
    body = Params({"uri": Raw(b'"note://a"')}, era="modern")
    dying = "'note://a' in json.dumps(seen)\n"
    async with program("class D:\n    def __bool__(self): return " + dying + code + "D()\n") as upstream:
        with pytest.raises(Unavailable):
            await upstream.call(a_request(body, operation="subscribe", within_s=60), watched, Seen())
