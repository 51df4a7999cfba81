"""A call of which nothing has come back yet, not even that an answer begins. Its session may ask beside it meanwhile.

Servers that answer in plain JSON say nothing on a call's own connection until they are done, so that what they want to
know first can come by the session's stream only.
"""

from collections import deque
from collections.abc import Coroutine
from typing import Any

from adapters.net.pending import Pending
from adapters.net.response import Response
from gateway.core.ports.world import Clock


class Unanswered:
    """Implements `Held`."""

    def __init__(
        self, number: int, lines: bytes, work: Coroutine[Any, Any, Response], deadline_s: float, clock: Clock
    ) -> None:
        """`work` gives the response, begun or whole; `lines`: headers of its session."""
        self.number = number
        self.lines = lines
        self.deadline_s = deadline_s
        self.events: deque[bytes] = deque()
        """Said beside it, and not looked at."""
        self._pending = Pending(work, Response.close)
        self._clock = clock

    async def begun(self) -> Response | None:
        """What came back; None after a `nudge`. Raises: what the work raises; DeadlineExceeded."""
        outcome = await self._pending.outcome(self.deadline_s - self._clock.monotonic_s())
        if outcome is None:
            return None
        (response,) = outcome
        response.deadline_s = self.deadline_s
        return response

    def nudge(self) -> None:
        """Something was said beside it."""
        self._pending.nudge()

    def close(self) -> None:
        """See `Held`."""
        self._pending.close()
