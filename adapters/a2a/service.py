"""What the A2A door does with a call that makes sense: send it down the one path, and bring back what comes of it.

A client that goes away ends its own call and stream, never the task (A2A 1.0, section 3.1: CancelTask is how).
"""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio
import structlog

from adapters.a2a import asgi
from adapters.a2a.asgi import EventStream, Receive, Send
from adapters.a2a.fold import TaskFold
from adapters.a2a.inbound import Asked, Inbound, page_size_of
from adapters.a2a.ownership import Ownership, task_not_found
from adapters.a2a.refusals import Refusals, say
from adapters.a2a.replies import closing_events, event_result, list_result, sent, task_result
from adapters.a2a.stream_places import StreamPlaces
from adapters.a2a.wire.bodies import Answer, Snapshot
from adapters.a2a.wire.envelope import answer_bytes, encode, error_bytes
from adapters.a2a.wire.errors import a2a_error
from adapters.a2a.wire.events import event_json
from adapters.a2a.wire.values import optional_id, task_from_json
from gateway.core.errors import GatewayError, Internal, NotFound, Unavailable, UpstreamFailed
from gateway.core.json import Json
from gateway.core.model import Accepted, Capability, Complete, Event, Log, Progress, Request, Result, TaskOpened
from gateway.core.ports.gateway import Gateway, Identity
from gateway.core.ports.world import Clock, Ids

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

log = structlog.get_logger(__name__)

FAREWELL_S = 1.0
"""How long a caller may take to be told that its call was cut by the gateway's own end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One call at the door: who, about which agent, on which connection."""

    identity: Identity
    slug: str
    target: str
    capability: Capability | None
    receive: Receive
    send: Send

    @property
    def proxied(self) -> bool:
        """About an agent behind the gateway, whose tasks are the door's to tell apart; runs know their owners."""
        return self.target.startswith("agent:")


