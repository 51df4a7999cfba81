"""Tokens of an account that is over: forgotten here first, and given back to whoever gave them."""

import anyio
import pytest

from gateway.core.errors import Denied, Unavailable
from tests.fakes_accounts import ANA, BOB, AccountHouse
from tests.fakes_oauth import ISSUER

pytestmark = pytest.mark.anyio


async def connected() -> AccountHouse:
    house = AccountHouse()
    house.server.about = {"revocation_endpoint": f"{ISSUER}/revoke"}
    await house.connect(ANA)
    return house


async def test_a_revoked_accounts_tokens_are_given_back() -> None:
    house = await connected()
    await house.connect(BOB)

    assert await house.accounts.revoke("default", "crm", "ana")
    assert not await house.accounts.revoke("default", "crm", "ana")

    assert house.server.revoked == [
        {"token": "refresh-1", "token_type_hint": "refresh_token"},
        {"token": "access-1", "token_type_hint": "access_token"},
    ]
    assert await house.get(BOB) == "access-2"


async def test_the_account_is_gone_before_its_issuer_is_waited_for_and_whether_or_not_it_answers() -> None:
    house = await connected()
    house.server.held = anyio.Event()
    gone: list[bool] = []

    async def revoke() -> None:
        gone.append(await house.accounts.revoke("default", "crm", "ana"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(revoke)
        await anyio.wait_all_tasks_blocked()
        assert gone == [] and await house.store.all("default") == ()
        with pytest.raises(Denied):
            await house.get(ANA)
        house.server.held.set()
    assert gone == [True]

    for spoiled in ({"revocation_endpoint": "file:///x"}, {}):
        await house.connect(ANA)
        house.server.about = {**spoiled}
        assert await house.accounts.revoke("default", "crm", "ana")
    house.server.about = {"revocation_endpoint": f"{ISSUER}/revoke"}
    await house.connect(ANA)
    house.server.problem = Unavailable("it does not answer")
    assert await house.accounts.revoke("default", "crm", "ana")


async def test_an_account_at_a_server_that_is_gone_is_forgotten() -> None:
    house = await connected()
    house.accounts.only([])

    assert await house.accounts.revoke("default", "crm", "ana")
    assert house.server.revoked == [] and await house.store.all("default") == ()
