"""What a store asks of the database it keeps its rows in, whichever that is."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from adapters.sql.prepared import Prepared

T = TypeVar("T")


class Transactions(Protocol):
    """Runs acts. Both databases keep these promises; the contract suites of the stores hold them to it."""

    @property
    def shared(self) -> bool:
        """Whether other processes write to it as well: then what was read is not necessarily so any more."""
        ...

    async def write(self, act: Callable[[Connection], T], *, about: str = "", lasting: bool = True) -> T:
        """Run `act` in a transaction; what it returned, once that is durable.

        `act` may be run several times, and must touch nothing but its connection. Writes `about` the same thing happen
        in the order of the calls. Acts of several processes overlap: two of them that decide by what they read have to
        meet in a row both write, or in a unique key; the one that comes second is then run again, and sees the first.

        A write that is not `lasting` survives the end of this process like any other, and a power loss only together
        with a later one that is: for what can be told again.

        Whoever asks learns what became of it even when canceled meanwhile: the wait is shielded, and bounded.

        Raises: what `act` raises, if a GatewayError; Unavailable: closed, overloaded, locked or out of time; Internal.
        """
        ...

    async def put(self, statement: Prepared, values: Mapping[str, Any], *, about: str) -> None:
        """As `write`, of one statement."""
        ...

    async def read(self, act: Callable[[Connection], T]) -> T:
        """Run `act` on a read-only view of everything written so far; each of its statements has one of its own. `act`
        may be run twice.

        Raises: what `act` raises, if a GatewayError; Unavailable: closed or out of time; Internal.
        """
        ...

    async def glance(self, act: Callable[[Connection], T]) -> T:
        """As `read`, for a few rows found by their key: such reads wait for each other, and for nothing else."""
        ...

    def mark(self, connection: Connection, topic: str) -> None:
        """Within an act that writes: other processes keep a copy of what `topic` names, and have to read it again."""
        ...
