"""Tokens of people's accounts: renewed once, sealed, and nobody else's."""

from dataclasses import replace

import anyio
import pytest

from adapters.oauth.accounts import LOOK_AGAIN_S
from adapters.oauth.kept import NO_SOONER_S
from adapters.oauth.terms import Wish
from gateway.core.errors import DeadlineExceeded, Denied, Unavailable
from gateway.core.limits import Budget
from gateway.core.model import Request, principal
from tests.fakes_accounts import ANA, BOB, AccountHouse

pytestmark = pytest.mark.anyio


async def test_who_has_connected_none_is_told_where_to() -> None:
    house = AccountHouse()
    await house.connect(BOB)

    with pytest.raises(Denied) as refused:
        await house.get(ANA)

    url = str(refused.value.detail["url"])
    assert (await house.accounts.connecting.open(url.rpartition("/")[2], "a browser")).owner == ANA
    assert refused.value.detail["sent"] is False
    assert url not in refused.value.message


async def test_what_is_stored_shows_no_token_and_is_nobody_elses() -> None:
    house = AccountHouse()
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
    house = AccountHouse()
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
    first = AccountHouse()
    await first.connect()
    second = AccountHouse(beside=first)
    first.clock.advance(600)
    second.clock.advance(600)
    first.server.held = anyio.Event()
    found: list[str] = []

    async def call(house: AccountHouse) -> None:
        found.append(await house.get())

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, first)
            tasks.start_soon(call, second)
            await first.claims.missed.wait()
            first.server.held.set()

    assert found == ["access-2", "access-2"]
    assert [form.get("refresh_token") for form in first.server.forms] == [None, "refresh-1"]


async def test_whoever_waits_for_another_gateway_waits_no_longer_than_the_call_allows() -> None:
    house = AccountHouse()
    await house.connect()
    house.clock.advance(600)
    name, now_us = "account crm ana", house.clock.now_us()
    assert await house.claims.take("default", name, "a gateway", now_us=now_us, until_us=now_us + 60_000_000)
    token = house.accounts.tokens.of(house.connection, ANA)

    with anyio.fail_after(60), pytest.raises(DeadlineExceeded):
        await token.get(house.clock.monotonic_s() + 0.05)
    # It died, and renewed nothing.
    house.clock.advance(60)

    assert await house.get() == "access-2"


@pytest.mark.parametrize("answer", ["new tokens", "none"])
async def test_an_account_that_is_revoked_while_it_is_renewed_stays_revoked(answer: str) -> None:
    house = AccountHouse()
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
    house = AccountHouse()
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
        await house.accounts.connecting.finish(begun.answer(), begun.cookie)
        if answer == "none":
            house.server.status, house.server.changed = 400, {"error": "invalid_grant"}
        held.set()

    (row,) = await house.store.all("default")
    assert house.accounts.tokens.vault.opened(row, house.connection)["access"] == "access-2"
    assert found == ["access-2"]


async def test_a_token_given_for_one_place_is_not_shown_to_another_the_slug_leads_to_since() -> None:
    house = AccountHouse()
    await house.connect()
    moved = house.connection_for(Wish(resource="https://elsewhere.test/mcp"))
    token = house.accounts.tokens.of(moved, ANA)

    assert (await token.get(house.clock.monotonic_s() + 10)).reveal() == "access-2"
    assert house.server.forms[-1]["resource"] == "https://elsewhere.test/mcp"

    third = house.connection_for(Wish(resource="https://third.test/mcp"))
    house.server.status, house.server.changed = 400, {"error": "invalid_target"}
    with pytest.raises(Denied):
        await house.accounts.tokens.of(third, ANA).get(house.clock.monotonic_s() + 10)


async def test_an_account_whose_issuer_wants_no_more_of_it_has_to_be_connected_anew() -> None:
    house = AccountHouse()
    await house.connect()
    house.clock.advance(600)
    house.server.status, house.server.changed = 400, {"error": "invalid_grant"}

    with pytest.raises(Denied):
        await house.get()

    assert await house.store.all("default") == ()


async def test_an_issuer_that_is_down_costs_nobody_their_account() -> None:
    house = AccountHouse()
    await house.connect()
    house.clock.advance(600)
    house.server.problem = Unavailable("down")

    with pytest.raises(Unavailable):
        await house.get()
    house.server.problem = None

    assert await house.get() == "access-2"


async def test_a_revoked_account_is_over_at_once_here_and_soon_elsewhere() -> None:
    house = AccountHouse()
    other = AccountHouse(beside=house)
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
    house = AccountHouse()
    await house.connect()
    token = house.accounts.tokens.of(house.connection, ANA)
    first = await token.get(house.clock.monotonic_s() + 10)

    token.refused(first)
    assert await house.get() == "access-1", "it was given just now"
    house.clock.advance(NO_SOONER_S)
    token.refused(first)

    assert await house.get() == "access-2"


def test_what_is_done_on_somebodys_behalf_is_done_by_their_account() -> None:
    house = AccountHouse()
    ana = principal("ana")
    agent = principal("agent:x", kind="agent", behind=principal("workflow:w", kind="workflow", behind=ana))

    def key(who: object) -> str:
        return house.personal.key(
            Request(id="req_1", principal=who, capability="tool:crm/x", operation="call", budget=Budget(deadline_s=1.0))  # pyright: ignore[reportArgumentType]
        )

    assert key(agent) == key(ana) != key(principal("bob"))
    assert key(principal("ana", tenant="other")) != key(ana)
    assert house.personal.own is None
