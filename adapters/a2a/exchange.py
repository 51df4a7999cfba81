"""One conversation with an agent about one message or task: heard to its end, whatever the connection does meanwhile.

A stream that ends early says nothing about the task (a2a-sdk drops slow readers without a word), so the task is asked
for, and listened to again. Events reach `emit` once, in order, the opening of the task first.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import anyio
import structlog

from adapters.a2a.fold import TaskFold
from adapters.a2a.rpc import AgentRpc, Cut
from adapters.a2a.wire.bodies import Answer, Frame
from adapters.a2a.wire.envelope import Member, decode_members, decode_object
from adapters.a2a.wire.events import TaskEvent, event_from_json
from adapters.a2a.wire.values import INTERRUPTED, task_from_json, valid_id
from gateway.core.errors import GatewayError, InvalidRequest, Unavailable, UpstreamFailed
from gateway.core.json import json_list, json_object
from gateway.core.model import ArtifactAdded, Emit, StatusChanged, TaskOpened
from gateway.core.task import Task, TaskState

log = structlog.get_logger(__name__)

Said = TypeVar("Said")
Parsed = TypeVar("Parsed")

RECOVERIES = 5
"""Attempts to reach a task again that brought nothing new."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
CANCEL_S = 2.0
"""Longest a CancelTask may take when nobody waits any longer."""


class Exchange:
    """Made for one call. `deadline_s` is monotonic; `extra` are header lines."""

    def __init__(
        self, rpc: AgentRpc, *, slug: str, streaming: bool, emit: Emit, deadline_s: float, extra: bytes, relayed: bool
    ) -> None:
        """`relayed`: the caller speaks A2A itself, so an agent that asks back is no end of the stream."""
        self.fold = TaskFold()
        self.expected = ""
        """The task a message continues; empty where it begins one."""
        self.context_id = ""
        """Context of the message that was sent, where it is nobody else's."""
        self.message: Answer | None = None
        """The agent's answer, where it gave a message instead of a task."""
        self._rpc = rpc
        self._slug = slug
        self._streaming = streaming
        self._emit = emit
        self._deadline_s = deadline_s
        self._extra = extra
        self._relayed = relayed
        self._heard_count = 0
        self._heard_bytes = 0
        """Of what was told, however many streams it took: what comes of the task is kept until it has ended."""

    @property
    def settled(self) -> bool:
        """Nothing more is to come before somebody else does something."""
        return self.message is not None or self.fold.state.terminal or self.fold.state in INTERRUPTED

    async def ask(self, method: str, params: Mapping[str, Member]) -> bytes:
        """One request, one raw result."""
        return await self._rpc.ask(method, params, deadline_s=self._deadline_s, extra=self._extra)

    async def send(self, params: Mapping[str, Member]) -> Answer:
        """Send without streaming; the agent's answer as it is. A task in it counts as heard, but is not followed."""
        answer = answer_from(await self.ask("SendMessage", params), self._slug)
        if answer.kind == "message":
            self.message = answer
        else:
            await self._take(TaskOpened(task=heard_as(task_from_json, answer.value, self._slug), native=None))
        return answer

    async def stream(self, method: str, params: Mapping[str, Member]) -> None:
        """Send or subscribe, and listen until the task settles."""
        try:
            await self._listen(method, params)
        except Cut:
            if not self.fold.task_id:
                raise
        if not self.settled and not self.fold.task_id:
            raise UpstreamFailed(f"{self._slug} ended its stream without saying anything")
        await self.settle()

    async def look(self, task_id: str) -> None:
        """Ask how the task stands, and tell what is new about it."""
        raw = await self.ask("GetTask", {"id": task_id})
        task = heard_as(lambda each: task_from_json(decode_object(each)), raw, self._slug)
        await self._take(TaskOpened(task=task, native=Frame(b'{"task":%b}' % raw)))

    async def settle(self) -> None:
        """Return once the known task has settled.

        Raises: UpstreamFailed: it cannot be reached any more; DeadlineExceeded.
        """
        fruitless, pause_s = 0, FIRST_PAUSE_S
        while not self.settled:
            heard_before = self._heard_count
            try:
                await self.look(self.fold.task_id)
                if not self.settled and self._streaming:
                    await self._listen("SubscribeToTask", {"id": self.fold.task_id})
            except (Cut, Unavailable, InvalidRequest) as error:
                # InvalidRequest: the task ended between the two requests, which the next look shows.
                fruitless += 1
                if fruitless >= RECOVERIES:
                    raise UpstreamFailed(f"{self._slug} can no longer be reached about its task") from error
            if self.settled:
                return
            if self._heard_count > heard_before:
                fruitless, pause_s = 0, FIRST_PAUSE_S
            await anyio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def find(self, context_id: str) -> str:
        """Id of the newest task in a context; empty where the agent shows none, or has no lists."""
        if not context_id:
            return ""
        try:
            page = decode_object(await self.ask("ListTasks", {"contextId": context_id, "pageSize": 10}))
            tasks = (json_object(each) for each in json_list(page.get("tasks")))
            return next((valid_id(task.get("id")) for task in tasks if task.get("contextId") == context_id), "")
        except InvalidRequest:
            return ""

    async def cancel(self) -> None:
        """Tell the agent that nobody waits for its task any longer; bounded, and never raises."""
        if self.message is not None or self.fold.state.terminal:
            return
        with anyio.move_on_after(CANCEL_S, shield=True):
            self._deadline_s = anyio.current_time() + CANCEL_S
            try:
                # It may have been opened without our having heard of it yet.
                task_id = self.fold.task_id or await self.find(self.context_id)
                if task_id:
                    await self.ask("CancelTask", {"id": task_id})
            except GatewayError as error:
                log.info("agent did not cancel", agent=self._slug, reason=error.message)

    async def _listen(self, method: str, params: Mapping[str, Member]) -> None:
        await self._rpc.stream(method, params, self._hear, deadline_s=self._deadline_s, extra=self._extra)

    async def _hear(self, raw: bytes) -> bool:
        event = heard_as(lambda each: event_from_json(decode_object(each), Frame(each)), raw, self._slug)
        if event is not None:
            await self._take(event)
        elif self.fold.task_id:
            raise UpstreamFailed(f"{self._slug} sent a message in the stream of a task")
        else:
            self.message = Answer(bytes(decode_members(raw)["message"]), "message")
        # To who relays, a question is an event among others: only the agent knows whether it keeps the stream open.
        return self.message is not None or self.fold.state.terminal or (self.settled and not self._relayed)

    async def _take(self, event: TaskEvent) -> None:
        known = self.fold.task_id
        told = event.task.id if isinstance(event, TaskOpened) else event.task_id
        if known and told != known:
            raise UpstreamFailed(f"{self._slug} reported on another task than the one it was asked about")
        if isinstance(event, TaskOpened) and known:
            for missing in self.fold.missing(event.task):
                await self._tell(missing)
        elif known or isinstance(event, TaskOpened):
            await self._tell(event)
        elif self.expected and told == self.expected:
            # a2a-sdk 1.3 does not repeat the task when a message continues one; listeners need it first all the same.
            await self._tell(TaskOpened(task=_going_on(event)))
            await self._tell(event)
        else:
            raise UpstreamFailed(f"{self._slug} reported on a task before it opened one")

    async def _tell(self, event: TaskEvent) -> None:
        self._heard_count += 1
        self._heard_bytes += self.fold.growth(event) if event.native is None else event.native.size_bytes
        self._rpc.check_size(self._heard_bytes)
        self.fold.apply(event)
        await self._emit(event)


