"""JSON-RPC with one running program: many callers' requests over one pair of pipes, each answered to its own caller.

Ids and progress tokens are ours, so two callers' can never meet. What a program says to nobody in particular reaches a
caller only while the program has served nobody else.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from msgspec import Raw

from adapters.mcp.client_answers import Answers
from adapters.mcp.client_exchange import message_from
from adapters.mcp.client_params import Outgoing, restore_token, swap_token
from adapters.mcp.client_process import Process
from adapters.mcp.client_sessions import GATEWAY, Key
from adapters.mcp.client_updates import UPDATED, Updates
from adapters.mcp.client_wire import (
    LIST_CHANGED,
    Message,
    event_from_notification,
    own_answer,
    params_of,
    progress_token,
)
from adapters.mcp.wire import encode
from gateway.core.errors import DeadlineExceeded, Denied, GatewayError, Unavailable, UpstreamFailed
from gateway.core.json import JsonObject
from gateway.core.model import Emit, Event, ignore_event
from gateway.core.ports.world import Clock

MOST_GARBAGE = 1000
"""Lines that are not JSON-RPC, beyond which a program counts as broken."""
_MOST_EVENTS = 256
"""Of one call that wait for a slow caller; newer ones are dropped, for the others' sake."""


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """A request under way."""

    who: Key
    token: Raw | None
    events: deque[tuple[Event, int]] = field(default_factory=deque[tuple[Event, int]])
    """Each with its size, bytes."""
    size_bytes: int = 0
    answer: Message | GatewayError | None = None
    wake: anyio.Event = field(default_factory=anyio.Event)


