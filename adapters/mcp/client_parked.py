"""Calls to a legacy server that wait for what their callers are asked: each keeps its stream, and nobody else's.

The caller hears of it as `InputRequired`; whoever comes back with the state of that gets the stream again.
"""

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from msgspec import Raw

from adapters.mcp.client_exchange import Asked
from adapters.mcp.client_seal import VALID_S
from adapters.mcp.client_sessions import Key
from adapters.mcp.client_wire import Message
from adapters.mcp.wire import REFUSED, decode_members, encode
from gateway.core.errors import InvalidRequest
from gateway.core.json import json_object
from gateway.core.model import Request
from gateway.core.ports.world import Clock

QUESTION = "question"
"""The key of the one question a legacy server asks at a time."""

SessionT = TypeVar("SessionT")
"""Whatever a call goes on in once its caller has answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked(Generic[SessionT]):
    """One call that waits."""

    key: Key
    session: SessionT
    asked: Asked
    until_s: float


class Parking(Generic[SessionT]):
    """All calls of one server that wait; the oldest gives way to a new one where there is no more room."""

    def __init__(self, *, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._parked: OrderedDict[str, Parked[SessionT]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many calls wait; those that waited too long are given up first."""
        self._give_up_late()
        return len(self._parked)

    def holds(self, session: SessionT) -> bool:
        """Whether a call in this session waits."""
        return self.waiting > 0 and any(each.session is session for each in self._parked.values())

    def park(self, key: Key, session: SessionT, asked: Asked) -> Raw:
        """The result that asks the caller, in the words of 2026-07-28; its state is the ticket."""
        now_s = self._clock.monotonic_s()
        while self.waiting >= self._most:
            self._parked.popitem(last=False)[1].asked.stream.close()
        ticket = secrets.token_urlsafe(18)
        until_s = asked.stream.deadline_s = now_s + VALID_S
        self._parked[ticket] = Parked(key=key, session=session, asked=asked, until_s=until_s)
        question = asked.question
        said = {"method": question.method, "params": question.params or Raw(b"{}")}
        return Raw(encode({"resultType": "input_required", "inputRequests": {QUESTION: said}, "requestState": ticket}))

    def take(self, ticket: str, key: Key) -> Parked[SessionT]:
        """The call that waits under this ticket. Raises: InvalidRequest: none of this caller's does, or no longer."""
        self._give_up_late()
        parked = self._parked.get(ticket)
        if parked is None or parked.key != key:
            raise not_awaited()
        del self._parked[ticket]
        return parked

    def close(self) -> None:
        """Give all of them up."""
        while self._parked:
            self._parked.popitem()[1].asked.stream.close()

    def _give_up_late(self) -> None:
        now_s = self._clock.monotonic_s()
        while self._parked and self._oldest().until_s <= now_s:
            self._parked.popitem(last=False)[1].asked.stream.close()

    def _oldest(self) -> Parked[SessionT]:
        return next(iter(self._parked.values()))


def not_awaited() -> InvalidRequest:
    """What a caller learns whose answer comes too late, or is not theirs to give."""
    said = "the server no longer waits for this answer; begin the call again"
    return InvalidRequest(said, detail={"member": "requestState"})


def reply_from(question: Message, members: Mapping[str, Raw], request: Request) -> bytes | None:
    """The caller's answer as a response; None where it brought none to this question, or nothing that could be one."""
    try:
        responses = decode_members(bytes(members.get("inputResponses", Raw(b"{}"))))
    except InvalidRequest:
        responses = {}
    if QUESTION in responses:
        return encode({"jsonrpc": "2.0", "id": question.id, "result": responses[QUESTION]})
    refused = json_object(json_object(request.meta.get(REFUSED)).get(QUESTION))
    return encode({"jsonrpc": "2.0", "id": question.id, "error": refused.get("error")}) if refused else None
