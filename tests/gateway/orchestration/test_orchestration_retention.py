"""Runs are forgotten when they are due, some at a time, and never one that is under way."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Connection, select

from adapters.durable.late import LateJournal
from adapters.durable.memory import GIVEN_UP_AT_ONCE, Entry, MemoryJournal
from adapters.storage.approvals import SqlApprovals
from adapters.storage.archive import SqlRunArchive
from adapters.storage.database import Database
from adapters.storage.dead_letters import SqlDeadLetters
from adapters.storage.effects import SqlEffectLedger
from adapters.storage.notes import SqlNotes
from adapters.storage.owners import SqlTaskOwners
from adapters.storage.runs import SqlRunStore
from adapters.storage.tables import GATEWAY_SCHEMA
from adapters.storage.tables import notes as note_rows
from gateway.core.ports.approvals import Approval
from gateway.core.ports.journal import Journal
from gateway.core.ports.memory import Memo, MemoryPlace, Room
from gateway.core.ports.runs import NotePlace, Run, RunStep
from gateway.core.ports.scratchpad import Entry as PadEntry
from gateway.core.ports.storage import Fresh, Known, OwnedTask
from gateway.orchestration.messages.memories import Memories, MemorySettings
from gateway.orchestration.records.spec import RunSpec
from gateway.orchestration.running.dead_letter_queue import DeadLetterQueue
from gateway.orchestration.runs.retention import DAY_US, Pruned, Retention, RetentionSettings
from gateway.orchestration.runs.seen import Runs
from tests.crashes import Scene
from tests.fakes_orchestration import ANA, MemoryScratch, World, no_engine

pytestmark = pytest.mark.anyio

NOW_US = 1000 * DAY_US
QUESTION = Approval(
    id="apr_1",
    tenant="default",
    run_id="run_1",
    number=1,
    workflow="help",
    owner="ana",
    role="",
    prompt="May it?",
    asked_at_us=1,
    expires_at_us=NOW_US,
)


class DayClock:
    """Stands at one moment, days after the epoch."""

    def now_us(self) -> int:
        return NOW_US

    def monotonic_s(self) -> float:
        return 0.0


@dataclass
class Archive:
    """A gateway's rows in a file, and an engine in memory."""

    database: Database
    around: World
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])

    def __post_init__(self) -> None:
        self.around.clock = DayClock()
        self.runs = SqlRunStore(self.database)
        self.effects = SqlEffectLedger(self.database, process="p")
        self.owners = SqlTaskOwners(self.database)
        self.letters = SqlDeadLetters(self.database)
        self.scratch = MemoryScratch()
        self.memories = Memories(self.around.memory, self.around.clock, no_engine)
        self.memories.apply(self.memories.made({"desk": MemorySettings(days=30)}))

    def retention(self, *, journal: Journal | None = None, **settings: float) -> Retention:
        wiring = replace(
            self.around.wiring(journal or MemoryJournal(self.entries)),
            runs=self.runs,
            dead_letters=self.letters,
            scratch=self.scratch,
            memories=self.memories,
        )
        chosen = RetentionSettings.model_validate(settings)
        return Retention(wiring, Runs(wiring, DeadLetterQueue(wiring)), SqlRunArchive(self.database), lambda: chosen)

    async def ran(self, run_id: str, state: str, days_ago: float, *, tenant: str = "default") -> None:
        """A run that ended, or was last heard of, so many days ago."""
        at_us = NOW_US - int(days_ago * DAY_US)
        spec = RunSpec(
            run_id=run_id,
            workflow="help",
            pattern="sequential",
            settings={},
            caller=replace(ANA, tenant=tenant),
            message="go",
            deadline_at_us=0,
            depth=1,
        ).to_json()
        run = Run(
            id=run_id,
            workflow="help",
            tenant=tenant,
            owner="ana",
            state=state,
            context_id="",
            created_at_us=at_us,
            updated_at_us=at_us,
            spec=spec,
        )
        await self.runs.open(run)
        await self.runs.note_step(
            RunStep(
                run_id=run_id,
                id=f"{run_id}/1",
                parent=run_id,
                target="agent:a",
                state="ok",
                attempt=1,
                started_at_us=at_us,
                duration_us=1,
            )
        )
        await self.runs.append(run_id, "ended", {"kind": "status"}, at_us)
        self.entries[run_id] = Entry(spec=spec, state="pending" if state == "working" else "done")

    async def left(self) -> set[str]:
        found = {run.id for tenant in ("default", "other") for run in await self.runs.list(tenant, limit=1000)}
        assert found == self.entries.keys()
        return found


@pytest.fixture
async def archive(tmp_path: Path) -> Archive:
    around = Scene(settings={"pattern": "sequential", "stages": [{"agent": "a"}]}, agents=dict).world()
    return Archive(await Database.open(tmp_path / "gateway.db", GATEWAY_SCHEMA), around)


