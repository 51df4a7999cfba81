"""People's accounts at servers: connected by them alone, renewed once, sealed, and nobody else's."""

from base64 import urlsafe_b64encode
from dataclasses import replace
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest

from adapters.net.authorization_server import ClientSecret
from adapters.oauth.accounts import LOOK_AGAIN_S
from adapters.oauth.connecting import CALLBACK, CONNECT, VALID_S, Begun
from adapters.oauth.kept import NO_SOONER_S
from adapters.oauth.service import Wish
from adapters.oauth.token_endpoint import TokenEndpoint
from adapters.oauth.vault import Connection, Owner
from gateway.app.accounts import ConnectedAccounts
from gateway.core.errors import (
    Conflict,
    DeadlineExceeded,
    Denied,
    GatewayError,
    InvalidRequest,
    NotFound,
    Unavailable,
    UpstreamFailed,
)
from gateway.core.limits import Budget
from gateway.core.model import Request, principal
from gateway.testing.stores.accounts import MemoryAccounts
from gateway.testing.stores.claims import MemoryClaims
from tests.fakes import FakeClock
from tests.fakes_oauth import ISSUER, FakeAuthorizationServer

pytestmark = pytest.mark.anyio

ANA: Owner = ("default", "ana")
BOB: Owner = ("default", "bob")


class WatchedClaims(MemoryClaims):
    """Tells when somebody did not get what another has."""

    def __init__(self) -> None:
        super().__init__()
        self.missed = anyio.Event()

    async def take(self, tenant: str, name: str, holder: str, *, now_us: int, until_us: int) -> bool:
        taken = await super().take(tenant, name, holder, now_us=now_us, until_us=until_us)
        if not taken:
            self.missed.set()
        return taken


class House:
    def __init__(self, beside: "House | None" = None) -> None:
        """`beside`: another gateway, on the same database."""
        self.clock = FakeClock()
        self.server = FakeAuthorizationServer() if beside is None else beside.server
        self.store = MemoryAccounts() if beside is None else beside.store
        self.claims = WatchedClaims() if beside is None else beside.claims
        self.accounts = ConnectedAccounts(self.store, self.claims, bytes(range(32)), self.clock)
        self.accounts.connecting.base = "https://gateway.test"
        endpoint = TokenEndpoint(self.server, ClientSecret(id="https://gateway.test/oauth/client.json"))
        wish = Wish(resource="https://crm.test/mcp", scopes=("crm",))
        self.connection = Connection(slug="crm", endpoint=endpoint, wish=wish)
        self.poked = 0
        self.personal = self.accounts.at(self.connection, "default", self.poke)

    def poke(self) -> None:
        self.poked += 1

    def ticket(self, owner: Owner = ANA) -> str:
        return self.accounts.connecting.link(self.connection, owner).removeprefix(f"https://gateway.test{CONNECT}")

    async def begin(self, owner: Owner = ANA) -> Begun:
        return await self.accounts.connecting.begin(self.ticket(owner))

    async def connect(self, owner: Owner = ANA) -> None:
        begun = await self.begin(owner)
        await self.accounts.connecting.finish(answer_to(begun), begun.cookie)

    async def get(self, owner: Owner = ANA) -> str:
        token = self.accounts.tokens.of(self.connection, owner)
        with anyio.fail_after(20):
            return (await token.get(self.clock.monotonic_s() + 10)).reveal()


def asked_of(begun: Begun) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(begun.url).query).items()}


def answer_to(begun: Begun, **changed: str) -> dict[str, str]:
    return {"code": "c0de", "state": asked_of(begun)["state"], "iss": ISSUER, **changed}