class Service:
    """Runs calls. Holds the number of open streams, and nothing of any one call."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        ownership: Ownership,
        inbound: Inbound,
        refusals: Refusals,
        clock: Clock,
        ids: Ids,
        streams: int,
    ) -> None:
        self._gateway = gateway
        self._ownership = ownership
        self._inbound = inbound
        self._refusals = refusals
        self._clock = clock
        self._ids = ids
        self._streams = StreamPlaces(streams)

    async def serve(self, visit: Visit, asked: Asked) -> None:
        """Answer one call, whatever becomes of it."""
        try:
            meta = await self._owned(visit, asked)
            if asked.streaming:
                self._streams.refuse(visit.identity.principal)
            request = self._inbound.request(
                asked, visit.identity, target=visit.target, capability=visit.capability, meta=meta
            )
        except GatewayError as error:
            await self._refusals.refuse(
                visit.send,
                error,
                operation=asked.operation,
                call_id=asked.call.id,
                identity=visit.identity,
                capability=visit.target,
            )
            return
        if asked.streaming:
            await self._stream(visit, asked, request)
            return
        try:
            await while_connected(visit.receive, lambda: self._answer(visit, asked, request))
        except anyio.get_cancelled_exc_class():
            # Not the client's leaving, which ends in there: the server waits no longer.
            with anyio.move_on_after(FAREWELL_S, shield=True):
                await say(visit.send, Unavailable("the gateway is going down"), call_id=asked.call.id)
            raise

    async def _owned(self, visit: Visit, asked: Asked) -> dict[str, Json]:
        """What the caller owns of what it asks about. Raises: GatewayError: it does not."""
        if not visit.proxied or visit.capability is None:
            return {}
        if asked.operation == "task.list":
            return {"owned": [*await self._ownership.owned(visit.identity, visit.slug)]}
        task_id, context_id = asked.task_id, asked.context_id
        if task_id:
            task = await self._ownership.require(visit.identity, visit.slug, task_id)
            if context_id and context_id != task.context_id:
                raise a2a_error("INVALID_PARAMS", "the task belongs to another contextId")
        elif context_id:
            await self._ownership.enter(visit.identity, visit.slug, context_id)
        return {}

    async def _answer(self, visit: Visit, asked: Asked, request: Request) -> None:
        fold = TaskFold()

        async def emit(event: Event) -> None:
            if not isinstance(event, Progress | Log):
                await self._opened(visit, event)
                fold.apply(event)

        async def answer() -> None:
            result = await self._call(visit, request, emit)
            body = self._rendered(asked, request, result, fold)
            await asgi.answer(visit.send, 200, answer_bytes(asked.call.id, body))

        problem = await _problem_of(answer, request)
        if problem is not None:
            await say(visit.send, problem, call_id=asked.call.id)

    async def _stream(self, visit: Visit, asked: Asked, request: Request) -> None:
        stream = EventStream(visit.send)
        with self._streams.taken(visit.identity.principal):
            await while_connected(
                visit.receive, lambda: self._listened(visit, asked, request, stream), beside=stream.keep_alive
            )

    async def _listened(self, visit: Visit, asked: Asked, request: Request, stream: EventStream) -> None:
        call_id = asked.call.id
        problem = await _problem_of(lambda: self._events(visit, asked, request, stream), request)
        if problem is not None and not stream.begun:
            await say(visit.send, problem, call_id=call_id)
            return
        if problem is not None:
            await stream.write(error_bytes(call_id, problem))
        await stream.end()

    async def _events(self, visit: Visit, asked: Asked, request: Request, stream: EventStream) -> None:
        fold = TaskFold()
        call_id = asked.call.id

        async def emit(event: Event) -> None:
            if not fold.task_id and not isinstance(event, TaskOpened):
                return  # A2A 1.0, section 3.1.2: the task comes first
            await self._opened(visit, event)
            said = event_result(event, fold)
            if not isinstance(event, Progress | Log):
                fold.apply(event)
            if said is not None:
                await stream.write(answer_bytes(call_id, said))

        result = await self._call(visit, request, emit)
        for event in closing_events(result, fold, at_us=self._clock.now_us()):
            await emit(event)
        if not fold.task_id:
            await stream.write(answer_bytes(call_id, self._whole(asked, result, fold)))

    async def _call(self, visit: Visit, request: Request, emit: Callable[[Event], Awaitable[None]]) -> Result:
        """Down the one path; what comes back, once it is the caller's."""
        result = await self._gateway.call(request, emit)
        if visit.proxied and request.operation == "call" and isinstance(result, Complete):
            await self._claim(visit, result)
        return result

    async def _opened(self, visit: Visit, event: Event) -> None:
        if visit.proxied and isinstance(event, TaskOpened):
            await self._ownership.claim(visit.identity, visit.slug, event.task.id, event.task.context_id)

    async def _claim(self, visit: Visit, result: Complete) -> None:
        body = result.body
        if isinstance(body, Snapshot):
            task_id, context_id = body.task.id, body.task.context_id
        elif isinstance(body, Answer) and body.kind == "task":
            task = task_from_json(body.value)
            task_id, context_id = task.id, task.context_id
        elif isinstance(body, Answer):
            task_id, context_id = "", optional_id(body.value.get("contextId"))
        else:
            return
        await self._ownership.claim(visit.identity, visit.slug, task_id, context_id)

    def _whole(self, asked: Asked, result: Result, fold: TaskFold) -> bytes:
        """The only event of a stream in which no task was opened."""
        if asked.operation == "task.subscribe":
            if isinstance(result, Accepted) and not result.task.state.terminal:
                return encode(event_json(TaskOpened(task=result.task)))
            raise a2a_error("UNSUPPORTED_OPERATION", "the task has ended; GetTask shows it")
        kind, raw = sent(
            result,
            fold,
            message_id=self._ids.new("msg"),
            at_us=self._clock.now_us(),
            history_length=asked.history_length,
        )
        return b'{"%b":%b}' % (kind.encode(), raw)

    def _rendered(self, asked: Asked, request: Request, result: Result, fold: TaskFold) -> bytes:
        if asked.operation == "call":
            return self._whole(asked, result, fold)
        if asked.operation == "task.list":
            raw = list_result(
                result,
                page_size=page_size_of(asked),
                history_length=asked.history_length,
                artifacts=request.meta.get("include_artifacts") is True,
            )
        else:
            raw = task_result(result, at_us=self._clock.now_us(), history_length=asked.history_length)
        if raw is None:
            raise UpstreamFailed("the answer holds no task")
        return raw


async def while_connected(
    receive: Receive,
    work: Callable[[], Coroutine[Any, Any, None]],
    *,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Run `work` to its end, or until the client has gone; `beside` runs along."""
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            await asgi.disconnected(receive)
            group.cancel_scope.cancel()

        group.start_soon(watch)
        if beside is not None:
            group.start_soon(beside)
        await work()
        group.cancel_scope.cancel()


async def _problem_of(work: Work, request: Request) -> GatewayError | None:
    """Run `work`; the error in which it ended, as the caller may see it."""
    try:
        await work()
    except GatewayError as error:
        return _named(error, request)
    except Exception:
        log.exception("call failed at the door", request=request.id)
        return Internal("the gateway failed; its log has the rest")
    return None


def _named(error: GatewayError, request: Request) -> GatewayError:
    """The error under A2A's own name, where it has one for it."""
    about_task = request.operation.startswith("task.") or request.meta.get("task")
    if isinstance(error, NotFound) and about_task and "a2a" not in error.detail:
        named = task_not_found()
        named.detail.update(error.detail)
        return named
    return error
