"""Tokens the gateway gets for itself, and those it exchanges a caller's for: kept, renewed once, never mixed up."""

from typing import Any

import anyio
import pytest

from adapters.net.client_auth import Client
from adapters.oauth.kept import MARGIN_S, MOST_WIDENED, NO_SOONER_S
from adapters.oauth.service import ExchangedTokens, ServiceTokens
from adapters.oauth.terms import Fixed, Terms, Wish
from adapters.oauth.token_endpoint import TokenEndpoint, TokenRefused
from gateway.core.errors import DeadlineExceeded, Denied, GatewayError, Unavailable, UpstreamFailed
from gateway.core.limits import Budget
from gateway.core.model import Principal, Request, principal
from gateway.core.ports.world import Secret
from tests.fakes import FakeClock
from tests.fakes_oauth import FakeAuthorizationServer

pytestmark = pytest.mark.anyio

WISH = Wish(resource="https://crm.test/mcp", scopes=("crm.read", "crm.write"))


class House:
    def __init__(self, wish: Wish = WISH) -> None:
        self.clock = FakeClock()
        self.server = FakeAuthorizationServer()
        self.endpoint = TokenEndpoint(self.server, Client(id="gateway", secret=Secret("s3cret")))
        self.agreement = Fixed(Terms(endpoint=self.endpoint, wish=wish))
        self.service = ServiceTokens(self.agreement, self.clock)
        self.callers = {"aa": Secret("token of ana"), "bb": Secret("token of bob")}
        self.exchanged = ExchangedTokens("crm", self.agreement, self.clock, self.callers.get)

    async def get(self) -> str:
        return (await self.service.own.get(self.clock.monotonic_s() + 10)).reveal()

    async def get_for(self, request: Request) -> str:
        token = self.exchanged.of(self.exchanged.key(request))
        return (await token.get(self.clock.monotonic_s() + 10)).reveal()

    async def wider(self, token: Secret, *scopes: str) -> Secret:
        return await self.service.own.wider(token, scopes, self.clock.monotonic_s() + 10)


def a_request(credential: str = "", who: Principal | None = None) -> Request:
    return Request(
        id="req_1",
        principal=who or principal("corp:ana"),
        capability="tool:crm/find",
        operation="call",
        budget=Budget(deadline_s=1.0),
        credential=credential,
    )


async def test_a_token_is_asked_for_with_its_resource_and_kept_until_shortly_before_its_end() -> None:
    house = House()

    assert [await house.get(), await house.get()] == ["access-1", "access-1"]
    house.clock.advance(600 - MARGIN_S - 1)
    assert await house.get() == "access-1"
    house.clock.advance(1)
    assert await house.get() == "access-2"
    assert house.server.forms[0] == {
        "grant_type": "client_credentials",
        "resource": "https://crm.test/mcp",
        "scope": "crm.read crm.write",
    }


async def test_many_at_once_wait_for_one_token_and_one_that_gives_up_spoils_nothing() -> None:
    house = House()
    house.server.held = anyio.Event()
    found: list[str] = []

    async def call() -> None:
        found.append(await house.get())

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as impatient:
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            impatient.cancel()
        for _ in range(20):
            tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        house.server.held.set()

    assert found == ["access-1"] * 21
    assert len(house.server.forms) == 1


async def test_a_token_that_still_counts_is_used_while_its_issuer_is_down() -> None:
    house = House()
    await house.get()
    house.server.problem = Unavailable("down")

    house.clock.advance(570)
    assert await house.get() == "access-1"
    house.clock.advance(31)
    with pytest.raises(Unavailable):
        await house.get()


async def test_an_issuer_that_does_not_answer_is_waited_for_no_longer_than_the_call_allows() -> None:
    house = House()
    house.server.held = anyio.Event()

    with anyio.fail_after(60), pytest.raises(DeadlineExceeded) as late:
        await house.service.own.get(house.clock.monotonic_s() + 0.01)

    assert late.value.detail["sent"] is False


async def test_a_token_the_server_refused_is_replaced_but_not_again_and_again() -> None:
    house = House()
    own = house.service.own
    first = await own.get(house.clock.monotonic_s() + 10)

    own.refused(first)
    assert await house.get() == "access-1", "it was fetched just now"
    house.clock.advance(NO_SOONER_S)
    own.refused(Secret("another"))
    assert await house.get() == "access-1"
    own.refused(first)
    assert await house.get() == "access-2"


@pytest.mark.parametrize(
    "said",
    [
        {"access_token": ""},
        {"access_token": 7},
        {"access_token": "two words"},
        {"access_token": "line\r\nx-evil: 1"},
        {"access_token": "x" * 20_000},
        {"token_type": "DPoP"},
        {"token_type": None},
    ],
    ids=lambda said: str(said)[:40],
)
async def test_what_is_no_token_is_not_shown_to_anybody(said: dict[str, Any]) -> None:
    house = House()
    house.server.changed = said

    with pytest.raises(UpstreamFailed):
        await house.get()