def _going_on(event: StatusChanged | ArtifactAdded) -> Task:
    return Task(id=event.task_id, context_id=event.context_id, state=TaskState.WORKING, updated_at_us=0)


def answer_from(raw: bytes, agent: str) -> Answer:
    """The task or message in a raw SendMessageResponse. Raises: UpstreamFailed."""
    members = heard_as(decode_members, raw, agent)
    for kind in ("task", "message"):
        if kind in members:
            answer = Answer(bytes(members[kind]), kind)
            heard_as(Answer.content, answer, agent)
            return answer
    raise UpstreamFailed(f"{agent} answered with neither a task nor a message")


def task_answer(raw: bytes, task_id: str, agent: str) -> Answer:
    """A raw task, once it is known to be the one that was asked for. Raises: UpstreamFailed."""
    answer = Answer(raw, "task")
    if heard_as(task_from_json, heard_as(lambda each: each.value, answer, agent), agent).id != task_id:
        raise UpstreamFailed(f"{agent} answered with another task than the one it was asked for")
    return answer


def heard_as(parse: Callable[[Said], Parsed], said: Said, agent: str = "the agent") -> Parsed:
    """What `agent` said, parsed. Raises: UpstreamFailed: it said nothing valid; that is not the caller's fault."""
    try:
        return parse(said)
    except InvalidRequest as error:
        raise UpstreamFailed(f"{agent} answered wrongly: {error.message}", detail=error.detail) from error
