"""Steps under way: rows that outlive the process, and a mirror in memory that answers at once.

Memory changes before the row on both ways. Closing: the step's token must fail from the moment of closing. Opening: a
`close` that overtakes the waiting `open` must find something to take away; rows are written in the order of the calls.

Where other processes open and close steps too, the rows are looked at whenever an agent calls. What was read counts but
for steps that this process has opened or closed since: there the mirror is ahead of what was read.
"""

import json
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert  # SQLite understands what it compiles to

from adapters.sql.prepared import Prepared
from adapters.storage.tables import open_steps, runs
from adapters.storage.transactions import Transactions
from gateway.core.catalog import EVERY_TENANT
from gateway.core.fields import TakenOut
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.labels import Labels, labels_from_json
from gateway.core.limits import NOTHING_USED, Usage, usage_from_json
from gateway.core.model import Principal, PrincipalKind, principal
from gateway.core.ports.storage import Handed, OpenStep
from gateway.core.task import TaskState

_c = open_steps.c
_add = insert(open_steps)
_COLUMNS = [column.name for column in _c]
_OPEN = Prepared(
    _add.on_conflict_do_update(
        index_elements=["run_id", "step_id"], set_={name: _add.excluded[name] for name in _COLUMNS}
    ),
    _COLUMNS,
)
CLOSE = Prepared(delete(open_steps).where(_c.run_id == bindparam("of_run"), _c.step_id == bindparam("of_step")))
"""Takes away the row of a step."""
CLOSE_RUN = Prepared(delete(open_steps).where(_c.run_id == bindparam("of_run")))
"""Takes away the rows of a run's steps."""
_LABELS = select(_c.labels).where(_c.run_id == bindparam("of_run"), _c.step_id == bindparam("of_step"))
_LEARN = (
    update(open_steps)
    .where(_c.run_id == bindparam("of_run"), _c.step_id == bindparam("of_step"))
    .values(labels=bindparam("learned", type_=_c.labels.type))
)
_SPENT = select(_c.spent).where(_c.run_id == bindparam("of_run"), _c.step_id == bindparam("of_step"))
_SPEND = (
    update(open_steps)
    .where(_c.run_id == bindparam("of_run"), _c.step_id == bindparam("of_step"))
    .values(spent=bindparam("now_spent", type_=_c.spent.type))
)
_ENDED = select(runs.c.id).where(runs.c.state.in_([state.value for state in TaskState if state.terminal]))
_CLOSE_ENDED = delete(open_steps).where(_c.run_id.in_(_ENDED))
_ALL = select(open_steps)
_OF_AGENT = _ALL.where(_c.agent == bindparam("of_agent"))
_OF_RUN = _ALL.where(_c.run_id == bindparam("of_run"))
_HEARD = Prepared(select(_c.step_id, _c.labels, _c.spent).where(_c.run_id == bindparam("of_run")))
"""All that changes of a step that is open."""

_KINDS: dict[str, PrincipalKind] = {
    "client": "client",
    "agent": "agent",
    "operator": "operator",
    "workflow": "workflow",
}


@dataclass(slots=True, eq=False)
class _Look:
    ours: set[tuple[str, str]]
    """Steps this process has opened or closed since, or is about to: of those, memory knows more than the rows read."""


