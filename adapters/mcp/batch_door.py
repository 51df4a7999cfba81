"""A batch at the door (MCP 2025-03-26, basic, "batching"): whose it may be, and each message in it as if it came alone.

What is wrong with the batch is refused before anything in it is done; what is wrong with a message is its own error.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio
from anyio.abc import TaskGroup

from adapters.mcp.batches import REVISION, NotAnArray, TooMany, splitter
from adapters.mcp.classify import ABSENT, NO_META, Message, NotOneMessage, Reply, check_routing, message_from
from adapters.mcp.exchange import Exchange
from adapters.mcp.gathering import Gathering, Part
from adapters.mcp.knock import Knock
from adapters.mcp.methods import Methods
from adapters.mcp.refusals import (
    CANCELED,
    INVALID_PARAMS,
    INVALID_REQUEST,
    NULL,
    PARSE_ERROR,
    RpcRefusal,
    error_bytes,
    refusal_from,
)
from adapters.mcp.replies import reply
from adapters.mcp.sessions import Session
from adapters.mcp.wire import MODERN
from gateway.core.errors import DeadlineExceeded, Exhausted
from gateway.core.limits import Limits

AT_ONCE = 8
"""Requests of one batch that are under way at the same time; the others wait, in order."""

Serve = Callable[[Knock, Exchange], Awaitable[None]]

_ALONE = (
    f"a batch needs a session of {REVISION}, the only revision that has them: send each message in a POST of its own"
)


class Turn:
    """A request of a batch that is not begun yet; whoever cancels it meanwhile has its answer at once."""

    __slots__ = ("_session", "_whole", "message", "place", "withdrawn")

    def __init__(self, session: Session | None, message: Message, whole: Gathering, place: int) -> None:
        self._session = session
        self._whole = whole
        self.message = message
        self.place = place
        self.withdrawn = False
        if session is not None:
            session.calls.setdefault(message.id, self)

    def cancel(self) -> None:
        """See `Cancelable`."""
        self.withdrawn = True
        self.refuse(canceled())

    def refuse(self, refusal: RpcRefusal) -> None:
        """It is not begun at all."""
        error = error_bytes(self.message.id, refusal.code, refusal.message, refusal.data)
        self._whole.answered(self.place, error)

    def over(self) -> None:
        """It is begun, or never will be."""
        if self._session is not None and self._session.calls.get(self.message.id) is self:
            del self._session.calls[self.message.id]


class BatchDoor:
    """Takes batches apart, and has each of their requests answered."""

    def __init__(self, methods: Methods, *, limits: Limits, serve: Serve) -> None:
        """`serve` answers one request, and raises nothing but cancellation."""
        self._methods = methods
        self._limits = limits
        self._serve = serve
        self._split = splitter(limits.batch_messages)

    async def answer(self, knock: Knock, whole: Gathering, body: bytes) -> bytes:
        """Answer all of it; gives nothing. Raises: RpcRefusal: none of it is done."""
        elements = self._elements(knock, body)
        messages = [_element(each, self._limits.json_depth) for each in elements]
        if any(isinstance(each, Message) and each.method == "initialize" for each in messages):
            raise RpcRefusal(INVALID_REQUEST, "initialize must come alone, before any batch", http=400)
        session = knock.session
        knock.message = Message("batch", b"", {}, NO_META, len(body))
        whole.shelf = None if session is None else session.shelf
        whole.calling(knock, float("inf"))  # each of its requests has a deadline of its own
        requests = self._heard(knock, messages)
        if not requests:
            await reply(knock.send, 202)
            return b""
        ids = {place: each.id if isinstance(each, Message) else each.request_id for place, each in requests}
        whole.expect(ids, self._limits.result_bytes)
        for place, each in requests:
            if isinstance(each, RpcRefusal):
                whole.answered(place, error_bytes(each.request_id, each.code, each.message))
        turns = [Turn(session, each, whole, place) for place, each in requests if isinstance(each, Message)]
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(whole.tell)
                await self._begin_all(knock, whole, group, [*turns])
        finally:
            for turn in turns:
                turn.over()
        await whole.complete()
        return b""

    async def _begin_all(self, knock: Knock, whole: Gathering, group: TaskGroup, turns: list[Turn]) -> None:
        """Begin each once there is room for it, in order; what had to wait too long is not begun."""
        slots = anyio.Semaphore(AT_ONCE)
        refusal = refusal_from(DeadlineExceeded("what came before it in its batch took all the time there was"))
        with anyio.move_on_after(self._limits.call_timeout_s):
            while turns:
                await slots.acquire()
                try:
                    await whole.room()
                except Exhausted as error:
                    refusal = refusal_from(error)
                    break
                group.start_soon(self._request, knock, whole, turns.pop(0), slots)
        for each in turns:
            each.refuse(refusal)

    async def _request(self, knock: Knock, whole: Gathering, turn: Turn, slots: anyio.Semaphore) -> None:
        turn.over()
        try:
            if not turn.withdrawn:
                knock = replace(knock, message=turn.message)
                part = Part(whole, turn.place)
                part.request_id = turn.message.id
                part.calling(knock, anyio.current_time() + self._limits.call_timeout_s)
                await self._serve(knock, part)
        finally:
            slots.release()

    def _elements(self, knock: Knock, body: bytes) -> list[bytes]:
        """The messages, still raw, of a client that may send several. Raises: RpcRefusal."""
        try:
            if not body.isascii():
                body.decode()  # nobody looks inside strings that are skipped
            elements = self._split(body)
        except TooMany:
            elements = None
        except NotAnArray as error:
            raise RpcRefusal(PARSE_ERROR, "the body is not JSON, or is nested too deeply", http=400) from error
        self._check_revision(knock)
        most = self._limits.batch_messages
        if most == 0:
            raise RpcRefusal(INVALID_REQUEST, "batches are not served here: send each message alone", http=400)
        if elements is None:
            said = f"a batch may hold at most {most} messages: send the others in another"
            raise RpcRefusal(INVALID_REQUEST, said, http=400)
        if not elements:
            raise RpcRefusal(INVALID_REQUEST, "a batch must hold at least one message", http=400)
        return elements

    def _check_revision(self, knock: Knock) -> None:
        if len(knock.headers) != len(knock.lines):
            check_routing(knock.lines)
        if knock.era == "modern":
            raise RpcRefusal(INVALID_REQUEST, _ALONE, http=400)
        session = knock.session = self._methods.session(knock)
        if session is None or session.version != REVISION:
            # As for any other body that is not one message of its revision.
            raise RpcRefusal(INVALID_PARAMS, _ALONE, http=400)

    def _heard(
        self, knock: Knock, messages: list[Message | Reply | RpcRefusal]
    ) -> list[tuple[int, Message | RpcRefusal]]:
        """Take note of all that has no answer; what is to be answered, with its place."""
        ids = {each.id for each in messages if isinstance(each, Message) and each.id}
        withdrawn: set[bytes] = set()
        for each in messages:
            if isinstance(each, Reply):
                self._methods.answered(knock, each)
            elif isinstance(each, Message) and not each.id:
                if _cancels(each) in ids:
                    withdrawn.add(_cancels(each))
                else:
                    self._methods.notified(replace(knock, message=each))
        seen: set[bytes] = set()
        found: list[tuple[int, Message | RpcRefusal]] = []
        for place, each in enumerate(messages):
            if isinstance(each, RpcRefusal):
                found.append((place, each))
            elif isinstance(each, Message) and each.id:
                found.append((place, _wanted(each, seen, withdrawn)))
                seen.add(each.id)
        return found


def _element(raw: bytes, depth: int) -> Message | Reply | RpcRefusal:
    """A message of the batch, or why it is none."""
    try:
        message = message_from(raw, "legacy", depth)
    except NotOneMessage as error:
        said = "each element of a batch must be a JSON-RPC 2.0 request, notification or response object"
        return RpcRefusal(INVALID_REQUEST, said, request_id=error.request_id)
    except RpcRefusal as refusal:
        return refusal
    if isinstance(message, Message) and message.id and message.meta.version is not ABSENT:
        return RpcRefusal(INVALID_REQUEST, f"a request of {MODERN} must come alone", request_id=message.id)
    return message


def _cancels(message: Message) -> bytes:
    """The raw id of the request a notification takes back; empty where it is none of these."""
    if message.method != "notifications/cancelled":
        return b""
    return bytes(message.params.get("requestId", b""))


def _wanted(message: Message, seen: set[bytes], withdrawn: set[bytes]) -> Message | RpcRefusal:
    """The request, if it is to be begun at all."""
    if message.id in seen:
        said = "another request of the same batch has this id"
        return RpcRefusal(INVALID_REQUEST, said, request_id=message.id)
    if message.id in withdrawn:
        return canceled(message.id)
    return message


def canceled(request_id: bytes = NULL) -> RpcRefusal:
    """What is answered in place of a call that its caller took back."""
    return RpcRefusal(CANCELED, "the call was cancelled", request_id=request_id)
