"""What DBOS has recorded of runs, read and copied in its own tables. Runs nothing."""

import json
from collections.abc import Collection, Mapping

from dbos import DBOS
from sqlalchemy import BindParameter, Engine, TextClause, bindparam, text

from adapters.durable.dbos_slot import outside
from adapters.durable.places import SCHEMA, Place, prefix
from gateway.core.json import JsonObject, json_object
from gateway.core.ports.journal import Recorded

STATES = {
    "PENDING": "pending",
    "ENQUEUED": "pending",
    "DELAYED": "pending",
    "SUCCESS": "done",
    "ERROR": "failed",
    "CANCELLED": "canceled",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "dead",
}
"""What we call the states of DBOS."""
_COLUMNS = (
    "function_id, function_name, output, error, child_workflow_id, started_at_epoch_ms, completed_at_epoch_ms,"
    " serialization, application_name, retention_timestamp"
)
_PENDING = text(
    "SELECT count(*) FILTER (WHERE COALESCE(authenticated_user, '') = :tenant), count(*)"  # noqa: S608 - nothing of it is given
    f" FROM (SELECT authenticated_user FROM {SCHEMA}.workflow_status"
    " WHERE status IN ('ENQUEUED', 'PENDING') LIMIT :most) AS these"
)
_NO_CRASH = {
    shared: text(
        f"UPDATE {prefix(shared=shared)}workflow_status SET recovery_attempts = 1"  # noqa: S608 - nothing of it is given
        " WHERE status = 'PENDING' AND executor_id = :me"
    )
    for shared in (False, True)
}
"""By whether the database is shared."""
_COPIED = {
    shared: text(
        f"SELECT count(*) FROM {prefix(shared=shared)}operation_outputs"  # noqa: S608 - nothing of it is given
        " WHERE workflow_uuid = :run_id"
    )
    for shared in (False, True)
}
_WITHOUT_NUL = r"replace(output, '\u0000', '\u2400')"
"""PostgreSQL takes nothing out of JSON in which there is a NUL anywhere, and anybody may have said one."""
_ATTEMPTS = {
    shared: text(
        f"SELECT output FROM {prefix(shared=shared)}operation_outputs"  # noqa: S608 - nothing of it is given
        f" WHERE workflow_uuid = :run_id AND output IS NOT NULL AND {of_step} = :step_id ORDER BY function_id DESC"
    )
    for shared, of_step in ((False, "json_extract(output, '$.id')"), (True, f"CAST({_WITHOUT_NUL} AS json) ->> 'id'"))
}
_SLOTS: BindParameter[object] = bindparam("slots", expanding=True)
_ROWS_AT_ONCE = 500
"""SQLite takes some thousands of parameters in one statement."""


async def recorded(run_id: str) -> Mapping[int, Recorded]:
    """What stands in a run's places, by number."""
    steps = await outside(DBOS.list_workflow_steps_async(run_id))
    return {
        step["function_id"]: Recorded(step["function_name"], json_object(step["output"]))
        for step in steps
        if step["error"] is None
    }


def attempts(engine: Engine, run_id: str, step_id: str) -> tuple[JsonObject, ...]:
    """What stands in a run's places under this `id`, the latest first. No other output leaves the database."""
    shared = engine.dialect.name == "postgresql"
    with engine.connect() as connection:
        outputs = connection.execute(_ATTEMPTS[shared], {"run_id": run_id, "step_id": step_id}).scalars().all()
    return tuple(json_object(json.loads(each)) for each in outputs)


def count_pending(engine: Engine, tenant: str, most: int) -> tuple[int, int]:
    """How many runs of a tenant, and of all, are under way in all processes on a shared database; no more than `most`
    are counted."""
    with engine.connect() as connection:
        theirs, everybodys = connection.execute(_PENDING, {"tenant": tenant, "most": most}).one()
    return theirs, everybodys


def count_no_crash(engine: Engine, place: Place) -> None:
    """DBOS counts every start of a run towards its recovery attempts; one that follows an orderly end of this process
    is no sign of a run that crashes it."""
    with engine.begin() as connection:
        connection.execute(_NO_CRASH[place.shared], {"me": place.executor_id})


def copy_records(engine: Engine, origin: str, run_id: str, slots: Collection[int]) -> bool:
    """Give a run that is not there yet these records of another. DBOS finds them when it comes to their places.

    False where the other one has been forgotten, as it may be at this moment: nothing was copied.
    """
    shared = engine.dialect.name == "postgresql"
    statement, places = _copy(prefix(shared=shared)), sorted(set(slots))
    with engine.connect() as connection, connection.begin() as transaction:
        for start in range(0, len(places), _ROWS_AT_ONCE):
            given = {"origin": origin, "run_id": run_id, "slots": places[start : start + _ROWS_AT_ONCE]}
            connection.execute(statement, given)
        if connection.execute(_COPIED[shared], {"run_id": run_id}).scalar_one() < len(places):
            transaction.rollback()
            return False
    return True


def _copy(schema: str) -> TextClause:
    return text(
        f"INSERT INTO {schema}operation_outputs (workflow_uuid, {_COLUMNS})"  # noqa: S608 - nothing of it is given
        f" SELECT :run_id, {_COLUMNS} FROM {schema}operation_outputs"
        " WHERE workflow_uuid = :origin AND function_id IN :slots"
        " ON CONFLICT DO NOTHING"
    ).bindparams(_SLOTS)
