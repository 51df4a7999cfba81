"""What legacy servers are told once for a session, and what they say beside their calls, on raw sockets."""

import pytest
from msgspec import Raw

from adapters.mcp.client_levels import LowestLevel
from adapters.mcp.client_told import Told
from adapters.mcp.render import EventWriter
from adapters.mcp.sessions import Ear
from adapters.mcp.wire import Notice, Params, SaidBefore, encode
from gateway.core.json import JsonObject
from gateway.core.model import InputRequired, Log
from tests.adapters.mcp.test_mcp_client_http import DONE, LEGACY, bench, message, result
from tests.adapters.mcp.test_mcp_client_sse import OldServer, Posted
from tests.adapters.mcp.test_mcp_client_sse import bench as sse_bench
from tests.fakes_mcp_client import Seen, a_request, call, params, said, tool
from tests.fakes_upstreams import Exchange

pytestmark = pytest.mark.anyio

ROOTS: JsonObject = {"roots": {"listChanged": True}}
ROOTS_CHANGED = "notifications/roots/list_changed"
LOGGING: JsonObject = {"tools": {}, "logging": {}}
PULSE: JsonObject = {"jsonrpc": "2.0", "method": "notifications/vendor/pulse"}
CANCELLED: JsonObject = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}


def body(client: Ear, *, roots: object = None, level: str = "", able: "JsonObject | None" = None) -> Params:
    before = SaidBefore(capabilities=able or {}, log_level=level or "info", level_set=level, client=client, roots=roots)
    return Params({"name": Raw(b'"t"'), "arguments": Raw(b"{}")}, era="legacy", said_before=before)


def test_the_lowest_level_is_told_when_it_changes_and_of_nobody_who_never_said() -> None:
    levels, ana, bob = LowestLevel(), Ear(), Ear()
    assert levels.want(1, "", ana) == ""
    assert levels.want(2, "error", bob) == "info", "who never said wants what is usual once somebody else did"
    assert levels.want(3, "error", ana) == "error"
    assert levels.want(4, "debug") == "debug"
    levels.forget(4)
    assert [levels.want(5, "error", ana), levels.want(6, "error", bob)] == ["error", ""]
    assert levels.want(7, "debug", bob) == "debug"
    del bob
    assert levels.want(8, "error", ana) == "error", "whoever is gone wants nothing"


async def test_a_server_without_logging_or_roots_is_told_nothing() -> None:
    told = Told({"roots": {}}, {"tools": {}})
    for _ in range(2):
        request = a_request(body(Ear(), roots=object(), level="debug"))
        assert (told.new_level(1, request), told.other_roots(request)) == ("", False)


async def test_a_server_that_does_not_take_a_level_is_called_all_the_same() -> None:
    def behave(exchange: Exchange) -> None:
        method = message(exchange).get("method")
        if method == "initialize":
            exchange.answer(result(exchange, {**LEGACY, "capabilities": LOGGING}), more="mcp-session-id: s1\r\n")
        elif method == "tools/call":
            exchange.answer(result(exchange, DONE))
        else:
            exchange.answer(b"", status=202 if "id" not in message(exchange) else 500)

    async with bench(behave, transport="http") as (server, upstream):
        client = Ear()
        for _ in range(2):
            assert said(await call(upstream, tool(), a_request(body(client, level="error")))) == DONE
    methods = [message(each).get("method") for each in server.exchanges]
    assert methods.count("logging/setLevel") == 1


async def test_over_the_older_transport_what_is_asked_before_a_call_began_is_the_calls() -> None:
    """The word that roots changed goes before the call, and a server may ask for them at once."""

    def then(old: OldServer, posted: Posted) -> None:
        if not any(each.method == ROOTS_CHANGED for each in old.posted):
            posted.answer(DONE)

    class Asking(OldServer):
        def _take(self, posted: Posted) -> None:
            super()._take(posted)
            if posted.method == ROOTS_CHANGED:
                posted.say({"id": "r-1", "method": "roots/list"})
            elif posted.message.get("id") == "r-1":
                last = next(each for each in reversed(self.posted) if each.method == "tools/call")
                last.answer(DONE)

    old, client = Asking(then), Ear()
    async with sse_bench(old, transport="sse") as (_, upstream):
        assert said(await call(upstream, tool(), a_request(body(client, roots="one", able=ROOTS)))) == DONE
        again = body(client, roots="other", able=ROOTS)
        first = await call(upstream, tool(), a_request(again))
        assert isinstance(first, InputRequired)
        answers = again.with_members({**again.members, "inputResponses": Raw(b'{"question":{"roots":[]}}')})
        assert said(await call(upstream, tool(), a_request(answers, continuation=first.state))) == DONE
    posted = [each.method for each in old.posted]
    assert posted.index(ROOTS_CHANGED) < len(posted) - posted[::-1].index("tools/call") - 1
    assert next(each.message["result"] for each in old.posted if each.message.get("id") == "r-1") == {"roots": []}


async def test_over_the_older_transport_what_is_not_known_is_the_calls_and_what_is_between_two_is_not() -> None:
    def then(old: OldServer, posted: Posted) -> None:
        posted.say(CANCELLED)
        posted.say(PULSE)
        posted.answer(DONE)

    seen = Seen()
    async with sse_bench(OldServer(then), transport="sse") as (_, upstream):
        await upstream.call(a_request(params("modern")), tool(), seen)
    relayed = [each.native for each in seen.events if isinstance(each, Log)]
    assert [each.raw for each in relayed if isinstance(each, Notice)] == [encode(PULSE)]


async def test_what_the_gateway_does_not_know_is_relayed_whatever_level_is_wanted() -> None:
    raw = encode(PULSE)
    quiet = EventWriter(token=b"", log_rank=99)
    assert quiet.notification(Log(level="debug", text="?", native=Notice(raw))) == raw
    assert quiet.notification(Log(level="emergency", text="?")) is None
