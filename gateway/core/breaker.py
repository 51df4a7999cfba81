"""Leaves a target that keeps failing alone for a while, then lets a single call find out whether it is back.

Knows its target by name only, and keeps its state in memory: after a start, everybody is trusted again.
"""

from dataclasses import dataclass
from typing import Literal

from gateway.core.errors import Unavailable
from gateway.core.ports.world import Clock

BreakerState = Literal["closed", "open", "half_open"]
PROBE_S = 1.0
"""When to come back while another call is finding out, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerView:
    """What is to be seen of a breaker from outside."""

    target: str
    state: BreakerState
    failures: int
    """In a row."""
    retry_after_s: float = 0.0
    """Until the next call is let through; 0 where one is at once."""


class Breaker:
    """Opens after `failures` failures in a row, for `cooldown_s`.

    Calls are admitted with a ticket and report under it what came of them. A ticket from before the breaker last opened
    or let a probe through says nothing any more: only a probe's success closes an open breaker.
    """

    __slots__ = (
        "_clock",
        "_cooldown_s",
        "_failures",
        "_most",
        "_name",
        "_probing",
        "_ticket",
        "_until_s",
        "_why",
        "closed",
    )

    def __init__(self, name: str, *, failures: int, cooldown_s: float, clock: Clock) -> None:
        self.closed = True
        """Whether calls go through; read before anything else is asked of it."""
        self._name = name
        self._most = failures
        self._cooldown_s = cooldown_s
        self._clock = clock
        self._failures: int = 0
        self._ticket: int = 0
        self._until_s = 0.0
        self._probing = False
        self._why = ""

    @property
    def state(self) -> BreakerState:
        if self.closed:
            return "closed"
        return "open" if self._clock.monotonic_s() < self._until_s else "half_open"

    def view(self) -> BreakerView:
        left_s = 0.0 if self.closed else max(0.0, self._until_s - self._clock.monotonic_s())
        return BreakerView(target=self._name, state=self.state, failures=self._failures, retry_after_s=left_s)

    def check(self) -> None:
        """Whether a call could be admitted now; for before it stands in line. Raises: Unavailable."""
        if self.closed:
            return
        left_s = self._until_s - self._clock.monotonic_s()
        if left_s > 0:
            # Not longer than it is, by what adding and taking away loses.
            left_s = min(left_s, self._cooldown_s)
            raise self._refusal(f"and is left alone for another {left_s:.1f} s", "open", left_s)
        if self._probing:
            raise self._refusal("and another call is finding out whether it is back", "half_open", PROBE_S)

    def admit(self) -> int:
        """The ticket of a call that goes through now; of a half-open breaker, the one probe's.

        Then `succeeded`, `failed` or `said_nothing` must follow. Raises: Unavailable.
        """
        if not self.closed:
            self.check()
            self._probing = True
            self._ticket += 1
        return self._ticket

    def succeeded(self, ticket: int) -> None:
        """The target answered."""
        if ticket == self._ticket:
            self._failures = 0
            self.closed = True
            self._probing = False

    def failed(self, ticket: int, why: str = "") -> bool:
        """The target failed; whether the breaker opened over it. `why` is told to whoever is refused, whose call it was
        not: so it is nobody's own words."""
        if ticket != self._ticket:
            return False
        self._why = why
        self._failures += 1
        if not self._probing and self._failures < self._most:
            return False
        self.closed = False
        self._probing = False
        self._ticket += 1
        self._until_s = self._clock.monotonic_s() + self._cooldown_s
        return True

    def said_nothing(self, ticket: int) -> None:
        """What came of the call tells nothing about the target: it was canceled, refused, or wrong itself."""
        if ticket == self._ticket:
            self._probing = False

    def _refusal(self, why: str, state: BreakerState, retry_after_s: float) -> Unavailable:
        return Unavailable(
            f"{self._name} failed {self._failures} times in a row{f' (it {self._why})' if self._why else ''} {why}",
            detail={"breaker": state, "target": self._name, "failures": self._failures, "sent": False},
            retry_after_s=retry_after_s,
        )
