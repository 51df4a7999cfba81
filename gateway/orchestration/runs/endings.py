"""Tells how runs ended that messages have started, where their workflow says so: each end once.

What is told is what the run's own caller would be told, by the one path. Whoever tells an end claims it first, so that
two gateways do not; one that crashes in between tells it again under the same id, which the broker knows.
"""

from collections.abc import Callable

import anyio
import structlog
from anyio.abc import TaskGroup

from gateway.core.content import Content
from gateway.core.errors import GatewayError, NotFound
from gateway.core.json import JsonObject, canonical_json, json_object
from gateway.core.limits import Budget
from gateway.core.model import Accepted, Request, ignore_event
from gateway.core.ports.bus import Bus, Message
from gateway.core.ports.gateway import Gateway
from gateway.core.ports.runs import Run
from gateway.core.ports.starts import Start, StartStore
from gateway.core.task import Task, TaskState
from gateway.orchestration.execution import ANSWER
from gateway.orchestration.records.spec import spec_from_json
from gateway.orchestration.runs.watching import Watching
from gateway.orchestration.wiring import Wiring

log = structlog.get_logger(__name__)

LOOK_AGAIN_S = 30.0
"""How often to look for runs nobody in this process watches: those of a gateway that is gone."""
WATCH_S = 3600.0
CLAIM_S = 30.0
"""How long one attempt at telling an end may take before another gateway may try."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
WATCHED_AT_MOST = 10_000
ANSWER_BYTES = 256 * 1024
"""Largest answer that is told in full."""
CUT_CHARS = 16_384


class Endings:
    """Have `run` run for as long as messages may start runs."""

    def __init__(
        self,
        wiring: Wiring,
        watching: Watching,
        *,
        starts: StartStore,
        gateway: Gateway,
        bus: Callable[[str], Bus | None],
    ) -> None:
        """`bus`: the bus of a slug, while there is one."""
        self._wiring = wiring
        self._watching = watching
        self._starts = starts
        self._gateway = gateway
        self._bus = bus
        self._me = wiring.ids.new("proc")
        self._tasks: TaskGroup | None = None
        self._watched = set[str]()
        self._ended = anyio.Event()

    async def run(self) -> None:
        """Tell what is to be told, until canceled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            while True:
                try:
                    for start in await self._starts.under_way(WATCHED_AT_MOST):
                        self.watch(start)
                except GatewayError as error:
                    log.warning("runs to tell the end of are not found for now", reason=error.message)
                await anyio.sleep(LOOK_AGAIN_S)

    def watch(self, start: Start) -> None:
        """Tell the end of this run once it is there; one that is not watched here is found by `run`."""
        if self._tasks is not None and start.run_id not in self._watched and len(self._watched) < WATCHED_AT_MOST:
            self._watched.add(start.run_id)
            self._tasks.start_soon(self._watch, start)

    def ended(self) -> anyio.Event:
        """Set when the next run has ended."""
        return self._ended

    async def _watch(self, start: Start) -> None:
        pause_s = FIRST_PAUSE_S
        try:
            while True:
                try:
                    return await self._tell(start, await self._end_of(start))
                except GatewayError as error:
                    log.info("the end of a run is not told yet", run=start.run_id, reason=error.message)
                await anyio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        except Exception:
            # A task boundary: the ends of other runs have nothing to do with it, and `run` comes back to this one.
            log.exception("the end of a run is not told", run=start.run_id)
        finally:
            self._watched.discard(start.run_id)
            ended, self._ended = self._ended, anyio.Event()
            ended.set()

    async def _end_of(self, start: Start) -> Run | None:
        """The run as it ended; None where nothing is kept of it."""
        while True:
            run = await self._wiring.runs.find(start.tenant, start.run_id)
            if run is None:
                return None
            until_s = self._wiring.clock.monotonic_s() + WATCH_S
            ended = await self._watching.follow(run, 0, ignore_event, until_s)
            if ended is not None:
                return ended

    async def _tell(self, start: Start, run: Run | None) -> None:
        clock = self._wiring.clock
        now_us = clock.now_us()
        until_us = now_us + int(CLAIM_S * 1e6)
        if not await self._starts.claim(start.run_id, by=self._me, now_us=now_us, until_us=until_us):
            return
        if start.answers_to and run is not None:
            bus = self._bus(start.bus)
            if bus is None:
                raise NotFound(f"there is no bus {start.bus} any more to tell it by")
            message = Message(
                id=run.id,
                topic=start.answers_to,
                body=await self._said(start, run),
                traceparent=spec_from_json(dict(run.spec)).traceparent,
                headers={"x-tenant": run.tenant, "x-run": run.id},
                correlation_id=start.message_id,
            )
            await bus.publish(message)
        await self._starts.told(start.run_id, clock.now_us())

    async def _said(self, start: Start, run: Run) -> JsonObject:
        """What is told of a run. Raises: GatewayError: it cannot be told at the moment."""
        ended: JsonObject = {"run": run.id, "workflow": run.workflow, "state": run.state}
        request = Request(
            id=self._wiring.ids.new("req"),
            principal=spec_from_json(dict(run.spec)).caller,
            capability=f"workflow:{start.workflow}",
            operation="task.get",
            budget=Budget(deadline_s=self._wiring.clock.monotonic_s() + CLAIM_S),
            protocol="bus",
            meta={"task": run.id},
        )
        try:
            result = await self._gateway.call(request, ignore_event)
        except GatewayError as error:
            if error.wire.retryable:
                raise
            return {**ended, "error": error.message}
        return {**ended, **answer_of(result.task)} if isinstance(result, Accepted) else ended


def answer_of(task: Task) -> JsonObject:
    """A task's answer in short: `text`, `answer` where there is more than text, `gaps`, `error`. Pure."""
    content = next((each.content for each in task.artifacts if each.name == ANSWER), Content())
    structured = json_object(content.structured)
    said: JsonObject = {"text": content.text}
    if task.state is not TaskState.COMPLETED:
        said["error"] = task.message.text if task.message is not None and task.message.text else task.state.value
    if structured.get("answer") not in (None, content.text):
        said["answer"] = structured["answer"]
    if structured.get("gaps"):
        said["gaps"] = structured["gaps"]
    if len(canonical_json(said)) > ANSWER_BYTES:
        return {"text": content.text[:CUT_CHARS], "cut": True, **({"error": said["error"]} if "error" in said else {})}
    return said
