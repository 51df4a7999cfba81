"""The edge between DBOS and the rest: steps in their places, and work that is none of a run's. Knows no run."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

import anyio
from dbos import StepReservation
from dbos import error as dbos_error
from sqlalchemy.exc import SQLAlchemyError

from adapters.durable.step_records import ACTING, EXECUTION, Step, StepRecords
from gateway.core.errors import Internal, Unavailable
from gateway.core.json import JsonObject
from gateway.core.ports.journal import RunInterrupted

T = TypeVar("T")

_logger = logging.getLogger(__name__)

TAKEN_AWAY = (dbos_error.DBOSWorkflowCancelledError, dbos_error.DBOSWorkflowConflictIDError)
"""What DBOS raises in a run that was canceled, or goes on somewhere else."""


class DbosSlot:
    """See `ports.journal.Slot`."""

    def __init__(self, reserved: StepReservation, records: StepRecords, may_act: Callable[[], bool]) -> None:
        """`may_act`: whether the run is still this process's to run."""
        self._reserved = reserved
        self._records = records
        self._may_act = may_act

    @property
    def number(self) -> int:
        return self._reserved.step_id

    async def run(self, name: str, act: Callable[[], Awaitable[JsonObject]]) -> JsonObject:
        execution = EXECUTION.get()
        began_ms = time.time_ns() // 1_000_000
        try:
            if self.number <= execution.last:
                return await self._reserved.run_async({"name": name}, partial(self._act, act))
            result = await self._act(act)
            step = Step(number=self.number, name=name, result=result, began_ms=began_ms)
            await self._records.record(execution, step)
        except _Unrecorded as unrecorded:
            raise RunInterrupted from unrecorded.__cause__
        except (dbos_error.DBOSUnexpectedStepError, dbos_error.DBOSStepNondeterminismError) as error:
            _logger.exception("journal mismatch")
            raise Internal(
                f"the journal has another step in place {self.number} than {name}: the run was recorded by other code, "
                "or its pattern is not deterministic"
            ) from error
        except (*TAKEN_AWAY, SQLAlchemyError) as error:
            raise RunInterrupted from error
        return result

    async def _act(self, act: Callable[[], Awaitable[JsonObject]]) -> JsonObject:
        if not self._may_act():
            raise _Unrecorded from RunInterrupted()
        before = ACTING.set(True)
        try:
            return await act()
        except Exception as error:
            raise _Unrecorded from error
        finally:
            ACTING.reset(before)


class _Unrecorded(BaseException):
    """Carries an error past DBOS, which would record it and give back another one on replay."""


ANSWERS_WITHIN_S = 15.0
"""DBOS asks a database that is away again and again, without an end; whoever waits for it is told after this."""


async def outside(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` as if no run were under way here. Raises: Unavailable: the database fails, or does not answer."""
    try:
        with anyio.move_on_after(ANSWERS_WITHIN_S):
            return await asyncio.get_running_loop().create_task(work, context=Context())
        raise Unavailable("the durable engine does not answer; whether it did what it was asked is not known")
    except SQLAlchemyError as error:
        _logger.exception("the durable engine's database failed")
        raise Unavailable("the durable engine cannot be used at the moment") from error