def challenge_of(verifier: str) -> str:
    """RFC 7636, section 4.2."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


async def test_a_person_who_goes_on_from_the_link_connects_their_account() -> None:
    house = House()

    begun = await house.begin()
    asked = asked_of(begun)
    await house.accounts.connecting.finish(answer_to(begun), begun.cookie)

    assert begun.url.startswith(f"{ISSUER}/auth?")
    form = house.server.forms[0]
    assert {name: asked[name] for name in ("response_type", "resource", "scope", "redirect_uri")} == {
        "response_type": "code",
        "resource": "https://crm.test/mcp",
        "scope": "crm",
        "redirect_uri": f"https://gateway.test{CALLBACK}",
    }
    assert asked["code_challenge_method"] == "S256"
    assert asked["code_challenge"] == challenge_of(form["code_verifier"])
    assert form["code_verifier"] not in begun.url
    assert await house.get() == "access-1"
    assert house.poked == 1


async def test_who_has_connected_none_is_told_where_to() -> None:
    house = House()
    await house.connect(BOB)

    with pytest.raises(Denied) as refused:
        await house.get(ANA)

    url = str(refused.value.detail["url"])
    assert house.accounts.connecting.asked(url.rpartition("/")[2]).owner == ANA
    assert refused.value.detail["sent"] is False
    assert url not in refused.value.message


async def test_a_state_that_was_stolen_is_of_no_use_in_another_browser() -> None:
    house = House()
    begun, others = await house.begin(ANA), await house.begin(BOB)

    for cookie in ("", others.cookie, begun.cookie + "x"):
        with pytest.raises(Denied, match="another browser"):
            await house.accounts.connecting.finish(answer_to(begun), cookie)
    with pytest.raises(Denied, match="another browser"):
        await house.accounts.connecting.finish(answer_to(others), begun.cookie)

    assert house.server.forms == []
    assert await house.store.all("default") == ()


@pytest.mark.parametrize("issuer", ["https://evil.test", ISSUER + "/", "", None])
async def test_an_answer_of_another_issuer_is_not_acted_upon(issuer: str | None) -> None:
    house = House()
    begun = await house.begin()
    query = answer_to(begun)
    if issuer is None:
        del query["iss"]
    else:
        query["iss"] = issuer

    with pytest.raises(Denied):
        await house.accounts.connecting.finish(query, begun.cookie)

    assert house.server.forms == []


async def test_what_was_begun_is_finished_once_and_soon() -> None:
    house = House()
    begun, late = await house.begin(), await house.begin()
    await house.accounts.connecting.finish(answer_to(begun), begun.cookie)

    with pytest.raises(Conflict):
        await house.accounts.connecting.finish(answer_to(begun), begun.cookie)
    house.clock.advance(VALID_S + 1)
    with pytest.raises(InvalidRequest, match="too old"):
        await house.accounts.connecting.finish(answer_to(late), late.cookie)


@pytest.mark.parametrize("text", ["", "x", "AAAA", "é", "A" * 9000, "../..", "a=b"])
async def test_a_link_or_state_that_is_none_is_refused(text: str) -> None:
    house = House()

    with pytest.raises(InvalidRequest):
        house.accounts.connecting.asked(text)
    with pytest.raises(InvalidRequest):
        await house.accounts.connecting.finish({"state": text, "code": "c", "iss": ISSUER}, "cookie")


async def test_what_was_finished_is_finished_however_its_state_is_written() -> None:
    house = House()
    begun = await house.begin()
    await house.accounts.connecting.finish(answer_to(begun), begun.cookie)
    state = asked_of(begun)["state"]

    for written in (f"{state}=", f"{state[:9]}!{state[9:]}", f"{state}.."):
        with pytest.raises((Conflict, InvalidRequest)):
            await house.accounts.connecting.finish(answer_to(begun, state=written), begun.cookie)

    assert len(house.server.forms) == 1


async def test_what_was_begun_at_one_issuer_is_not_finished_at_another_the_configuration_names_since() -> None:
    house = House()
    begun = await house.begin()
    evil = FakeAuthorizationServer()
    evil.issuer = "https://evil.test"
    endpoint = TokenEndpoint(evil, ClientSecret(id="gateway"))
    house.accounts.at(replace(house.connection, endpoint=endpoint), "default", house.poke)
    query = answer_to(begun, iss="https://evil.test")

    with pytest.raises(Denied):
        await house.accounts.connecting.finish(query, begun.cookie)

    assert evil.forms == []


async def test_a_link_is_no_state_and_a_state_no_link() -> None:
    house = House()
    begun = await house.begin()

    with pytest.raises(InvalidRequest):
        house.accounts.connecting.asked(asked_of(begun)["state"])
    with pytest.raises(InvalidRequest):
        await house.accounts.connecting.finish(answer_to(begun, state=house.ticket()), begun.cookie)


async def test_a_refusal_at_the_issuer_is_told_by_its_word_only() -> None:
    house = House()
    for error, word in (("access_denied", "access_denied"), ("<script>", "does not say")):
        begun = await house.begin()
        query = answer_to(begun, error=error)
        del query["code"]

        with pytest.raises(Denied, match=word):
            await house.accounts.connecting.finish(query, begun.cookie)


async def test_an_issuer_without_pkce_is_not_used() -> None:
    house = House()

    async def without() -> dict[str, str]:
        return {"issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/auth"}

    house.server.metadata = without  # pyright: ignore[reportAttributeAccessIssue] - another answer of the fake's

    with pytest.raises(UpstreamFailed, match="PKCE"):
        await house.begin()


async def test_what_is_stored_shows_no_token_and_is_nobody_elses() -> None:
    house = House()
    await house.connect(ANA)
    (row,) = await house.store.all("default")

    assert b"access" not in row.sealed and "access-1" not in repr(row)
    for changed in ({"subject": "bob"}, {"tenant": "other"}, {"server": "erp"}, {"issuer": "https://evil.test"}):
        moved = replace(row, **changed)
        assert house.accounts.tokens.vault.opened(moved, house.connection) == {}
    await house.store.put(replace(row, subject="bob"))
    with pytest.raises(Denied):
        await house.get(BOB)


async def test_a_token_is_renewed_once_for_all_who_wait_and_its_successor_is_kept() -> None:
    house = House()
    await house.connect()
    house.clock.advance(600)
    house.server.held = anyio.Event()
    found: list[str] = []

    async def call() -> None:
        found.append(await house.get())

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as impatient:
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            impatient.cancel()
        for _ in range(10):
            tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        house.server.held.set()
    house.clock.advance(600)
    await house.get()

    assert found == ["access-2"] * 11
    assert [form.get("refresh_token") for form in house.server.forms] == [None, "refresh-1", "refresh-2"]


async def test_of_two_gateways_one_renews_and_the_other_waits_for_what_it_stores() -> None:
    first = House()
    await first.connect()
    second = House(beside=first)
    first.clock.advance(600)
    second.clock.advance(600)
    first.server.held = anyio.Event()
    found: list[str] = []

    async def call(house: House) -> None:
        found.append(await house.get())

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, first)
            tasks.start_soon(call, second)
            await first.claims.missed.wait()
            first.server.held.set()

    assert found == ["access-2", "access-2"]
    assert [form.get("refresh_token") for form in first.server.forms] == [None, "refresh-1"]


async def test_whoever_waits_for_another_gateway_waits_no_longer_than_the_call_allows() -> None:
    house = House()
    await house.connect()
    house.clock.advance(600)
    name, now_us = "account crm ana", house.clock.now_us()
    assert await house.claims.take("default", name, "a gateway", now_us=now_us, until_us=now_us + 60_000_000)
    token = house.accounts.tokens.of(house.connection, ANA)

    with anyio.fail_after(20), pytest.raises(DeadlineExceeded):
        await token.get(house.clock.monotonic_s() + 0.05)
    # It died, and renewed nothing.
    house.clock.advance(60)

    assert await house.get() == "access-2"


@pytest.mark.parametrize("answer", ["new tokens", "none"])
async def test_an_account_that_is_revoked_while_it_is_renewed_stays_revoked(answer: str) -> None:
    house = House()
    await house.connect()
    house.clock.advance(600)
    house.server.held = anyio.Event()
    refused: list[Denied] = []

    async def call() -> None:
        with pytest.raises(Denied) as error:
            await house.get()
        refused.append(error.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        assert await house.accounts.revoke("default", "crm", "ana")
        if answer == "none":
            house.server.status, house.server.changed = 400, {"error": "invalid_grant"}
        house.server.held.set()

    assert len(refused) == 1
    assert await house.store.all("default") == ()


@pytest.mark.parametrize("answer", ["new tokens", "none"])
async def test_an_account_that_is_connected_anew_while_it_is_renewed_is_the_new_one(answer: str) -> None:
    house = House()
    await house.connect()
    house.clock.advance(600)
    begun = await house.begin()
    house.server.held = held = anyio.Event()
    found: list[str] = []

    async def call() -> None:
        found.append(await house.get())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        house.server.held = None
        await house.accounts.connecting.finish(answer_to(begun), begun.cookie)
        if answer == "none":
            house.server.status, house.server.changed = 400, {"error": "invalid_grant"}
        held.set()

    (row,) = await house.store.all("default")
    assert house.accounts.tokens.vault.opened(row, house.connection)["access"] == "access-2"
    assert found == ["access-2"]


async def test_a_token_given_for_one_place_is_not_shown_to_another_the_slug_leads_to_since() -> None:
    house = House()
    await house.connect()
    moved = replace(house.connection, wish=Wish(resource="https://elsewhere.test/mcp"))
    token = house.accounts.tokens.of(moved, ANA)

    assert (await token.get(house.clock.monotonic_s() + 10)).reveal() == "access-2"
    assert house.server.forms[-1]["resource"] == "https://elsewhere.test/mcp"

    third = replace(house.connection, wish=Wish(resource="https://third.test/mcp"))
    house.server.status, house.server.changed = 400, {"error": "invalid_target"}
    with pytest.raises(Denied):
        await house.accounts.tokens.of(third, ANA).get(house.clock.monotonic_s() + 10)


async def test_an_account_whose_issuer_wants_no_more_of_it_has_to_be_connected_anew() -> None:
    house = House()
    await house.connect()
    house.clock.advance(600)
    house.server.status, house.server.changed = 400, {"error": "invalid_grant"}

    with pytest.raises(Denied):
        await house.get()

    assert await house.store.all("default") == ()


async def test_an_issuer_that_is_down_costs_nobody_their_account() -> None:
    house = House()
    await house.connect()
    house.clock.advance(600)
    house.server.problem = Unavailable("down")

    with pytest.raises(Unavailable):
        await house.get()
    house.server.problem = None

    assert await house.get() == "access-2"


async def test_a_revoked_account_is_over_at_once_here_and_soon_elsewhere() -> None:
    house = House()
    other = House(beside=house)
    await house.connect()
    await house.get()
    await other.get()

    assert await house.accounts.revoke("default", "crm", "ana") is True
    assert await house.accounts.revoke("default", "crm", "ana") is False
    with pytest.raises(Denied):
        await house.get()
    other.clock.advance(LOOK_AGAIN_S)
    with pytest.raises(Denied):
        await other.get()


async def test_a_server_that_refuses_a_token_gets_another() -> None:
    house = House()
    await house.connect()
    token = house.accounts.tokens.of(house.connection, ANA)
    first = await token.get(house.clock.monotonic_s() + 10)

    token.refused(first)
    assert await house.get() == "access-1", "it was given just now"
    house.clock.advance(NO_SOONER_S)
    token.refused(first)

    assert await house.get() == "access-2"


def test_a_server_that_is_gone_is_connected_to_no_longer() -> None:
    house = House()
    ticket = house.ticket()
    house.accounts.only(["crm"])
    house.accounts.connecting.asked(ticket)

    house.accounts.only([])

    with pytest.raises(NotFound):
        house.accounts.connecting.asked(ticket)
    with pytest.raises(NotFound):
        house.accounts.link("default", "crm", "ana")


def test_what_is_done_on_somebodys_behalf_is_done_by_their_account() -> None:
    house = House()
    ana = principal("ana")
    agent = principal("agent:x", kind="agent", behind=principal("workflow:w", kind="workflow", behind=ana))

    def key(who: object) -> str:
        return house.personal.key(
            Request(id="req_1", principal=who, capability="tool:crm/x", operation="call", budget=Budget(deadline_s=1.0))  # pyright: ignore[reportArgumentType]
        )

    assert key(agent) == key(ana) != key(principal("bob"))
    assert key(principal("ana", tenant="other")) != key(ana)
    assert house.personal.own is None


def test_broken_flows_end_in_errors_that_cross_ports() -> None:
    assert issubclass(Conflict, GatewayError)
