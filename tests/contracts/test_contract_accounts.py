"""Every store of connected accounts keeps these promises."""

from collections.abc import AsyncGenerator
from dataclasses import replace

import anyio
import pytest

from adapters.storage.accounts import SqlAccounts
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.ports.accounts import Account, Accounts
from gateway.testing.stores.accounts import MemoryAccounts
from tests.contracts.databases import STORES, opened

pytestmark = pytest.mark.anyio

ANA = Account(
    tenant="default",
    subject="corp:ana",
    server="crm",
    issuer="https://login.test",
    scope="read write",
    sealed=b"\x00\xff sealed",
    connected_at_us=1,
    renewed_at_us=2,
)


@pytest.fixture(params=STORES)
async def accounts(request: pytest.FixtureRequest) -> AsyncGenerator[Accounts]:
    if request.param == "memory":
        yield MemoryAccounts()
        return
    async with opened(request, GATEWAY_SCHEMA) as database:
        yield SqlAccounts(database)


async def test_an_account_is_found_as_it_was_put_and_by_nobody_elses_name(accounts: Accounts) -> None:
    await accounts.put(ANA)

    assert await accounts.find("default", "corp:ana", "crm") == ANA
    for tenant, subject, server in (
        ("other", "corp:ana", "crm"),
        ("default", "bob", "crm"),
        ("default", "corp:ana", "x"),
    ):
        assert await accounts.find(tenant, subject, server) is None


async def test_a_later_one_takes_the_place_of_an_earlier_one(accounts: Accounts) -> None:
    await accounts.put(ANA)
    later = replace(ANA, sealed=b"other", renewed_at_us=3)
    await accounts.put(later)

    assert await accounts.all("default") == (later,)


async def test_accounts_are_listed_by_tenant_in_order(accounts: Accounts) -> None:
    rows = [replace(ANA, server=server, subject=subject) for server in ("crm", "erp") for subject in ("ana", "bob")]
    for row in (*reversed(rows), replace(ANA, tenant="other")):
        await accounts.put(row)

    assert await accounts.all("default") == tuple(rows)


async def test_what_is_removed_is_gone(accounts: Accounts) -> None:
    await accounts.put(ANA)

    assert await accounts.remove("default", "corp:ana", "crm") is True
    assert await accounts.remove("default", "corp:ana", "crm") is False
    assert await accounts.find("default", "corp:ana", "crm") is None


async def test_an_account_is_replaced_only_as_it_was_seen(accounts: Accounts) -> None:
    later = replace(ANA, sealed=b"other", renewed_at_us=3)

    assert await accounts.replace(later, ANA.sealed) is False, "there is none"
    await accounts.put(ANA)
    assert await accounts.replace(later, b"something else") is False
    assert await accounts.find("default", "corp:ana", "crm") == ANA
    assert await accounts.replace(later, ANA.sealed) is True
    assert await accounts.replace(ANA, ANA.sealed) is False
    assert await accounts.all("default") == (later,)


async def test_an_account_is_dropped_only_as_it_was_seen(accounts: Accounts) -> None:
    await accounts.put(ANA)

    assert await accounts.drop(replace(ANA, sealed=b"other")) is False
    assert await accounts.drop(ANA) is True
    assert await accounts.drop(ANA) is False


async def test_of_many_renewals_at_once_one_is_kept(accounts: Accounts) -> None:
    await accounts.put(ANA)
    kept: list[int] = []

    async def renew(number: int) -> None:
        if await accounts.replace(replace(ANA, sealed=b"%d" % number), ANA.sealed):
            kept.append(number)

    with anyio.fail_after(120):
        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(renew, number)

    (stored,) = await accounts.all("default")
    assert [b"%d" % number for number in kept] == [stored.sealed]
