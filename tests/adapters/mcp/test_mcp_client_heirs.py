"""Callers with access tokens of their own, renewed between a question and its answer; on raw sockets."""

import pytest

from adapters.mcp.client_callers import McpCallersUpstream
from adapters.mcp.settings import ServerSettings
from adapters.mcp.wire import encode
from gateway.core.errors import Denied, InvalidRequest
from gateway.core.json import JsonObject
from gateway.core.model import InputRequired, Request
from gateway.core.ports.credentials import OVER, UpstreamToken
from gateway.core.ports.world import Secret
from tests.adapters.mcp.test_mcp_client_http import DONE, legacy, message, result
from tests.fakes_mcp_client import a_request, call, params, parts, said, tool
from tests.fakes_upstreams import Exchange, raw_server

pytestmark = pytest.mark.anyio

ASKS = encode({"jsonrpc": "2.0", "id": "e-1", "method": "elicitation/create", "params": {"message": "?"}})
ACCEPTED: JsonObject = {"action": "accept", "content": {}}


class Exchanged:
    """A token for each credential that still counts."""

    own: UpstreamToken | None = None

    def __init__(self) -> None:
        self.over: set[str] = set()

    def key(self, request: Request) -> str:
        return request.credential

    def of(self, key: str) -> UpstreamToken:
        return _Of(self, key)


class _Of:
    def __init__(self, all_of_them: Exchanged, key: str) -> None:
        self._all = all_of_them
        self._key = key

    async def get(self, deadline_s: float) -> Secret:
        if self._key in self._all.over:
            raise Denied("that no longer counts", detail={"rule": OVER})
        return Secret(self._key)

    def refused(self, token: Secret) -> None:
        raise AssertionError

    async def wider(self, token: Secret, scopes: tuple[str, ...], deadline_s: float) -> Secret:
        raise AssertionError


class Asking:
    """A server that asks once in each call, and ends it when it has been told."""

    def __init__(self) -> None:
        self.calls: list[Exchange] = []
        self.told: list[bytes] = []
        self.behave = legacy(self._then)

    def take(self, exchange: Exchange) -> None:
        if exchange.method == b"GET":
            exchange.answer(b"", status=405)
        elif message(exchange).get("id") == "e-1":
            self.told.append(exchange.headers[b"authorization"])
            exchange.answer(b"", status=202)
            self.calls[-1].event(result(self.calls[-1], DONE))
            self.calls[-1].end()
        else:
            self.behave(exchange)

    def _then(self, exchange: Exchange) -> None:
        self.calls.append(exchange)
        exchange.stream(ASKS)


@pytest.mark.parametrize(("over", "shown"), [(False, b"Bearer first"), (True, b"Bearer second")])
async def test_an_answer_under_a_renewed_token_reaches_the_call_that_waits(over: bool, shown: bytes) -> None:
    server, tokens = Asking(), Exchanged()
    async with raw_server(server.take) as raw:
        upstream = McpCallersUpstream("shop", ServerSettings(url=raw.url), parts(), lambda: None, tokens)
        first = await call(upstream, tool(), a_request(params("modern"), credential="first"))
        assert isinstance(first, InputRequired)
        tokens.over = {"first"} if over else set()
        answer = params("modern", inputResponses={"question": ACCEPTED})
        again = a_request(answer, credential="second", continuation=first.state)
        assert said(await call(upstream, tool(), again)) == DONE
        assert server.told == [shown]
        with pytest.raises(InvalidRequest):
            await call(upstream, tool(), again)
        await upstream.aclose()


async def test_another_callers_answer_under_a_token_of_its_own_reaches_nobodys_call() -> None:
    server = Asking()
    async with raw_server(server.take) as raw:
        upstream = McpCallersUpstream("shop", ServerSettings(url=raw.url), parts(), lambda: None, Exchanged())
        first = await call(upstream, tool(), a_request(params("modern"), credential="first"))
        assert isinstance(first, InputRequired)
        answer = params("modern", inputResponses={"question": ACCEPTED})
        with pytest.raises(InvalidRequest):
            await call(upstream, tool(), a_request(answer, credential="x", continuation=first.state, subject="eve"))
        assert server.told == []
        await upstream.aclose()


async def test_a_token_that_counts_no_longer_is_followed_by_none_that_nobody_came_with() -> None:
    server, tokens = Asking(), Exchanged()
    tokens.over = {"first"}
    async with raw_server(server.take) as raw:
        upstream = McpCallersUpstream("shop", ServerSettings(url=raw.url), parts(), lambda: None, tokens)
        with pytest.raises(Denied):
            await call(upstream, tool(), a_request(params("modern"), credential="first"))
        await upstream.aclose()
