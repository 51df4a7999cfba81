"""What is told of a run: its steps and its events, as few statements as rows allow. Knows no run beyond its tenant."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Subquery,
    bindparam,
    func,
    insert,
    label,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import insert as insert_or_replace  # SQLite understands what it compiles to

from adapters.sql.prepared import Prepared
from adapters.storage.run_rows import STEP_COLUMNS, row_from_step
from adapters.storage.tables import run_events, run_steps, runs
from gateway.core.errors import NotFound
from gateway.core.ports.runs import RunStep, Told

_RUN: BindParameter[str] = bindparam("of_run")
_TENANT = Prepared(select(runs.c.tenant).where(runs.c.id == _RUN))

_STEPS_AT_ONCE = 2
_EVENTS_AT_ONCE = 6
"""Both so few that the driver keeps the statement: it reads those with more than 50 values anew each time."""
_EVENT_COLUMNS = ("key", "at_us", "body")


def _given(columns: Sequence[Column[Any]], rows: int) -> Subquery:
    """So many rows of values given by name, `row<place>_<column>`, and each one's place."""

    def row(place: int) -> Select[Any]:
        values: list[ColumnElement[Any]] = [
            label(each.name, bindparam(f"row{place}_{each.name}", type_=each.type)) for each in columns
        ]
        return select(literal_column(str(place), Integer).label("place"), *values)

    return union_all(*map(row, range(rows))).subquery("given")


# One statement finds the tenant, replaces what is there, and leaves alone what is known better.
def _put(rows: int) -> Prepared:
    given = _given([run_steps.c[name] for name in STEP_COLUMNS], rows)
    found = select(*(given.c[name] for name in STEP_COLUMNS), runs.c.tenant).join(runs, runs.c.id == given.c.run_id)
    add = insert_or_replace(run_steps).from_select([*STEP_COLUMNS, "tenant"], found.where(true()))
    return Prepared(
        add.on_conflict_do_update(
            index_elements=["run_id", "id", "attempt"],
            set_={name: add.excluded[name] for name in STEP_COLUMNS},
            where=or_(add.excluded.state != "running", run_steps.c.state != "ok"),
        )
    )


# One statement finds the tenant, draws the numbers and refuses what is there; it writes no row where one of them fails.
def _add(rows: int) -> Prepared:
    given = _given([run_events.c[name] for name in _EVENT_COLUMNS], rows)
    last = select(func.coalesce(func.max(run_events.c.seq), 0)).where(run_events.c.run_id == _RUN).scalar_subquery()
    noted = select(run_events.c.seq).where(run_events.c.run_id == _RUN, run_events.c.key == given.c.key)
    place = func.row_number().over(order_by=given.c.place)
    values = select(runs.c.id, last + place, runs.c.tenant, *(given.c[name] for name in _EVENT_COLUMNS))
    found = values.join(given, true()).where(runs.c.id == _RUN, ~noted.exists())
    added = insert(run_events).from_select(["run_id", "seq", "tenant", *_EVENT_COLUMNS], found)
    return Prepared(added.returning(run_events.c.key, run_events.c.seq))


_PUT = tuple(_put(rows) for rows in range(1, _STEPS_AT_ONCE + 1))
_ADD = tuple(_add(rows) for rows in range(1, _EVENTS_AT_ONCE + 1))
"""Both by how many rows there are, less one."""


def put_steps(connection: Connection, run_id: str, steps: Sequence[RunStep]) -> None:
    """Write them over what is there. Raises: NotFound: there is no such run."""
    # One statement may not write the same row twice.
    at_once = _STEPS_AT_ONCE if len({(step.id, step.attempt) for step in steps}) == len(steps) else 1
    for start in range(0, len(steps), at_once):
        rows = [row_from_step(step) for step in steps[start : start + at_once]]
        if _PUT[len(rows) - 1].run(connection, _by_place(rows)) < len(rows):
            tenant_of(connection, run_id)


def add_events(connection: Connection, run_id: str, events: Sequence[Told]) -> list[int]:
    """Each one's place in the log; 0 where its key is there already. Raises: NotFound: there is no such run."""
    told = {event.key: event for event in reversed(events)}
    rows = [_row_from_told(told.pop(event.key)) for event in events if event.key in told]
    places: dict[str, int] = {}
    for start in range(0, len(rows), _EVENTS_AT_ONCE):
        some = rows[start : start + _EVENTS_AT_ONCE]
        places.update(_ADD[len(some) - 1].all(connection, {"of_run": run_id, **_by_place(some)}))
    if len(places) < len(rows):
        tenant_of(connection, run_id)
    # Where a key comes twice, the first of them counts.
    return [places.pop(event.key, 0) for event in events]


def tenant_of(connection: Connection, run_id: str) -> str:
    """Raises: NotFound: there is no such run."""
    row = _TENANT.first(connection, {"of_run": run_id})
    if row is None:
        raise NotFound("no such run")
    return row[0]


def _row_from_told(event: Told) -> dict[str, Any]:
    return {"key": event.key, "at_us": event.at_us, "body": event.body}


def _by_place(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {f"row{place}_{name}": value for place, row in enumerate(rows) for name, value in row.items()}
