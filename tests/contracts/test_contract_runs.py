"""What every `RunStore` does."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import anyio
import pytest

from adapters.storage.held_runs import HeldRuns
from adapters.storage.runs import SqlRunStore
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.errors import Conflict, NotFound
from gateway.core.labels import Labels
from gateway.core.limits import Usage
from gateway.core.ports.runs import Moved, Run, RunEvent, RunStep, RunStore, Standing, Told
from gateway.testing.stores.runs import MemoryRuns
from tests.contracts.databases import STORES, opened

pytestmark = pytest.mark.anyio

RUN = Run(
    id="run_1",
    workflow="help",
    tenant="default",
    owner="ana",
    state="submitted",
    context_id="ctx_1",
    created_at_us=10,
    updated_at_us=10,
    input={"text": "My blender arrived broken", "n": [1, 2.5, None, True]},
    key="ana/help/m1",
    spec={"pattern": "supervisor"},
)
STEP = RunStep(
    run_id="run_1",
    id="run_1/1",
    parent="",
    target="agent:triage",
    state="running",
    attempt=1,
    started_at_us=20,
    duration_us=0,
)


@pytest.fixture(params=[*STORES, "held"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[RunStore]:
    """`held`: SQLite, and runs that are known from memory."""
    if request.param == "memory":
        yield MemoryRuns()
        return
    async with opened(request, GATEWAY_SCHEMA) as database:
        yield SqlRunStore(database, HeldRuns() if request.param == "held" else None)


async def test_a_run_is_found_whole_in_its_tenant_only(store: RunStore) -> None:
    assert await store.open(RUN) == RUN

    assert await store.find("default", "run_1") == RUN
    assert await store.find("other", "run_1") is None
    assert await store.find("default", "run_2") is None


async def test_the_same_key_gives_the_run_that_exists(store: RunStore) -> None:
    await store.open(RUN)

    assert await store.open(replace(RUN, id="run_2", created_at_us=99)) == RUN
    assert await store.find("default", "run_2") is None


async def test_runs_without_a_key_are_all_different(store: RunStore) -> None:
    bare = replace(RUN, key="")
    other = replace(bare, id="run_2")
    await store.open(bare)

    assert await store.open(other) == other


async def test_the_same_key_in_another_tenant_is_another_run(store: RunStore) -> None:
    foreign = replace(RUN, id="run_2", tenant="other")
    await store.open(RUN)

    assert await store.open(foreign) == foreign


async def test_runs_are_listed_by_context_newest_first(store: RunStore) -> None:
    for number, context_id in enumerate(("ctx_1", "ctx_2", "ctx_1")):
        made = replace(RUN, id=f"run_{number}", key="", context_id=context_id, created_at_us=number)
        await store.open(made)
    await store.open(replace(RUN, id="run_9", key="", tenant="other"))

    found = await store.list("default", context_id="ctx_1")
    assert [run.id for run in found] == ["run_2", "run_0"]
    assert await store.list("default", context_id="ctx_1", workflow="else") == ()


async def test_an_id_that_exists_gives_its_run_unless_it_is_another_tenants(store: RunStore) -> None:
    await store.open(RUN)

    assert await store.open(replace(RUN, key="", workflow="else")) == RUN
    with pytest.raises(Conflict):
        await store.open(replace(RUN, tenant="other", key="k"))


async def test_of_many_opened_at_once_under_one_key_one_is(store: RunStore) -> None:
    opened: list[Run] = []

    async def open_run(number: int) -> None:
        opened.append(await store.open(replace(RUN, id=f"run_{number}")))

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(open_run, number)

    assert len({run.id for run in opened}) == 1


async def test_an_update_changes_what_it_names_and_nothing_else(store: RunStore) -> None:
    spent = Usage(
        calls=3,
        tokens=900,
        cost_usd=Decimal("0.1000000000000000000001"),
        input_tokens=700,
        output_tokens=150,
        counted_tokens=50,
        models=("m-1", "m-2"),
    )
    await store.open(RUN)
    await store.update("run_1", state="working", at_us=20, usage=spent)
    await store.update("run_1", state="failed", at_us=30, output={"gaps": ["scheduling"]}, error="one step failed")

    assert await store.find("default", "run_1") == replace(
        RUN, state="failed", updated_at_us=30, output={"gaps": ["scheduling"]}, error="one step failed", usage=spent
    )


async def test_a_run_that_goes_on_has_no_error_and_keeps_its_output(store: RunStore) -> None:
    await store.open(RUN)
    await store.update("run_1", state="failed", at_us=20, output="half", error="broke")
    await store.update("run_1", state="working", at_us=30)

    assert await store.find("default", "run_1") == replace(RUN, state="working", updated_at_us=30, output="half")


async def test_a_run_that_has_ended_is_moved_back_by_nothing_that_is_told_of_it(store: RunStore) -> None:
    await store.open(RUN)
    await store.update("run_1", state="canceled", at_us=20, error="stopped")
    told = Told(key="k", body={"kind": "status"}, at_us=30)
    await store.tell("run_1", events=(told,), moved=Moved(state="working", at_us=30))
    assert await store.find("default", "run_1") == replace(RUN, state="canceled", updated_at_us=20, error="stopped")
    assert [each.body for each in await store.events("run_1")] == [told.body]
    await store.tell("run_1", moved=Moved(state="canceled", at_us=40, output="undone", error="stopped"))
    found = await store.find("default", "run_1")
    assert found is not None
    assert found.output == "undone"
    with pytest.raises(NotFound):
        await store.tell("run_none", moved=Moved(state="working", at_us=30))


async def test_what_does_not_exist_cannot_be_updated_noted_or_appended_to(store: RunStore) -> None:
    with pytest.raises(NotFound):
        await store.update("run_1", state="working", at_us=20)
    with pytest.raises(NotFound):
        await store.note_step(STEP)
    with pytest.raises(NotFound):
        await store.append("run_1", "k", {}, 20)
    assert await store.steps("run_1") == ()
    assert await store.events("run_1") == ()


async def test_the_list_is_newest_first_of_one_tenant_and_filtered(store: RunStore) -> None:
    for number, owner, workflow, tenant in (
        (1, "ana", "help", "default"),
        (2, "eve", "help", "default"),
        (3, "ana", "else", "default"),
        (4, "ana", "help", "other"),
        (5, "ana", "help", "default"),
    ):
        run = replace(RUN, id=f"run_{number}", key="", owner=owner, workflow=workflow, tenant=tenant)
        await store.open(replace(run, created_at_us=number))

    assert [run.id for run in await store.list("default")] == ["run_5", "run_3", "run_2", "run_1"]
    assert [run.id for run in await store.list("default", owner="ana", workflow="help")] == ["run_5", "run_1"]
    assert [run.id for run in await store.list("default", limit=2)] == ["run_5", "run_3"]
    pages = [await store.list("default", limit=2)]
    while pages[-1]:
        last = pages[-1][-1]
        pages.append(await store.list("default", before=(last.created_at_us, last.id), limit=2))
    assert [[run.id for run in page] for page in pages] == [["run_5", "run_3"], ["run_2", "run_1"], []]
    assert await store.list("nobody") == ()


async def test_a_step_is_replaced_by_run_id_and_attempt(store: RunStore) -> None:
    done = replace(
        STEP,
        state="ok",
        duration_us=5,
        phase="propose",
        input={"a": 1},
        value=[1, {"b": None}],
        summary="planned",
        reason="because",
        usage=Usage(calls=1, cost_usd=Decimal("0.3")),
        labels=Labels(untrusted=frozenset({"agent:triage"})),
        record_id="rec_1",
        remote_task="t1",
        parent="run_1",
    )
    second = replace(STEP, attempt=2, started_at_us=30)
    await store.open(RUN)
    await store.note_step(STEP)
    await store.note_step(second)
    await store.note_step(done)

    assert await store.steps("run_1") == (done, second)


async def test_events_are_numbered_from_one_without_gaps_per_run(store: RunStore) -> None:
    await store.open(RUN)
    await store.open(replace(RUN, id="run_2", key=""))

    first = await store.append("run_1", "a", {"n": 1}, 20)
    elsewhere = await store.append("run_2", "a", {"n": 9}, 21)
    repeated = await store.append("run_1", "a", {"n": 1}, 22)
    second = await store.append("run_1", "b", {"n": 2}, 23)

    assert first == RunEvent(run_id="run_1", seq=1, at_us=20, body={"n": 1})
    assert elsewhere == RunEvent(run_id="run_2", seq=1, at_us=21, body={"n": 9})
    assert repeated is None
    assert second == RunEvent(run_id="run_1", seq=2, at_us=23, body={"n": 2})
    assert await store.events("run_1") == (first, second)
    assert await store.events("run_1", after=1) == (second,)
    assert await store.events("run_1", after=2) == ()


async def test_events_appended_at_once_leave_no_gap_and_repeat_no_number(store: RunStore) -> None:
    await store.open(RUN)

    async def append(number: int) -> None:
        await store.append("run_1", f"key-{number % 20}", {"n": number}, 20)

    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(append, number)

    assert [event.seq for event in await store.events("run_1")] == list(range(1, 21))


async def test_what_is_told_together_is_kept_together_or_not_at_all(store: RunStore) -> None:
    await store.open(RUN)
    events = [Told(key=key, body={"kind": key}, at_us=at_us) for at_us, key in enumerate(("a", "b", "a"), start=1)]
    moved = Moved(state="completed", at_us=9, output={"text": "done"}, usage=Usage(calls=2))

    await store.tell("run_1", steps=[STEP, replace(STEP, state="ok"), replace(STEP, attempt=2)], events=events)
    await store.tell("run_1", events=events, moved=moved)

    assert [(event.seq, event.body["kind"]) for event in await store.events("run_1")] == [(1, "a"), (2, "b")]
    assert [(step.attempt, step.state) for step in await store.steps("run_1")] == [(1, "ok"), (2, "running")]
    found = await store.find("default", "run_1")
    assert found is not None
    assert (found.state, found.output, found.usage.calls) == ("completed", {"text": "done"}, 2)
    with pytest.raises(NotFound):
        await store.tell("run_2", moved=moved)
    with pytest.raises(NotFound):
        await store.tell("run_2", steps=[replace(STEP, run_id="run_2")], events=events)
    assert await store.events("run_2") == ()


async def test_waiting_gives_at_once_what_is_there(store: RunStore) -> None:
    await store.open(RUN)
    event = await store.append("run_1", "a", {"n": 1}, 20)

    with anyio.fail_after(30):
        assert await store.wait_events("run_1", 0, 60.0) == (event,)


async def test_waiting_ends_with_nothing_when_the_time_is_over(store: RunStore) -> None:
    await store.open(RUN)

    with anyio.fail_after(30):
        assert await store.wait_events("run_1", 0, 0.01) == ()


@pytest.mark.parametrize("many", [1, 2, 3, 6, 7, 20])
async def test_however_much_is_told_together_keeps_its_order(store: RunStore, many: int) -> None:
    await store.open(RUN)
    told = [Told(key=f"key {n}", body={"n": n}, at_us=n) for n in range(many)]
    steps = [replace(STEP, id=f"run_1/{n}", state="ok", started_at_us=n, value={"n": n}) for n in range(many)]
    late = replace(steps[0], state="running", value=None)

    await store.tell("run_1", events=told[1::3], steps=steps[:1])
    await store.tell("run_1", events=[*reversed(told), *told], steps=[late, *steps[1:]])
    await store.tell("run_1", events=told, steps=steps)

    first = [event.body["n"] for event in told[1::3]]
    rest = [event.body["n"] for event in reversed(told) if event.body["n"] not in first]
    kept = await store.events("run_1")
    assert [(event.seq, event.at_us, event.body) for event in kept] == [
        (seq, n, {"n": n}) for seq, n in enumerate([*first, *rest], start=1)
    ]
    assert await store.wait_events("run_1", 0, 0.0) == kept
    assert [(step.id, step.state, step.value) for step in await store.steps("run_1")] == [
        (f"run_1/{n}", "ok", {"n": n}) for n in range(many)
    ]


async def test_every_waiter_of_a_run_wakes_on_an_append(store: RunStore) -> None:
    await store.open(RUN)
    await store.open(replace(RUN, id="run_2", key=""))
    woken: list[tuple[RunEvent, ...]] = []

    async def wait() -> None:
        woken.append(await store.wait_events("run_1", 0, 60.0))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await store.append("run_2", "other", {}, 20)
            await anyio.wait_all_tasks_blocked()
            assert woken == []
            await store.append("run_1", "a", {"n": 1}, 21)

    event = RunEvent(run_id="run_1", seq=1, at_us=21, body={"n": 1})
    assert woken == [(event,), (event,)]


async def test_a_pause_begins_once_ends_once_and_is_counted(store: RunStore) -> None:
    await store.open(RUN)
    assert not await store.unpause("run_1", 5)
    assert await store.pause("run_1", 10)
    assert not await store.pause("run_1", 15)
    assert await store.find("default", "run_1") == replace(RUN, paused_at_us=10)
    assert await store.standing("run_1") == Standing(state=RUN.state, paused=True, held_us=0)
    assert await store.unpause("run_1", 30)
    assert not await store.unpause("run_1", 40)
    await store.hold("run_1", 2**40)
    assert await store.find("default", "run_1") == replace(RUN, held_us=20 + 2**40)
    await store.update("run_1", state="canceled", at_us=50)
    assert await store.standing("run_1") == Standing(state="canceled", paused=False, held_us=20 + 2**40)
    assert await store.standing("run_2") is None


async def test_a_run_that_has_ended_goes_on_once_however_many_let_it(store: RunStore) -> None:
    await store.open(RUN)
    resumed = [Told(key=f"resumed {number}", body={"by": number}, at_us=70) for number in range(8)]
    assert not await store.reopen("run_1", resumed[0], by_us=5), "it has not ended"
    await store.update("run_1", state="canceled", at_us=20, error="the run was canceled")
    first: list[int] = []

    async def reopen(number: int) -> None:
        if await store.reopen("run_1", resumed[number], by_us=50):
            first.append(number)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(reopen, number)
    [winner] = first
    assert await store.find("default", "run_1") == replace(RUN, state="working", updated_at_us=70, held_us=50)
    assert await store.events("run_1") == (RunEvent(run_id="run_1", seq=1, at_us=70, body={"by": winner}),)
    with pytest.raises(NotFound):
        await store.reopen("run_2", resumed[0], by_us=5)


async def test_a_step_that_ended_well_is_not_under_way_again(store: RunStore) -> None:
    await store.open(RUN)
    for state, kept in (("running", "running"), ("failed", "failed"), ("running", "running"), ("ok", "ok")):
        await store.note_step(replace(STEP, state=state))
        assert [step.state for step in await store.steps("run_1")] == [kept]
    await store.note_step(replace(STEP, state="running"))
    assert [step.state for step in await store.steps("run_1")] == ["ok"]
    await store.note_step(replace(STEP, state="running", attempt=2))
    assert [step.state for step in await store.steps("run_1")] == ["ok", "running"]