class SqlOpenSteps:
    """See `OpenSteps`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database
        self._steps: dict[tuple[str, str], OpenStep] = {}
        self._by_agent: dict[tuple[str, str], tuple[OpenStep, ...]] = {}
        self._writing: Counter[tuple[str, str]] = Counter()
        """Steps whose rows are being written."""
        self._looking: set[_Look] = set()

    async def open(self, step: OpenStep) -> None:
        self._remember(step)
        try:
            await self._put(step.run_id, step.step_id, _OPEN, _row_from_step(step))
        except BaseException:
            if self._steps.get((step.run_id, step.step_id)) is step:
                self._drop(step.run_id, step.step_id)
            raise

    async def close(self, run_id: str, step_id: str) -> None:
        self._drop(run_id, step_id)
        place = {"of_run": run_id, "of_step": step_id}
        await self._put(run_id, step_id, CLOSE, place)

    def shut(self, run_id: str, step_id: str) -> None:
        self._drop(run_id, step_id)
        self._begin_writing((run_id, step_id))

    def swept(self, run_id: str, step_id: str) -> None:
        self._end_writing((run_id, step_id))

    async def learn(self, run_id: str, step_id: str, labels: Labels) -> None:
        step = self._steps.get((run_id, step_id))
        if step is None or step.labels.covers(labels):
            return
        self._remember(replace(step, labels=step.labels.join(labels)))
        place = {"of_run": run_id, "of_step": step_id}

        def act(connection: Connection) -> None:
            # Another process may have learned something else of the same step.
            there = connection.execute(_LABELS.with_for_update(), place).scalar_one_or_none()
            if there is not None:
                learned = labels_from_json(there).join(labels).to_json()
                connection.execute(_LEARN, {**place, "learned": learned})

        await self._written(run_id, step_id, act)

    async def spend(self, run_id: str, step_id: str, used: Usage) -> None:
        step = self._steps.get((run_id, step_id))
        if step is None:
            return
        self._remember(replace(step, spent=step.spent + used))
        place = {"of_run": run_id, "of_step": step_id}

        def act(connection: Connection) -> None:
            # Another process may have counted calls of the same step.
            there = connection.execute(_SPENT.with_for_update(), place).one_or_none()
            if there is not None:
                connection.execute(_SPEND, {**place, "now_spent": (usage_from_json(there[0]) + used).to_json()})

        await self._written(run_id, step_id, act, lasting=False)

    def find(self, run_id: str, step_id: str) -> OpenStep | None:
        return self._steps.get((run_id, step_id))

    def of_agent(self, tenant: str, agent: str) -> tuple[OpenStep, ...]:
        """See `OpenSteps.of_agent`. The same tuple for as long as nothing changes."""
        return self._by_agent.get((tenant, agent), ())

    def of_run(self, run_id: str) -> tuple[OpenStep, ...]:
        return tuple(step for step in self._steps.values() if step.run_id == run_id)

    async def load(self) -> None:
        """See `OpenSteps.load`. Steps of runs that have ended are closed: nobody is left who would."""

        def act(connection: Connection) -> list[OpenStep]:
            connection.execute(_CLOSE_ENDED)
            return [_step_from_row(row) for row in connection.execute(_ALL).mappings()]

        for step in await self._database.write(act):
            if (step.run_id, step.step_id) not in self._steps:
                self._remember(step)

    async def look(self, agent: str) -> None:
        """See `OpenSteps.look`."""
        if self._database.shared:
            await self._compare(lambda step: step.agent == agent, _OF_AGENT, {"of_agent": agent})

    async def look_at_run(self, run_id: str) -> None:
        """See `OpenSteps.look_at_run`."""
        if self._database.shared and not await self._is_as_known(run_id):
            await self._compare(lambda step: step.run_id == run_id, _OF_RUN, {"of_run": run_id})

    async def _is_as_known(self, run_id: str) -> bool:
        """Whether the run's steps are those this process knows, as it knows them. Asked at the end of every step."""
        look, place = _Look(ours=set(self._writing)), {"of_run": run_id}
        self._looking.add(look)
        try:
            rows = await self._database.glance(lambda connection: _HEARD.all(connection, place))
        finally:
            self._looking.discard(look)
        there = {
            (run_id, step_id): (json.loads(labels or "null"), json.loads(spent or "null"))
            for step_id, labels, spent in rows
        }
        known = {
            key: (step.labels.to_json(), _json_from_spent(step.spent))
            for key, step in self._steps.items()
            if step.run_id == run_id
        }
        return all(there.get(key) == known.get(key) for key in there.keys() | known.keys() if key not in look.ours)

    async def _compare(
        self, concerned: Callable[[OpenStep], bool], query: Select[Any], place: Mapping[str, str]
    ) -> None:
        """Have the steps that `query` finds, of all it would find if they were open."""
        look = _Look(ours=set(self._writing))
        self._looking.add(look)
        try:
            rows = await self._database.read(lambda connection: connection.execute(query, place).mappings().all())
        finally:
            self._looking.discard(look)
        found = {_key_of(step): step for step in map(_step_from_row, rows)}
        gone = [key for key, step in self._steps.items() if concerned(step) and key not in found]
        for key in gone:
            if key not in look.ours:
                self._drop(*key)
        for key, step in found.items():
            if key not in look.ours and self._steps.get(key) != step:
                self._remember(step)

    async def _put(self, run_id: str, step_id: str, statement: Prepared, values: Mapping[str, Any]) -> None:
        with self._changing((run_id, step_id)):
            await self._database.put(statement, values, about=run_id)

    async def _written(
        self, run_id: str, step_id: str, act: Callable[[Connection], None], *, lasting: bool = True
    ) -> None:
        with self._changing((run_id, step_id)):
            await self._database.write(act, about=run_id, lasting=lasting)

    @contextmanager
    def _changing(self, key: tuple[str, str]) -> Generator[None]:
        self._begin_writing(key)
        try:
            yield
        finally:
            self._end_writing(key)

    def _begin_writing(self, key: tuple[str, str]) -> None:
        self._writing[key] += 1
        for look in self._looking:
            look.ours.add(key)

    def _end_writing(self, key: tuple[str, str]) -> None:
        self._writing[key] -= 1
        if self._writing[key] <= 0:
            del self._writing[key]

    def _remember(self, step: OpenStep) -> None:
        self._drop(step.run_id, step.step_id)
        self._steps[(step.run_id, step.step_id)] = step
        for whose in _places(step):
            self._by_agent[whose] = (*self._by_agent.get(whose, ()), step)

    def _drop(self, run_id: str, step_id: str) -> None:
        step = self._steps.pop((run_id, step_id), None)
        if step is None:
            return
        for whose in _places(step):
            left = tuple(each for each in self._by_agent[whose] if each is not step)
            if left:
                self._by_agent[whose] = left
            else:
                del self._by_agent[whose]


