"""JSON-RPC with one running program: requests over one pair of pipes, each answered to its own caller.

Ids and progress tokens are ours, so two callers' can never meet. What a program asks or says to nobody in particular
goes to the newest call where the program is one caller's own. A program that many share can ask nobody, and what it
says so reaches a call only while no other caller's can have caused it.
"""

from collections.abc import Callable, Iterator

import anyio
import structlog
from msgspec import Raw

from adapters.mcp.batches import messages_in
from adapters.mcp.client_answers import Answers
from adapters.mcp.client_channel import Call
from adapters.mcp.client_exchange import Asked, MayAsk, message_from, nothing
from adapters.mcp.client_pages import COMPLETE
from adapters.mcp.client_params import Outgoing, restore_token, swap_token
from adapters.mcp.client_process import Process
from adapters.mcp.client_questions import Questions
from adapters.mcp.client_sessions import GATEWAY, Key, caller_of
from adapters.mcp.client_told import ROOTS_CHANGED, Told
from adapters.mcp.client_updates import UPDATED, Updates
from adapters.mcp.client_wire import (
    BETWEEN,
    LIST_CHANGED,
    Message,
    event_from_notification,
    own_answer,
    params_of,
    progress_token,
)
from adapters.mcp.tasks import NOTIFICATION
from adapters.mcp.wire import ACKNOWLEDGED, SUBSCRIPTION_KEY, encode
from gateway.core.errors import DeadlineExceeded, Denied, GatewayError, Unavailable, UpstreamFailed
from gateway.core.json import JsonObject, json_object
from gateway.core.model import Emit, Request, ignore_event
from gateway.core.ports.world import Clock

log = structlog.get_logger(__name__)

MOST_GARBAGE = 1000
"""Lines that are not JSON-RPC, beyond which a program counts as broken."""
_MOST_UNFINISHED = 100
"""Calls given up and not answered whose callers are told apart."""
_MOST_SHOWN = 100
_OF_SUBSCRIPTIONS = frozenset({ACKNOWLEDGED, NOTIFICATION})
"""Said under the number of a subscription, to whoever has it."""