class Conversation:
    """With one run of a program, from its start to its end. Implements `Lines`."""

    def __init__(
        self,
        slug: str,
        answers: Answers,
        clock: Clock,
        on_changed: Callable[[], None],
        updates: Updates,
        *,
        event_bytes: int,
    ) -> None:
        """`event_bytes`: the most that waits for one slow caller."""
        self._event_bytes = event_bytes
        self.garbage = 0
        """Lines that were not JSON-RPC."""
        self.over = False
        self.process: Process | None = None
        self._slug = slug
        self._answers = answers
        self._clock = clock
        self._on_changed = on_changed
        self._updates = updates
        self.subscribed: dict[str, int] = {}
        """Resources the program has been asked to tell of, each with the number of the request."""
        self._last = 0
        self._waiting: dict[int, _Waiting] = {}
        self._served: set[Key] = set()
        """Callers, as far as it has to be known whether they are more than one."""

    async def request(self, out: Outgoing, *, who: Key, emit: Emit, deadline_s: float, withdraw: bool = True) -> Raw:
        """The result of a request; events before it in order. `withdraw`: say so when it is no longer wanted.

        Raises: Unavailable: never sent; UpstreamFailed: the program died or answered wrongly; DeadlineExceeded; what
            the server's error stands for.
        """
        number = self._number()
        waiting = _Waiting(who=who, token=swap_token(out.members, number))
        if who != GATEWAY and len(self._served) < 2:
            self._served.add(who)
        message = message_from(number, out)
        self._waiting[number] = waiting
        try:
            self._send(message)
            with anyio.fail_after(max(0.0, deadline_s - self._clock.monotonic_s())):
                return self._answers.result_of(number, await self._answer(waiting, emit))
        except TimeoutError as error:
            if withdraw:
                self._withdraw(number)
            raise DeadlineExceeded(f"{self._slug} did not answer in time") from error
        except (anyio.get_cancelled_exc_class(), Denied):
            if withdraw:
                self._withdraw(number)
            raise
        finally:
            del self._waiting[number]

    async def ask(self, out: Outgoing, deadline_s: float, *, withdraw: bool = True) -> JsonObject:
        """The result of a request in the gateway's own name."""
        raw = await self.request(out, who=GATEWAY, emit=ignore_event, deadline_s=deadline_s, withdraw=withdraw)
        return self._answers.members(raw)

    def tell(self, said: JsonObject) -> None:
        """Send what has no answer. Raises: Unavailable."""
        self._send(encode(said))

    def begin(self, out: Outgoing) -> int:
        """Send a request whose answer, if it ever comes, tells nothing; gives its number. Raises: Unavailable."""
        number = self._number()
        self._send(message_from(number, out))
        return number

    def withdraw(self, number: int) -> None:
        """Say that a request is no longer wanted."""
        self._withdraw(number)

    async def _answer(self, waiting: _Waiting, emit: Emit) -> Message:
        while True:
            while waiting.events:
                event, size_bytes = waiting.events.popleft()
                waiting.size_bytes -= size_bytes
                await emit(event)
            if isinstance(waiting.answer, GatewayError):
                raise waiting.answer
            if waiting.answer is not None:
                return waiting.answer
            waiting.wake = anyio.Event()
            await waiting.wake.wait()

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _send(self, line: bytes) -> None:
        if self.process is None:
            raise Unavailable(f"{self._slug} is not running", detail={"sent": False})
        self.process.send(line)

    def _withdraw(self, number: int) -> None:
        params: JsonObject = {"requestId": number, "reason": "no longer wanted"}
        try:
            self.tell({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        except Unavailable:
            return  # whoever is gone works on nothing

    # See `Lines`.

    def line(self, raw: bytes) -> None:
        try:
            message = self._answers.message(raw)
        except UpstreamFailed:
            self._count_garbage()
            return
        match message.kind:
            case "notification":
                self._notified(message, raw)
            case "request":
                self._refuse(message)
            case "answer":
                number = _number(message.id)
                waiting = self._waiting.get(number)
                if waiting is not None and waiting.answer is None:
                    waiting.answer = message
                    waiting.wake.set()
                elif not 0 < number <= self._last:
                    self._count_garbage()  # other than those that come too late

    def overlong(self, head: bytes) -> None:
        _, found, rest = head.partition(b'"id":')
        digits = rest.lstrip()[:20].partition(b",")[0].rstrip(b"} ")
        waiting = self._waiting.get(_number(Raw(digits))) if found else None
        if waiting is not None and waiting.answer is None:
            waiting.answer = self._answers.failed("answered with more bytes than are allowed")
            waiting.wake.set()
        self._count_garbage()

    def ended(self) -> None:
        self.over = True
        self._updates.end()
        for waiting in self._waiting.values():
            if waiting.answer is None:
                # Not `Unavailable`: that would say that nothing was done, and nobody knows.
                waiting.answer = self._answers.failed("ended before it answered")
                waiting.wake.set()

    def _notified(self, message: Message, raw: bytes) -> None:
        if message.method in LIST_CHANGED:
            self._on_changed()
        elif message.method == UPDATED:
            self._updates.publish(params_of(message))
        elif message.method == "notifications/progress":
            waiting = self._waiting.get(progress_token(message) or 0)
            if waiting is not None and waiting.token is not None:
                raw = restore_token(raw, waiting.token)
                self._add(waiting, self._answers.message(raw), raw)
        elif message.method == "notifications/message" and len(self._served) == 1:
            callers = [waiting for waiting in self._waiting.values() if waiting.who != GATEWAY]
            if callers:
                self._add(callers[-1], message, raw)

    def _add(self, waiting: _Waiting, message: Message, raw: bytes) -> None:
        full = len(waiting.events) >= _MOST_EVENTS or waiting.size_bytes + len(raw) > self._event_bytes
        if waiting.answer is None and not full:
            waiting.events.append((event_from_notification(message, raw), len(raw)))
            waiting.size_bytes += len(raw)
            waiting.wake.set()

    def _refuse(self, message: Message) -> None:
        try:
            self.tell(own_answer(message))
        except Unavailable:
            return

    def _count_garbage(self) -> None:
        self.garbage += 1
        if self.garbage > MOST_GARBAGE and self.process is not None:
            self.process.kill()


def _number(raw: Raw) -> int:
    """A request id of ours, or 0."""
    text = bytes(raw)
    return int(text) if text.isdigit() and len(text) < 16 else 0
