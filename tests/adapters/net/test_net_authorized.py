"""Requests that show a token: each one does, and a refused one is sent again with another only."""

import anyio
import pytest

from adapters.net.address import address_from_url
from adapters.net.authorized import AuthorizedPool
from adapters.net.http1 import PoolLimits
from adapters.net.tls import client_context
from gateway.core.errors import Denied, InvalidRequest
from gateway.core.ports.world import Secret
from tests.fakes_upstreams import Behave, Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio


class Tokens:
    """See `UpstreamToken`; gives one after the other as they are refused."""

    def __init__(self, *tokens: str) -> None:
        self.left = [Secret(token) for token in tokens]

    async def get(self, deadline_s: float) -> Secret:
        if not self.left:
            raise Denied("there is none")
        return self.left[0]

    def refused(self, token: Secret) -> None:
        if len(self.left) > 1 or token.reveal() == "last":
            self.left.remove(token)

    async def wider(self, token: Secret, scopes: tuple[str, ...], deadline_s: float) -> Secret:
        if "more" in scopes and token.reveal() == "one":
            return Secret("one-and-more")
        return token


def door(*good: bytes) -> Behave:
    def behave(exchange: Exchange) -> None:
        shown = exchange.headers.get(b"authorization", b"")
        exchange.answer(shown, status=200 if shown.removeprefix(b"Bearer ") in good else 401)

    return behave


def pool_to(server: RawServer, tokens: Tokens) -> AuthorizedPool:
    address = address_from_url(server.url)
    return AuthorizedPool(address, name="crm", tls=client_context(), limits=PoolLimits(), token=tokens)


async def shown_to(server: RawServer, tokens: Tokens) -> tuple[int, bytes]:
    pool = pool_to(server, tokens)
    with anyio.fail_after(60):
        response = await pool.send(b"GET", b"/", b"", b"", deadline_s=anyio.current_time() + 60)
        body = await response.read(1000)
        await pool.aclose()
    return response.status, body


async def test_a_request_shows_the_token() -> None:
    async with raw_server(door(b"one")) as server:
        assert await shown_to(server, Tokens("one")) == (200, b"Bearer one")


async def test_a_refused_token_is_replaced_once() -> None:
    async with raw_server(door(b"two", b"three")) as server:
        assert await shown_to(server, Tokens("one", "two")) == (200, b"Bearer two")
        assert (await shown_to(server, Tokens("zero", "one", "two")))[0] == 401


async def test_without_another_token_the_refusal_stands() -> None:
    async with raw_server(door()) as server:
        assert (await shown_to(server, Tokens("one")))[0] == 401
        with pytest.raises(Denied):
            await shown_to(server, Tokens("last"))


@pytest.mark.parametrize(
    ("status", "said", "shown"),
    [
        (403, 'Bearer error="insufficient_scope", scope="more"', [b"one", b"one-and-more"]),
        (401, 'Bearer scope="more"', [b"one", b"one-and-more"]),
        (403, 'Bearer scope="more"', [b"one"]),
        (403, 'Bearer error="insufficient_scope"', [b"one"]),
        (403, 'Bearer error="insufficient_scope", scope="other"', [b"one"]),
        (200, 'Bearer error="insufficient_scope", scope="more"', [b"one"]),
    ],
)
async def test_a_token_that_is_not_good_for_it_is_replaced_once_by_one_that_is(
    status: int, said: str, shown: list[bytes]
) -> None:
    def refuse(exchange: Exchange) -> None:
        exchange.answer(b"", status=status, more=f"www-authenticate: {said}\r\n")

    async with raw_server(refuse) as server:
        assert await shown_to(server, Tokens("one")) == (status, b"")
        found = [each.headers[b"authorization"].removeprefix(b"Bearer ") for each in server.exchanges]

    assert found == shown


def test_no_token_is_shown_in_clear_to_another_machine() -> None:
    with pytest.raises(InvalidRequest, match="https"):
        AuthorizedPool(
            address_from_url("http://crm.test/mcp"),
            name="crm",
            tls=client_context(),
            limits=PoolLimits(),
            token=Tokens("one"),
        )