class Conversation:
    """With one run of a program, from its start to its end. Implements `Lines`."""

    def __init__(
        self,
        answers: Answers,
        clock: Clock,
        on_changed: Callable[[], None],
        updates: Updates,
        *,
        event_bytes: int,
        shared: bool = True,
    ) -> None:
        """`event_bytes`: the most that waits for one slow caller. `shared`: it is not one caller's alone."""
        self._event_bytes = event_bytes
        self._shared = shared
        self.garbage = 0
        """Lines that were not JSON-RPC."""
        self.over = False
        self.process: Process | None = None
        self.told: Told | None = None
        """What a legacy program knows of those who use it, once it has been greeted."""
        self._answers = answers
        self._clock = clock
        self._on_changed = on_changed
        self._updates = updates
        self.subscribed: dict[str, int] = {}
        """Resources the program has been asked to tell of, each with the number of the request."""
        self.asking: dict[str, anyio.Event] = {}
        """Those it is being asked to tell of, each set once it has answered."""
        self._last = 0
        self._calls: dict[int, Call] = {}
        self._callers: dict[int, Key] = {}
        self._listens: set[int] = set()
        """Those of the calls that are subscriptions."""
        self._unfinished: dict[int, Key] = {}
        """Whose the calls were that have been given up, and may be worked on all the same."""
        self._mixed = False
        """They were too many to be told apart."""
        self._questions = Questions()

    async def request(
        self, out: Outgoing, *, asker: Request, emit: Emit, deadline_s: float, may_ask: MayAsk = nothing
    ) -> Raw | Asked:
        """The result of a caller's request, or what the caller is asked first; events before it in order.

        Raises: Unavailable: never sent; UpstreamFailed: the program died or answered wrongly; DeadlineExceeded; what
            the server's error stands for.
        """
        call = self._call(deadline_s, may_ask, self._give_up)
        call.token = swap_token(out.members, call.number)
        self._introduce(call.number, asker)
        who = (*caller_of(asker), "")
        return await self._heard(call, message_from(call.number, out), who, emit)

    async def go_on(self, asked: Asked, reply: bytes, emit: Emit, deadline_s: float) -> Raw | Asked:
        """Bring the answer to what was asked in a call, and hear what comes of it. Raises: see `request`."""
        call = asked.stream
        if not isinstance(call, Call):
            raise TypeError("a call is resumed by the transport that asked")
        call.deadline_s = deadline_s
        wanted = self._questions.close(bytes(asked.question.id)) == call.number and not self.over
        who = self._callers.get(call.number, GATEWAY)
        try:
            return await self._heard(call, reply if wanted else b"", who, emit)
        except Unavailable as error:
            raise UpstreamFailed(error.message) from error  # the call itself was sent long ago

    async def listen(self, out: Outgoing, *, asker: Request, emit: Emit, deadline_s: float) -> Raw:
        """As `request`, of a subscription (2026-07-28): what is said under its number is its own, and nothing else."""
        call = self._call(deadline_s, nothing, self._forget)
        self._listens.add(call.number)
        try:
            raw = await self._heard(call, message_from(call.number, out), (*caller_of(asker), ""), emit)
        finally:
            self._listens.discard(call.number)
            if call.answer is None:
                self.withdraw(call.number)
        if isinstance(raw, Asked):
            raise self._answers.failed("asks something that nobody can be asked")
        return raw

    async def ask(self, out: Outgoing, deadline_s: float, *, withdraw: bool = True) -> JsonObject:
        """The result of a request in the gateway's own name. `withdraw`: say so when it is no longer wanted."""
        call = self._call(deadline_s, nothing, self._give_up if withdraw else self._forget)
        raw = await self._heard(call, message_from(call.number, out), GATEWAY, ignore_event)
        if isinstance(raw, Asked):
            raise self._answers.failed("asks the gateway itself")
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
        params: JsonObject = {"requestId": number, "reason": "no longer wanted"}
        self._say(encode({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))

    def _introduce(self, number: int, asker: Request) -> None:
        """Tell the program what is told once, where this call changes it."""
        if self.told is None:
            return
        self.told.met(asker)
        if self.told.other_roots(asker):
            self.tell(ROOTS_CHANGED)
        level = self.told.new_level(number, asker)
        if level:
            self.begin(Outgoing(method="logging/setLevel", members={"level": Raw(encode(level))}))

    def _call(self, deadline_s: float, may_ask: MayAsk, give_up: Callable[[Call], None]) -> Call:
        number = self._number()
        return Call(number=number, token=None, may_ask=may_ask, deadline_s=deadline_s, give_up=give_up)

    async def _heard(self, call: Call, message: bytes, who: Key, emit: Emit) -> Raw | Asked:
        """Send a message, if it is one, and hear what comes of the call."""
        self._calls[call.number], self._callers[call.number] = call, who
        asked = False
        try:
            if message:
                self._send(message)
            with anyio.fail_after(max(0.0, call.deadline_s - self._clock.monotonic_s())):
                answer = await self._next(call, emit)
                asked = isinstance(answer, Asked)
                return answer
        except TimeoutError as error:
            call.close()
            raise DeadlineExceeded(f"{self._answers.name} did not answer in time") from error
        except (anyio.get_cancelled_exc_class(), Denied):
            call.close()
            raise
        finally:
            if not asked:
                self._forget(call)

    async def _next(self, call: Call, emit: Emit) -> Raw | Asked:
        while True:
            while call.waiting:
                message, raw = call.take()
                if message.kind == "request":
                    return Asked(message, call)
                await emit(event_from_notification(message, raw))
            if isinstance(call.answer, GatewayError):
                raise call.answer
            if call.answer is not None:
                return self._answers.result_of(call.number, call.answer)
            call.wake = anyio.Event()
            await call.wake.wait()

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _send(self, line: bytes) -> None:
        if self.process is None:
            raise Unavailable(f"{self._answers.name} is not running", detail={"sent": False})
        self.process.send(line)

    def _say(self, line: bytes) -> None:
        """Send it to the program, if it is there."""
        try:
            self._send(line)
        except Unavailable:
            return  # whoever is gone works on nothing, and waits for nothing

    def _give_up(self, call: Call) -> None:
        """Nobody wants the answer any more, and the program is told."""
        self.withdraw(call.number)
        who = self._callers.get(call.number, GATEWAY)
        if self._shared and call.answer is None and who != GATEWAY:
            self._mixed = self._mixed or len(self._unfinished) >= _MOST_UNFINISHED
            self._unfinished[call.number] = who
        self._forget(call)

    def _forget(self, call: Call) -> None:
        self._calls.pop(call.number, None)
        self._callers.pop(call.number, None)
        if self.told is not None:
            self.told.forget(call.number)
        for question in self._questions.forget(call.number):
            error: JsonObject = {"code": -32603, "message": "the call this was asked in is over"}
            self._say(encode({"jsonrpc": "2.0", "id": Raw(question), "error": error}))

    # See `Lines`.

    def line(self, raw: bytes) -> None:
        if raw[:1] == b"{":
            self._take(raw)
            return
        for said in messages_in(raw):
            self._take(said)

    def overlong(self, head: bytes) -> None:
        _, found, rest = head.partition(b'"id":')
        digits = rest.lstrip()[:20].partition(b",")[0].rstrip(b"} ")
        call = self._calls.get(_number(Raw(digits))) if found else None
        if call is not None and call.answer is None:
            call.settle(self._answers.failed("answered with more bytes than are allowed"))
        self._count_garbage()

    def ended(self) -> None:
        self.over = True
        self._updates.end()
        for call in self._calls.values():
            if call.answer is None:
                # Not `Unavailable`: that would say that nothing was done, and nobody knows.
                call.settle(self._answers.failed("ended before it answered"))

    def _take(self, raw: bytes) -> None:
        try:
            message = self._answers.message(raw)
        except UpstreamFailed:
            self._count_garbage()
            return
        match message.kind:
            case "notification":
                self._notified(message, raw)
            case "request":
                self._question(message, raw)
            case "answer":
                self._answered(message)

    def _answered(self, message: Message) -> None:
        number = _number(message.id)
        self._unfinished.pop(number, None)
        call = self._calls.get(number)
        if call is not None and call.answer is None:
            call.settle(message)
        elif not 0 < number <= self._last:
            self._count_garbage()  # other than those that come too late

    def _question(self, message: Message, raw: bytes) -> None:
        asked = bytes(message.id)
        if asked in self._questions:
            # An answer could be the first one's or this one's: whoever asks twice under one name is heard once.
            self._count_garbage()
            return
        for call in self._by_likelihood():
            if not call.may_ask(message.method):
                continue
            if self._questions.too_many(call.number):
                call.settle(self._answers.failed("asks without end"))
                self.withdraw(call.number)
                break
            if call.add(message, raw, self._event_bytes):
                self._questions.put(asked, call.number)
                return
        self._say(encode(own_answer(message)))

    def _by_likelihood(self) -> Iterator[Call]:
        """To which call something belongs that is said to no one in particular: the newest that waits for no answer."""
        asked = self._questions.calls
        newest_first = [*reversed(self._calls.values())]
        yield from (call for call in newest_first if call.number not in asked)
        yield from (call for call in newest_first if call.number in asked)

    def _notified(self, message: Message, raw: bytes) -> None:
        if message.method in LIST_CHANGED:
            self._on_changed()
        elif message.method == UPDATED:
            self._updates.publish(params_of(message))
        elif message.method in _OF_SUBSCRIPTIONS:
            self._subscribed(message, raw)
        elif message.method == "notifications/cancelled":
            self._taken_back(encode(params_of(message).get("requestId")))
        elif message.method == "notifications/progress":
            self._progressed(message, raw)
        elif message.method == COMPLETE and self.told is not None and not self._shared:
            if len(raw) <= self._event_bytes:  # it waits for whoever listens
                self.told.say(raw)
        elif message.method not in BETWEEN:
            call = self._only_one()
            if call is None or not call.add(message, raw, self._event_bytes):
                said = message.method[:_MOST_SHOWN]
                log.debug("dropped what an MCP server said to no call", server=self._answers.name, said=said)

    def _subscribed(self, message: Message, raw: bytes) -> None:
        number = json_object(params_of(message).get("_meta")).get(SUBSCRIPTION_KEY)
        call = self._calls.get(number) if isinstance(number, int) and number in self._listens else None
        if call is not None:
            call.add(message, raw, self._event_bytes)

    def _progressed(self, message: Message, raw: bytes) -> None:
        call = self._calls.get(progress_token(message) or 0)
        if call is not None and call.token is not None and len(raw) <= self._event_bytes:
            raw = restore_token(raw, call.token)
            call.add(self._answers.message(raw), raw, self._event_bytes)

    def _only_one(self) -> Call | None:
        """The call that something belongs to which names none; None where it could be another caller's."""
        if not self._shared:
            return next(self._by_likelihood(), None)
        calls = {number: call for number, call in self._calls.items() if number not in self._listens}
        if self._mixed or len(calls) != 1:
            return None
        ((number, call),) = calls.items()
        return call if {self._callers[number], *self._unfinished.values()} == {self._callers[number]} else None

    def _taken_back(self, question: bytes) -> None:
        """The program no longer wants to know."""
        call = self._calls.get(self._questions.close(question))
        if call is not None:
            for message, raw in [each for each in call.waiting if each[0].kind == "request"]:
                if bytes(message.id) == question:
                    call.waiting.remove((message, raw))
                    call.size_bytes -= len(raw)

    def _count_garbage(self) -> None:
        self.garbage += 1
        if self.garbage > MOST_GARBAGE and self.process is not None:
            self.process.kill()


def _number(raw: Raw) -> int:
    """A request id of ours, or 0."""
    text = bytes(raw)
    return int(text) if text.isdigit() and len(text) < 16 else 0