async def test_a_refusal_says_the_servers_word_and_no_secret() -> None:
    house = House()
    house.server.status = 400
    for error, word in (
        ("invalid_client", "invalid_client"),
        ("<b>s3cret</b>", "HTTP status 400"),
        (7, "HTTP status 400"),
    ):
        house.server.changed = {"error": error, "error_description": "s3cret"}

        with pytest.raises(TokenRefused) as refused:
            await house.get()

        assert word in refused.value.message and "s3cret" not in str(refused.value.describe())


async def test_each_callers_token_is_exchanged_and_none_is_given_to_another() -> None:
    house = House()

    tokens = [await house.get_for(a_request(credential)) for credential in ("aa", "bb", "aa", "bb")]

    assert tokens == ["access-1", "access-2", "access-1", "access-2"]
    assert [form["subject_token"] for form in house.server.forms] == ["token of ana", "token of bob"]
    assert house.server.forms[0] == {
        **WISH.form(),
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "token of ana",
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }


async def test_lists_are_read_in_the_gateways_own_name() -> None:
    house = House()

    await house.exchanged.own.get(house.clock.monotonic_s() + 10)

    assert house.server.forms[0]["grant_type"] == "client_credentials"


@pytest.mark.parametrize(
    "call",
    [
        a_request(),
        a_request("cc"),
        a_request("aa", principal("workflow:help", kind="workflow", behind=principal("corp:ana"))),
    ],
    ids=["by a key", "by a token that is over", "by a workflow"],
)
async def test_whoever_brings_no_token_of_their_own_is_refused_before_anything_is_sent(call: Request) -> None:
    house = House()

    with pytest.raises(Denied) as refused:
        await house.get_for(call)

    assert refused.value.detail["sent"] is False
    assert house.server.forms == []


async def test_no_secret_shows_itself() -> None:
    house = House()
    granted = await house.endpoint.grant({"grant_type": "refresh_token"})

    shown = repr(granted) + repr(house.endpoint.client)

    assert "access-" not in shown and "refresh-" not in shown and "s3cret" not in shown


def test_errors_of_a_grant_are_errors_that_cross_ports() -> None:
    assert issubclass(TokenRefused, GatewayError)


async def test_a_token_is_got_anew_for_what_the_server_wants_more_until_it_wants_too_often() -> None:
    house = House(Wish(resource="https://crm.test/mcp"))
    first = await house.service.own.get(house.clock.monotonic_s() + 10)

    second = await house.wider(first, "read")
    assert await house.wider(first, "read") is second, "somebody else got it meanwhile"
    assert await house.wider(second, "read") is second, "more is not to be had"
    third = await house.wider(second, "write", "read")
    for number in range(10):
        third = await house.wider(third, f"more-{number}")

    asked = [form.get("scope") for form in house.server.forms]
    assert asked[:3] == [None, "read", "read write"]
    assert len(asked) == 1 + MOST_WIDENED
    assert (await house.get()) == third.reveal()


async def test_what_the_issuer_does_not_give_leaves_the_token_as_it_was() -> None:
    house = House(Wish(resource="https://crm.test/mcp"))
    first = await house.service.own.get(house.clock.monotonic_s() + 10)
    house.server.status, house.server.changed = 400, {"error": "invalid_scope"}

    assert await house.wider(first, "root") is first
    house.server.status, house.server.changed = 200, {}
    assert await house.get() == "access-1"
    house.clock.advance(600)
    await house.get()
    assert house.server.forms[-1].get("scope") is None


async def test_no_more_is_got_than_the_configuration_names() -> None:
    house = House()
    first = await house.service.own.get(house.clock.monotonic_s() + 10)

    assert await house.wider(first, "root") is first
    assert len(house.server.forms) == 1


async def test_two_that_want_more_at_once_both_get_it() -> None:
    house = House(Wish(resource="https://crm.test/mcp"))
    first = await house.service.own.get(house.clock.monotonic_s() + 10)
    house.server.held = anyio.Event()
    found: dict[str, Secret] = {}

    async def want(scope: str) -> None:
        found[scope] = await house.wider(first, scope)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for scope in ("read", "write"):
                tasks.start_soon(want, scope)
            await anyio.wait_all_tasks_blocked()
            assert await house.get() == first.reveal(), "nobody else waits for it"
            house.server.held.set()

    assert sorted(map(str, [form.get("scope") for form in house.server.forms[1:]])) in (
        ["read", "read write"],
        ["write", "write read"],
    )
    assert len({token.reveal() for token in found.values()}) == 2


async def test_what_could_not_be_asked_for_more_is_not_asked_for_it_ever_after() -> None:
    house = House(Wish(resource="https://crm.test/mcp"))
    first = await house.service.own.get(house.clock.monotonic_s() + 10)
    house.server.problem = Unavailable("down")
    with pytest.raises(Unavailable):
        await house.wider(first, "root")
    house.server.problem = None
    house.server.held = anyio.Event()
    with pytest.raises(DeadlineExceeded):
        await house.service.own.wider(first, ("root",), house.clock.monotonic_s() + 0.01)
    house.server.held = None

    assert await house.get() == "access-1"
    house.clock.advance(600)
    await house.get()

    assert house.server.forms[-1].get("scope") is None