async def test_a_canceled_run_that_still_undoes_is_not_forgotten(archive: Archive) -> None:
    for run_id in ("undoing", "undone"):
        await archive.ran(run_id, "canceled", 40)
        await archive.scratch.put(
            run_id, PadEntry(key="k", value=1, version=0, writer="a"), expected_version=0, once=""
        )
    archive.entries["undoing"].state = "pending"
    assert await archive.retention().prune("default", NOW_US) == Pruned(runs=1)
    assert await archive.left() == {"undoing"}
    assert await archive.scratch.get("undoing", "k") is not None
    assert len(await archive.runs.steps("undoing")) == 1


async def test_what_is_due_is_forgotten_and_failed_runs_are_kept_longer(archive: Archive) -> None:
    for run_id, state, days in (
        *(("done_new", "completed", 29), ("done_old", "completed", 31), ("canceled_old", "canceled", 31)),
        *(("failed_new", "failed", 89), ("failed_old", "failed", 91), ("rejected_old", "rejected", 91)),
        *(("working_old", "working", 400), ("asking_old", "input_required", 400)),
    ):
        await archive.ran(run_id, state, days)
    await archive.scratch.put("done_old", _entry(), expected_version=0, once="slot 1")
    assert not await archive.retention().round()
    assert await archive.left() == {"done_new", "failed_new", "working_old", "asking_old"}
    assert archive.scratch.entries == {}
    assert await archive.runs.steps("done_old") == ()
    assert await archive.runs.events("done_old") == ()
    assert len(await archive.runs.steps("done_new")) == 1


async def test_zero_days_are_for_ever(archive: Archive) -> None:
    await archive.ran("done", "completed", 5000)
    await archive.ran("failed", "failed", 5000)
    await archive.retention(runs_days=0, keep_failed_days=0).round()
    assert await archive.left() == {"done", "failed"}


async def test_a_round_is_bounded_and_the_next_follows_soon(archive: Archive) -> None:
    for number in range(5):
        await archive.ran(f"run_{number}", "completed", 40 + number)
    retention = archive.retention(batch=2)
    assert await retention.round()
    assert await archive.left() == {"run_0", "run_1", "run_2"}
    assert await retention.round()
    assert not await retention.round()
    assert await archive.left() == set()


async def test_effects_and_owners_are_remembered_for_as_long_as_a_run_may_need_them(archive: Archive) -> None:
    async def remembered() -> tuple[bool, bool]:
        known = await archive.effects.begin("default", "old", "digest", NOW_US)
        return isinstance(known, Known), await archive.owners.find("default", "a", "task") is not None

    old_us = NOW_US - 40 * DAY_US
    await archive.effects.begin("default", "old", "digest", old_us)
    await archive.effects.finish("default", "old", {}, old_us)
    await archive.effects.begin("default", "doubtful", "digest", old_us)
    await archive.owners.claim(
        OwnedTask(tenant="default", agent="a", task_id="task", context_id="", subject="ana", created_at_us=old_us)
    )
    await archive.ran("working", "working", 50)
    await archive.retention().round()
    assert await remembered() == (True, True)
    await archive.runs.update("working", state="completed", at_us=NOW_US)
    await archive.retention().round()
    assert await remembered() == (False, False)
    assert not isinstance(await archive.effects.begin("default", "doubtful", "digest", NOW_US), Fresh)


async def test_a_run_whose_gateway_died_before_it_began_keeps_nothing(archive: Archive) -> None:
    for run_id, days in (("lost", 40), ("waits", 40), ("being_opened", 0.01)):
        await archive.ran(run_id, "submitted", days)
    archive.entries["waits"].state = "pending"
    del archive.entries["lost"], archive.entries["being_opened"]
    assert await archive.scratch.claim("default", "lost", "account:1", until_us=2 * NOW_US, now_us=NOW_US)
    await archive.retention().round()
    states = {run.id: run.state for run in await archive.runs.list("default")}
    assert states == {"lost": "rejected", "waits": "submitted", "being_opened": "submitted"}
    assert archive.scratch.claims == {}


async def test_effects_in_doubt_are_kept_for_their_own_time_since_the_last_try(archive: Archive) -> None:
    async def is_known(key: str) -> bool:
        return not isinstance(await archive.effects.begin("default", key, "digest", NOW_US), Fresh)

    await archive.effects.begin("default", "old", "digest", NOW_US - 400 * DAY_US)
    await archive.effects.begin("default", "tried", "digest", NOW_US - 400 * DAY_US)
    await archive.effects.again("default", "tried", NOW_US - 10 * DAY_US)
    await archive.retention(in_doubt_days=0).round()
    await archive.ran("working", "working", 500)
    await archive.retention().round()
    assert await is_known("old")
    await archive.runs.update("working", state="completed", at_us=NOW_US)
    await archive.retention().round()
    assert not await is_known("old")
    assert await is_known("tried")


