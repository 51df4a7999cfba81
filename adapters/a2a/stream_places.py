"""How many event streams may be open: so many in all, and of one caller no more than a part of them."""

from collections.abc import Generator
from contextlib import contextmanager

from gateway.core.errors import Exhausted
from gateway.core.model import Principal

SHARE = 4
"""One caller may hold at most this fraction of all streams."""


class StreamPlaces:
    """Belongs to the event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[str, int] = {}
        """By caller."""

    def refuse(self, who: Principal) -> None:
        """Raises: Exhausted: there is no place for a further stream of this caller's."""
        mine = self._open.get(_name_of(who), 0)
        if sum(self._open.values()) >= self._limit or mine >= max(1, self._limit // SHARE):
            raise Exhausted("too many streams are open", detail={"limit": "streams"}, retry_after_s=1.0)

    @contextmanager
    def taken(self, who: Principal) -> Generator[None]:
        """While a stream of the caller's is open; ask `refuse` first."""
        name = _name_of(who)
        self._open[name] = self._open.get(name, 0) + 1
        try:
            yield
        finally:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]


def _name_of(who: Principal) -> str:
    return f"{who.tenant}/{who.subject}"
