"""Servers that send arrays of messages (MCP 2025-03-26), well-made and not, at the upstream face over HTTP."""

import anyio
import pytest

from adapters.mcp.batches import MOST_HEARD
from adapters.mcp.wire import encode
from gateway.core.errors import InvalidRequest, UpstreamFailed
from gateway.core.limits import Limits
from gateway.core.model import InputRequired, Log
from tests.adapters.mcp.test_mcp_client_aside import ACCEPTED, Beside, asked_aside, asks
from tests.adapters.mcp.test_mcp_client_http import DONE, bench, error, legacy, message, result
from tests.fakes_mcp_client import Seen, a_request, call, params, said, tool
from tests.fakes_upstreams import Behave, Exchange

pytestmark = pytest.mark.anyio


def line(text: str) -> bytes:
    return encode({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}})


def array(*elements: bytes) -> bytes:
    return b" [" + b" ,".join(elements) + b"\n]"


def event(data: bytes) -> bytes:
    """The same as one event, which has no line breaks."""
    return data.replace(b"\n", b" ")


WAYS: dict[str, Behave] = {
    "alone": lambda exchange: exchange.answer(array(line("a"), line("b"), result(exchange, DONE))),
    "event": lambda exchange: exchange.stream(event(array(line("a"), line("b"), result(exchange, DONE)))),
    "events": lambda exchange: exchange.stream(
        line("a"), event(array(line("b"))), event(array(result(exchange, DONE)))
    ),
}


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_in_an_array_is_heard_in_order(way: str) -> None:
    seen = Seen()
    async with bench(legacy(WAYS[way])) as (_, upstream):
        answer = await upstream.call(a_request(params("modern")), tool(), seen)
    assert said(answer) == DONE
    assert [each.text for each in seen.events if isinstance(each, Log)] == ["a", "b"]


async def test_an_error_in_an_array_of_one_is_the_servers_under_whatever_status() -> None:
    for status in (200, 400):

        def refuse(exchange: Exchange, status: int = status) -> None:
            exchange.answer(array(error(exchange, -32602, "no such order")), status=status)

        async with bench(legacy(refuse, session="")) as (_, upstream):
            with pytest.raises(InvalidRequest) as refused:
                await call(upstream, tool(), a_request(params("modern")))
        assert refused.value.message == "shop: no such order"


LIES: dict[str, Behave] = {
    "nothing": lambda exchange: exchange.answer(b"[]"),
    "no answer": lambda exchange: exchange.answer(array(line("a"), line("b"))),
    "no message before it": lambda exchange: exchange.answer(array(b"7", result(exchange, DONE))),
    "an array in it": lambda exchange: exchange.answer(array(array(line("a")), result(exchange, DONE))),
    "another's": lambda exchange: exchange.answer(
        array(b'{"jsonrpc":"2.0","id":99999,"result":{}}', result(exchange, DONE))
    ),
    "twice": lambda exchange: exchange.answer(array(result(exchange, DONE), result(exchange, DONE))),
    "twice in an event": lambda exchange: exchange.stream(event(array(result(exchange, DONE), result(exchange, DONE)))),
    "too many": lambda exchange: exchange.answer(array(*[line("a")] * MOST_HEARD, result(exchange, DONE))),
    "half": lambda exchange: exchange.answer(array(result(exchange, DONE))[:-1]),
    "a long event": lambda exchange: exchange.stream(event(array(line("x" * 20_000), result(exchange, DONE)))),
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_array_that_lies_fails_its_call_as_its_messages_would_alone(lie: str) -> None:
    honest = True

    def behave(exchange: Exchange) -> None:
        exchange.answer(result(exchange, DONE)) if honest else LIES[lie](exchange)

    async with bench(legacy(behave), limits=Limits(event_bytes=10_000)) as (server, upstream):
        honest = False
        with pytest.raises(UpstreamFailed) as failure:
            await call(upstream, tool(), a_request(params("modern")))
        assert failure.value.message.startswith("shop ")
        assert sum(message(each).get("method") == "tools/call" for each in server.exchanges) == 1
        honest = True
        assert said(await call(upstream, tool(), a_request(params("modern")))) == DONE


async def test_what_a_session_says_in_an_array_beside_a_call_reaches_it() -> None:
    server = Beside()
    async with bench(server.behave) as (_, upstream), anyio.create_task_group() as group:
        group.start_soon(asked_aside, server, event(array(line("a"), asks("e-1"))))
        first = await call(upstream, tool(), a_request(params("modern")))
        assert isinstance(first, InputRequired)
        again = params("modern", inputResponses={"question": ACCEPTED})
        assert said(await call(upstream, tool(), a_request(again, continuation=first.state))) == DONE
    assert [(each["id"], each["result"]) for each in server.told] == [("e-1", ACCEPTED)]