async def test_questions_go_with_their_runs_and_notes_when_they_are_over(archive: Archive) -> None:
    approvals, notes = SqlApprovals(archive.database), SqlNotes(archive.database)
    for run_id, days in (("old", 40), ("new", 4)):
        await archive.ran(run_id, "completed", days)
        await approvals.ask(replace(QUESTION, id=f"apr_{run_id}", run_id=run_id))
    for key, until_us in (("over", NOW_US - 1), ("on", NOW_US + 1)):
        place = NotePlace(tenant="default", workflow="w", owner="ana", topic="t", key=key)
        await notes.put(place, "n", {"n": 1}, at_us=0, until_us=until_us)
    await archive.retention().round()
    assert [each.id for each in await approvals.list("default")] == ["apr_new"]

    def keys(connection: Connection) -> list[str]:
        return [*connection.execute(select(note_rows.c.key)).scalars()]

    assert await archive.database.read(keys) == ["on"]


async def test_who_prunes_by_hand_may_have_what_was_remembered_go_with_the_runs(archive: Archive) -> None:
    desk, room = MemoryPlace(tenant="default", name="desk"), Room(entries=9, bytes=99_999, after_us=0)
    for run_id in ("first", "second", "third"):
        await archive.ran(run_id, "completed", 0.5 if run_id == "third" else 2)
        memo = Memo(id=f"m_{run_id}", text="same", at_us=NOW_US, run_id=run_id)
        await archive.around.memory.add(desk, memo, room)

    async def left() -> set[str]:
        return {each.run_id for each in await archive.around.memory.list(desk, after_us=0, limit=9)}

    assert await archive.retention().prune("default", NOW_US - 3 * DAY_US, memories=True) == Pruned()
    assert await archive.retention(batch=1).prune("default", NOW_US - DAY_US, memories=True) == Pruned(
        runs=2, memories=2
    )
    assert await left() == {"third"}
    assert await archive.retention().prune("default", NOW_US) == Pruned(runs=1)
    assert await left() == {"third"}


async def test_pruning_at_once_takes_one_tenants_ended_runs_however_they_ended(archive: Archive) -> None:
    await archive.ran("done", "completed", 2)
    await archive.ran("failed", "failed", 2)
    await archive.ran("new", "completed", 0.5)
    await archive.ran("working", "working", 2)
    await archive.ran("others", "completed", 2, tenant="other")
    assert await archive.retention(batch=1).prune("default", NOW_US - DAY_US) == Pruned(runs=2)
    assert await archive.left() == {"new", "working", "others"}


async def test_the_oldest_of_many_runs_the_engine_gave_up_is_settled_too(archive: Archive) -> None:
    await archive.ran("dead", "working", 1)
    archive.entries["dead"].state = "dead"
    for number in range(GIVEN_UP_AT_ONCE):
        # Nothing is kept of these but their journal.
        archive.entries[f"other {number}"] = replace(archive.entries["dead"])
    await archive.retention().round()
    assert [each.run_id for each in await archive.letters.list("default")] == ["dead"]


async def test_a_run_the_engine_gave_up_becomes_a_dead_letter_without_anybody_looking(archive: Archive) -> None:
    await archive.ran("dead", "working", 1)
    archive.entries["dead"].state = "dead"
    await archive.retention().round()
    [letter] = await archive.letters.list("default")
    assert (letter.run_id, letter.cause) == ("dead", "dead")


async def test_memories_forget_what_has_lapsed(archive: Archive) -> None:
    desk, room = MemoryPlace(tenant="default", name="desk"), Room(entries=9, bytes=99_999, after_us=0)
    for days in (29, 31):
        memo = Memo(id=f"m{days}", text="same", at_us=NOW_US - days * DAY_US)
        await archive.around.memory.add(desk, memo, room)
    await archive.retention().round()
    assert [each.id for each in await archive.around.memory.list(desk, after_us=0, limit=9)] == ["m29"]


async def test_rounds_go_on_until_the_gateway_ends(archive: Archive) -> None:
    for number in range(3):
        await archive.ran(f"run_{number}", "completed", 40)
    async with anyio.create_task_group() as group:
        group.start_soon(archive.retention(batch=3, interval_s=0.001).run)
        with anyio.fail_after(30):
            while await archive.runs.list("default"):
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


async def test_a_gateway_without_an_engine_forgets_what_else_it_remembers(archive: Archive) -> None:
    def never() -> MemoryJournal:
        raise AssertionError("nobody needs an engine")

    await archive.ran("old", "completed", 40)
    await archive.ran("lost", "submitted", 40)
    retention = archive.retention(journal=LateJournal(never))
    assert not await retention.round()
    assert [run.id for run in await archive.runs.list("default")] == ["lost"]


def _entry() -> PadEntry:
    return PadEntry(key="key", value=1, version=0, writer="")