def _key_of(step: OpenStep) -> tuple[str, str]:
    return (step.run_id, step.step_id)


def _places(step: OpenStep) -> set[tuple[str, str]]:
    """Under which tenants an agent's step is found: an agent that serves them all has one key, and works for each."""
    return {(step.actor.tenant, step.agent), (EVERY_TENANT, step.agent)}


def _row_from_step(step: OpenStep) -> dict[str, Any]:
    return {
        "run_id": step.run_id,
        "step_id": step.step_id,
        "tenant": step.actor.tenant,
        "agent": step.agent,
        "actor": _json_from_principal(step.actor),
        "phase": step.phase,
        "labels": step.labels.to_json(),
        "deadline_at_us": step.deadline_at_us,
        "calls_left": step.calls_left,
        "parent_record": step.parent_record,
        "traceparent": step.traceparent,
        "given": [_json_from_handed(each) for each in step.given] or None,
        "depth": step.depth,
        "room": _json_from_room(step),
        "spent": _json_from_spent(step.spent),
    }


def _step_from_row(row: RowMapping) -> OpenStep:
    room = json_object(row["room"])
    tokens, cost = room.get("tokens"), room.get("cost_usd")
    return OpenStep(
        run_id=row["run_id"],
        step_id=row["step_id"],
        agent=row["agent"],
        actor=_principal_from_json(row["actor"]),
        phase=row["phase"],
        labels=labels_from_json(row["labels"]),
        deadline_at_us=row["deadline_at_us"],
        calls_left=row["calls_left"],
        parent_record=row["parent_record"],
        traceparent=row["traceparent"],
        given=tuple(_handed_from_json(each) for each in row["given"] or ()),
        depth=row["depth"],
        tokens_left=tokens if isinstance(tokens, int) else None,
        cost_left_usd=None if cost is None else Decimal(json_text(cost)),
        spent=usage_from_json(row["spent"]),
    )


def _json_from_room(step: OpenStep) -> Json:
    if step.tokens_left is None and step.cost_left_usd is None:
        return None
    return {
        "tokens": step.tokens_left,
        "cost_usd": None if step.cost_left_usd is None else str(step.cost_left_usd),
    }


def _json_from_spent(spent: Usage) -> Json:
    return None if spent == NOTHING_USED else spent.to_json()


def _json_from_handed(handed: Handed) -> Json:
    taken_out: list[Json] = [[each.field, [*each.values]] for each in handed.taken_out]
    return [handed.name, handed.step_id, handed.within, taken_out]


def _handed_from_json(value: Json) -> Handed:
    # Those of earlier versions have the first two only.
    name, step_id, within, taken_out = (*json_list(value), "", None)[:4]
    cuts = (json_list(each) for each in json_list(taken_out))
    return Handed(
        name=json_text(name),
        step_id=json_text(step_id),
        within=json_text(within),
        taken_out=tuple(
            TakenOut(field=json_text(cut[0]), values=tuple(map(json_text, json_list(cut[1])))) for cut in cuts
        ),
    )


def _json_from_principal(who: Principal) -> JsonObject:
    return {
        "subject": who.subject,
        "kind": who.kind,
        "tenant": who.tenant,
        "roles": [*sorted(who.roles)],
        "behind": None if who.behind is None else _json_from_principal(who.behind),
    }


def _principal_from_json(value: Json) -> Principal:
    fields = json_object(value)
    behind = fields.get("behind")
    return principal(
        json_text(fields.get("subject")),
        kind=_KINDS[json_text(fields.get("kind"))],
        tenant=json_text(fields.get("tenant")),
        roles=frozenset(json_text(role) for role in json_list(fields.get("roles"))),
        behind=None if behind is None else _principal_from_json(behind),
    )
