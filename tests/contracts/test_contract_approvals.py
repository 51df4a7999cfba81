"""What every `Approvals` does."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from adapters.storage.approvals import SqlApprovals
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.errors import Conflict, NotFound
from gateway.core.ports.approvals import Approval, Approvals
from gateway.testing.stores.approvals import MemoryApprovals
from tests.contracts.databases import STORES, opened
from tests.fakes_api import an_approval

pytestmark = pytest.mark.anyio

ASKED = replace(an_approval(), schema={"type": "object"})


def approved(asked: Approval = ASKED, by: str = "carl") -> Approval:
    return replace(asked, state="approved", answered_by=by, answered_at_us=7, value={"amount": 1}, comment="fine")


@pytest.fixture(params=STORES)
async def approvals(request: pytest.FixtureRequest) -> AsyncIterator[Approvals]:
    if request.param == "memory":
        yield MemoryApprovals()
        return
    async with opened(request, GATEWAY_SCHEMA) as database:
        yield SqlApprovals(database)


async def test_a_question_is_found_whole_and_only_by_its_tenant(approvals: Approvals) -> None:
    await approvals.ask(ASKED)
    assert await approvals.find("default", ASKED.id) == ASKED
    assert await approvals.find("other", ASKED.id) is None
    assert await approvals.list("other") == ()


async def test_a_question_asked_again_after_a_crash_stays_as_it_is(approvals: Approvals) -> None:
    await approvals.ask(ASKED)
    await approvals.answer(approved())
    await approvals.ask(replace(ASKED, prompt="something else"))
    assert await approvals.find("default", ASKED.id) == approved()


async def test_the_first_answer_counts_and_may_be_repeated(approvals: Approvals) -> None:
    await approvals.ask(ASKED)
    assert await approvals.answer(approved()) == approved()
    assert await approvals.answer(replace(approved(), answered_at_us=9)) == approved()
    for other in (replace(approved(), state="denied"), approved(by="dora")):
        with pytest.raises(Conflict):
            await approvals.answer(other)


async def test_nobody_answers_what_was_not_asked_or_belongs_to_others(approvals: Approvals) -> None:
    with pytest.raises(NotFound):
        await approvals.answer(approved())
    await approvals.ask(ASKED)
    with pytest.raises(NotFound):
        await approvals.answer(replace(approved(), tenant="other"))


async def test_what_was_answered_is_undelivered_until_the_run_knows(approvals: Approvals) -> None:
    await approvals.ask(ASKED)
    assert await approvals.undelivered() == ()
    await approvals.answer(approved())
    assert await approvals.undelivered() == (approved(),)
    await approvals.settle(ASKED.id, "approved")
    assert await approvals.undelivered() == ()
    found = await approvals.find("default", ASKED.id)
    assert found is not None
    assert found.state == "approved"


async def test_what_nobody_answered_expires_or_is_withdrawn(approvals: Approvals) -> None:
    for number in (1, 2):
        await approvals.ask(replace(ASKED, id=f"run_1.q{number}", number=number))
    await approvals.settle("run_1.q1", "expired")
    await approvals.withdraw("run_1")
    states = {each.id: each.state for each in await approvals.list("default")}
    assert states == {"run_1.q1": "expired", "run_1.q2": "withdrawn"}
    late = replace(approved(), id="run_1.q2", number=2)
    with pytest.raises(Conflict):
        await approvals.answer(late)
    await approvals.renew("run_1")
    assert {each.id: each.state for each in await approvals.list("default")} == {**states, "run_1.q2": "pending"}
    assert (await approvals.answer(late)).state == "approved"


async def test_they_are_listed_newest_first_and_narrowed(approvals: Approvals) -> None:
    for number in (1, 2, 3):
        await approvals.ask(replace(ASKED, id=f"run_{number}.q1", run_id=f"run_{number}", asked_at_us=number))
    await approvals.settle("run_2.q1", "expired")
    assert [each.run_id for each in await approvals.list("default")] == ["run_3", "run_2", "run_1"]
    assert [each.run_id for each in await approvals.list("default", state="pending", limit=1)] == ["run_3"]
    assert [each.id for each in await approvals.list("default", run_id="run_1")] == ["run_1.q1"]
    [one] = await approvals.list("default", run_id="run_1")
    assert len(await approvals.list("default", roles={one.role, "nobody"})) == 3
    assert await approvals.list("default", roles={"nobody"}) == ()
    assert await approvals.list("default", roles=()) == ()
