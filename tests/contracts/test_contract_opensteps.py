"""What every `OpenSteps` does."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal

import anyio
import pytest

from adapters.storage.opensteps import SqlOpenSteps
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.fields import TakenOut
from gateway.core.labels import Labels
from gateway.core.limits import Usage
from gateway.core.model import principal
from gateway.core.ports.storage import Handed, OpenStep, OpenSteps
from gateway.testing.stores.around_runs import MemoryOpenSteps
from tests.contracts.databases import STORES, opened

pytestmark = pytest.mark.anyio

Restart = Callable[[], OpenSteps]

ANA = principal("ana", roles=frozenset({"support"}))
HELP = principal("workflow:help", kind="workflow", roles=frozenset({"workflow:help"}), behind=ANA)
STEP = OpenStep(
    run_id="run_1",
    step_id="run_1/2",
    agent="refunds",
    actor=principal("agent:refunds", kind="agent", roles=frozenset({"refunder", "reader"}), behind=HELP),
    phase="propose",
    labels=Labels(untrusted=frozenset({"server:web"}), confidential=frozenset({"secret"}), regions=frozenset({"eu"})),
    deadline_at_us=2**52,
    calls_left=3,
    tokens_left=700,
    cost_left_usd=Decimal("0.25"),
    parent_record="rec_1",
    given=(
        Handed(name="quote", step_id="run_1/1"),
        Handed(
            name="brief",
            step_id="run_1/2",
            within="/items/0",
            taken_out=(TakenOut(field="pages[]", values=("3", '{"n": null}', '"x"')),),
        ),
    ),
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)


@pytest.fixture(params=STORES)
async def restart(request: pytest.FixtureRequest) -> AsyncIterator[Restart]:
    """The steps as a new process finds them, before `load`."""
    if request.param == "memory":
        rows = MemoryOpenSteps().rows
        yield lambda: MemoryOpenSteps(rows)
        return
    async with opened(request, GATEWAY_SCHEMA) as database:
        yield lambda: SqlOpenSteps(database)


@pytest.fixture
def steps(restart: Restart) -> OpenSteps:
    return restart()


async def test_an_open_step_is_found_by_run_and_step_and_by_agent(steps: OpenSteps) -> None:
    await steps.open(STEP)

    assert steps.find("run_1", "run_1/2") == STEP
    assert steps.find("run_1", "run_1/3") is None
    assert steps.find("run_2", "run_1/2") is None
    assert steps.of_agent("default", "refunds") == (STEP,)
    assert steps.of_agent("other", "refunds") == ()
    assert steps.of_agent("default", "triage") == ()


async def test_what_is_spent_on_a_step_adds_up_and_outlives_the_process(restart: Restart) -> None:
    steps = restart()
    await steps.open(STEP)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(steps.spend, STEP.run_id, STEP.step_id, Usage(calls=1, tokens=10, cost_usd=Decimal("0.1")))
    await steps.spend("run_1", "run_1/9", Usage(calls=1))

    spent = replace(STEP, spent=Usage(calls=3, tokens=30, cost_usd=Decimal("0.3")))
    assert steps.of_run("run_1") == (spent,)
    assert steps.of_agent("default", "refunds") == (spent,)
    again = restart()
    await again.load()
    assert again.find(STEP.run_id, STEP.step_id) == spent


async def test_what_another_process_spends_on_a_step_is_found_by_who_looks_at_its_run(restart: Restart) -> None:
    here, there = restart(), restart()
    await here.open(STEP)
    await there.load()
    await there.spend(STEP.run_id, STEP.step_id, Usage(calls=2))
    await here.spend(STEP.run_id, STEP.step_id, Usage(calls=1))
    third = restart()
    await third.load()
    step = third.find(STEP.run_id, STEP.step_id)
    assert step is not None
    assert step.spent == Usage(calls=3)


async def test_an_agent_of_every_tenant_has_the_steps_of_each(steps: OpenSteps) -> None:
    other = replace(STEP, run_id="run_2", actor=principal("agent:refunds", kind="agent", tenant="other"))
    await steps.open(STEP)
    await steps.open(other)

    assert set(steps.of_agent("*", "refunds")) == {STEP, other}
    await steps.close("run_2", STEP.step_id)
    assert steps.of_agent("*", "refunds") == (STEP,)
    await steps.close("run_1", STEP.step_id)
    assert steps.of_agent("*", "refunds") == ()


async def test_a_closed_step_is_gone_now_and_after_a_restart(steps: OpenSteps, restart: Restart) -> None:
    other = replace(STEP, step_id="run_1/3")
    await steps.open(STEP)
    await steps.open(other)
    await steps.close("run_1", "run_1/2")

    assert steps.find("run_1", "run_1/2") is None
    assert steps.of_agent("default", "refunds") == (other,)
    later = restart()
    await later.load()
    assert later.find("run_1", "run_1/2") is None
    assert later.of_agent("default", "refunds") == (other,)


async def test_the_open_steps_of_a_run_are_found(steps: OpenSteps) -> None:
    second, other = replace(STEP, step_id="run_1/3"), replace(STEP, run_id="run_2")
    for each in (STEP, second, other):
        await steps.open(each)
    await steps.close("run_1", "run_1/3")

    assert steps.of_run("run_1") == (STEP,)
    assert steps.of_run("run_3") == ()


async def test_a_step_that_is_shut_is_gone_at_once(steps: OpenSteps) -> None:
    await steps.open(STEP)
    steps.shut("run_1", "run_1/2")

    assert steps.find("run_1", "run_1/2") is None
    assert steps.of_agent("default", "refunds") == ()
    steps.swept("run_1", "run_1/2")
    assert steps.find("run_1", "run_1/2") is None


async def test_closing_what_is_not_open_does_nothing(steps: OpenSteps) -> None:
    await steps.close("run_1", "run_1/2")

    assert steps.find("run_1", "run_1/2") is None


async def test_a_restart_finds_the_whole_step(steps: OpenSteps, restart: Restart) -> None:
    bare = replace(STEP, step_id="run_1/9", labels=Labels(), calls_left=None, phase="", deadline_at_us=0)
    await steps.open(STEP)
    await steps.open(bare)

    later = restart()
    await later.load()

    assert later.find("run_1", "run_1/2") == STEP
    assert later.find("run_1", "run_1/9") == bare
    assert set(later.of_agent("default", "refunds")) == {STEP, bare}


async def test_what_a_step_learns_it_has_now_and_after_a_restart(steps: OpenSteps, restart: Restart) -> None:
    await steps.open(STEP)
    await steps.learn("run_1", "run_1/2", Labels(untrusted=frozenset({"server:post"})))
    await steps.learn("run_1", "run_1/2", STEP.labels)

    labels = STEP.labels.join(Labels(untrusted=frozenset({"server:post"})))
    assert steps.of_agent("default", "refunds") == (replace(STEP, labels=labels),)
    later = restart()
    await later.load()
    assert later.find("run_1", "run_1/2") == replace(STEP, labels=labels)


async def test_a_closed_step_learns_nothing(steps: OpenSteps, restart: Restart) -> None:
    await steps.open(STEP)
    await steps.close("run_1", "run_1/2")
    await steps.learn("run_1", "run_1/2", Labels(untrusted=frozenset({"server:post"})))

    assert steps.find("run_1", "run_1/2") is None
    later = restart()
    await later.load()
    assert later.find("run_1", "run_1/2") is None


async def test_a_step_opened_again_counts_as_it_was_opened_last(steps: OpenSteps, restart: Restart) -> None:
    again = replace(STEP, phase="commit", calls_left=1)
    await steps.open(STEP)
    await steps.open(again)

    assert steps.of_agent("default", "refunds") == (again,)
    later = restart()
    await later.load()
    assert later.find("run_1", "run_1/2") == again


async def test_loading_does_not_undo_what_was_opened_before(steps: OpenSteps, restart: Restart) -> None:
    await steps.open(STEP)
    later = restart()
    again = replace(STEP, phase="commit")
    await later.open(again)

    await later.load()

    assert later.find("run_1", "run_1/2") == again
    assert later.of_agent("default", "refunds") == (again,)


async def test_a_close_that_overtakes_its_open_wins(steps: OpenSteps, restart: Restart) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(steps.open, STEP)
        group.start_soon(steps.close, "run_1", "run_1/2")

    assert steps.find("run_1", "run_1/2") is None
    assert steps.of_agent("default", "refunds") == ()
    later = restart()
    await later.load()
    assert later.find("run_1", "run_1/2") is None
