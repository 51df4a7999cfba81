"""Every store of claims keeps these promises."""

from collections.abc import AsyncGenerator

import anyio
import pytest

from adapters.storage.claims import SqlClaims
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.ports.claims import Claims
from gateway.testing.stores.claims import MemoryClaims
from tests.contracts.databases import STORES, opened

pytestmark = pytest.mark.anyio


@pytest.fixture(params=STORES)
async def claims(request: pytest.FixtureRequest) -> AsyncGenerator[Claims]:
    if request.param == "memory":
        yield MemoryClaims()
        return
    async with opened(request, GATEWAY_SCHEMA) as database:
        yield SqlClaims(database)


async def test_what_one_has_no_other_gets_before_its_time_is_over(claims: Claims) -> None:
    assert await claims.take("default", "link", "ana", now_us=0, until_us=10)

    assert not await claims.take("default", "link", "eve", now_us=9, until_us=20)
    assert await claims.take("default", "link", "eve", now_us=10, until_us=20)
    assert not await claims.take("default", "link", "ana", now_us=11, until_us=30)


async def test_whoever_has_it_may_take_it_again_for_longer(claims: Claims) -> None:
    assert await claims.take("default", "link", "ana", now_us=0, until_us=10)
    assert await claims.take("default", "link", "ana", now_us=9, until_us=20)

    assert not await claims.take("default", "link", "eve", now_us=15, until_us=30)


async def test_one_name_is_anothers_concern_in_another_tenant(claims: Claims) -> None:
    assert await claims.take("default", "link", "ana", now_us=0, until_us=10)

    assert await claims.take("other", "link", "eve", now_us=1, until_us=10)
    assert await claims.take("default", "account", "eve", now_us=1, until_us=10)


async def test_it_is_let_go_of_by_whoever_has_it_only(claims: Claims) -> None:
    assert await claims.take("default", "link", "ana", now_us=0, until_us=10)

    await claims.leave("default", "link", "eve")
    assert not await claims.take("default", "link", "eve", now_us=1, until_us=10)
    await claims.leave("default", "link", "ana")
    await claims.leave("default", "link", "ana")
    assert await claims.take("default", "link", "eve", now_us=1, until_us=10)


async def test_it_is_passed_on_by_whoever_has_it_only_and_for_no_longer(claims: Claims) -> None:
    assert await claims.take("default", "link", "ana", now_us=0, until_us=10)

    await claims.pass_on("default", "link", "eve", "eve")
    assert not await claims.take("default", "link", "eve", now_us=1, until_us=10)
    await claims.pass_on("default", "link", "ana", "used")
    assert not await claims.take("default", "link", "ana", now_us=9, until_us=20)
    assert await claims.take("default", "link", "eve", now_us=10, until_us=20)


async def test_of_many_at_once_one_gets_it(claims: Claims) -> None:
    got: list[str] = []

    async def take(holder: str) -> None:
        if await claims.take("default", "link", holder, now_us=0, until_us=10):
            got.append(holder)

    with anyio.fail_after(120):
        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(take, f"holder {number}")

    assert len(got) == 1
