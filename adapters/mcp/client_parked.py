"""Calls to a legacy server that wait for what their callers are asked: each keeps its stream, and nobody else's.

The caller hears of it as `InputRequired`; whoever comes back with the state of that gets the stream again.
"""

import secrets
from collections import OrderedDict
from dataclasses import dataclass

from msgspec import Raw

from adapters.mcp.client_exchange import Asked
from adapters.mcp.client_seal import VALID_S
from adapters.mcp.client_sessions import Key, Session
from adapters.mcp.wire import encode
from gateway.core.errors import InvalidRequest
from gateway.core.ports.world import Clock

QUESTION = "question"
"""The key of the one question a legacy server asks at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """One call that waits."""

    key: Key
    session: Session
    asked: Asked
    until_s: float


class Parking:
    """All calls of one server that wait; the oldest gives way to a new one where there is no more room."""

    def __init__(self, *, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._parked: OrderedDict[str, Parked] = OrderedDict()

    def park(self, key: Key, session: Session, asked: Asked) -> Raw:
        """The result that asks the caller, in the words of 2026-07-28; its state is the ticket."""
        now_s = self._clock.monotonic_s()
        while self._parked and (len(self._parked) >= self._most or self._oldest().until_s <= now_s):
            self._parked.popitem(last=False)[1].asked.stream.close()
        ticket = secrets.token_urlsafe(18)
        until_s = asked.stream.deadline_s = now_s + VALID_S
        self._parked[ticket] = Parked(key=key, session=session, asked=asked, until_s=until_s)
        question = asked.question
        said = {"method": question.method, "params": question.params or Raw(b"{}")}
        return Raw(encode({"resultType": "input_required", "inputRequests": {QUESTION: said}, "requestState": ticket}))

    def take(self, ticket: str, key: Key) -> Parked:
        """The call that waits under this ticket. Raises: InvalidRequest: none of this caller's does, or no longer."""
        parked = self._parked.get(ticket)
        if parked is None or parked.key != key or parked.until_s <= self._clock.monotonic_s():
            said = "the server no longer waits for this answer; begin the call again"
            raise InvalidRequest(said, detail={"member": "requestState"})
        del self._parked[ticket]
        return parked

    def close(self) -> None:
        """Give all of them up."""
        while self._parked:
            self._parked.popitem()[1].asked.stream.close()

    def _oldest(self) -> Parked:
        return next(iter(self._parked.values()))
