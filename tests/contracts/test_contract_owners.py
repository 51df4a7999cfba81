"""What every `TaskOwners` does."""

from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import pytest

from adapters.storage.owners import SqlTaskOwners
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.ports.storage import OwnedTask, TaskOwners
from gateway.testing.stores.owners import MemoryOwners
from tests.contracts.databases import STORES, opened

pytestmark = pytest.mark.anyio

TASK = OwnedTask(tenant="default", agent="refunds", task_id="t1", context_id="c1", subject="ana", created_at_us=10)


@pytest.fixture(params=STORES)
async def owners(request: pytest.FixtureRequest) -> AsyncIterator[TaskOwners]:
    if request.param == "memory":
        yield MemoryOwners()
        return
    async with opened(request, GATEWAY_SCHEMA) as database:
        yield SqlTaskOwners(database)


async def test_a_claimed_task_is_found_whole(owners: TaskOwners) -> None:
    assert await owners.claim(TASK)

    assert await owners.find("default", "refunds", "t1") == TASK


async def test_ones_own_task_can_be_claimed_again_and_keeps_its_first_row(owners: TaskOwners) -> None:
    await owners.claim(TASK)

    assert await owners.claim(replace(TASK, context_id="c2", created_at_us=99))

    assert await owners.find("default", "refunds", "t1") == TASK


async def test_somebody_elses_task_cannot_be_claimed(owners: TaskOwners) -> None:
    await owners.claim(TASK)

    assert not await owners.claim(replace(TASK, subject="eve"))

    assert await owners.find("default", "refunds", "t1") == TASK


@pytest.mark.parametrize(
    "elsewhere", [("other", "refunds", "t1"), ("default", "triage", "t1"), ("default", "refunds", "t2")]
)
async def test_a_task_is_found_only_by_its_tenant_agent_and_id(
    owners: TaskOwners, elsewhere: tuple[str, str, str]
) -> None:
    await owners.claim(TASK)

    assert await owners.find(*elsewhere) is None


async def test_the_same_id_in_another_tenant_is_another_task(owners: TaskOwners) -> None:
    await owners.claim(TASK)

    assert await owners.claim(replace(TASK, tenant="other", subject="eve"))


async def test_a_subjects_tasks_are_those_of_one_agent_and_tenant(owners: TaskOwners) -> None:
    for task in (
        TASK,
        replace(TASK, task_id="t2"),
        replace(TASK, task_id="t3", subject="eve"),
        replace(TASK, task_id="t4", agent="triage"),
        replace(TASK, task_id="t5", tenant="other"),
    ):
        await owners.claim(task)

    assert await owners.of("default", "refunds", "ana") == {"t1", "t2"}


async def test_of_two_who_claim_at_once_one_wins(owners: TaskOwners) -> None:
    won: list[str] = []

    async def claim(subject: str) -> None:
        if await owners.claim(replace(TASK, subject=subject)):
            won.append(subject)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(claim, f"subject-{number}")

    found = await owners.find("default", "refunds", "t1")
    assert found is not None
    assert won == [found.subject]
