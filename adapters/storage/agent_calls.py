"""What agents are at work on in any process on a shared database, and how deep that is. Knows no call beyond that.

A step of a run has a row of its own while it is open, which says its depth; what is kept here are the calls that no
step stands for. A row counts while its process is alive, and no longer than its call may take.
"""

import itertools

from sqlalchemy import Connection, bindparam, delete, insert, select, union_all

from adapters.storage.presence import LIVING
from adapters.storage.tables import agent_calls, open_steps
from adapters.storage.transactions import Transactions
from gateway.core.ports.storage import AtWork
from gateway.core.ports.world import Clock

_c = agent_calls.c
_KIND = "agent:"
_THIS = (_c.process == bindparam("of_process"), _c.number == bindparam("of_number"))
_BEGAN = insert(agent_calls)
_ENDED = delete(agent_calls).where(*_THIS)
_AT_WORK = union_all(
    select(_c.step_id, _c.depth).where(
        _c.agent == bindparam("of_agent"), _c.until_us > bindparam("now_us"), _c.process.in_(LIVING)
    ),
    select(open_steps.c.step_id, open_steps.c.depth).where(
        open_steps.c.agent == bindparam("of_slug"), open_steps.c.depth.is_not(None)
    ),
)


class SqlAgentCalls:
    """See `AgentCalls`."""

    def __init__(self, database: Transactions, process: str, clock: Clock) -> None:
        self._database = database
        self._process = process
        self._clock = clock
        self._numbers = itertools.count(1)

    async def began(self, call: AtWork, seconds: float) -> int:
        number = next(self._numbers)
        row = {
            "process": self._process,
            "number": number,
            "agent": call.agent,
            "step_id": call.step_id,
            "depth": call.depth,
            "until_us": self._clock.now_us() + int(seconds * 1e6),
        }

        def act(connection: Connection) -> None:
            connection.execute(_BEGAN, row)

        await self._database.write(act, about=call.agent)
        return number

    async def ended(self, call: AtWork, number: int) -> None:
        place = {"of_process": self._process, "of_number": number}

        def act(connection: Connection) -> None:
            connection.execute(_ENDED, place)

        # About the same as its beginning, so that it comes behind it.
        await self._database.write(act, about=call.agent)

    async def at_work(self, agent: str) -> tuple[AtWork, ...]:
        asked = {"of_agent": agent, "of_slug": agent.removeprefix(_KIND), "now_us": self._clock.now_us()}
        rows = await self._database.read(lambda connection: connection.execute(_AT_WORK, asked).all())
        return tuple(AtWork(agent=agent, step_id=row.step_id, depth=row.depth) for row in rows)
