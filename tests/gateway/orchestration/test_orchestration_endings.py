"""How runs ended that messages started is told once, whatever became of them and of whoever watched them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest

from adapters.events.embedded import EmbeddedBus
from gateway.core.content import Plain, content_of
from gateway.core.errors import Denied, Unavailable
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.model import Accepted, Emit, Request, Result
from gateway.core.ports.bus import BusLimits, Message
from gateway.core.ports.gateway import Gateway
from gateway.core.ports.starts import Start
from gateway.core.task import Artifact, Task, TaskState
from gateway.orchestration.orchestrator import Orchestrator
from gateway.orchestration.runs.endings import ANSWER_BYTES, Endings, answer_of
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.sequential.pattern import Sequential
from gateway.testing.stores.starts import MemoryStarts
from tests.fakes_orchestration import Agents, Asked, StraightPath, World, failing, says

pytestmark = pytest.mark.anyio


def a_world(agents: Agents) -> World:
    stages = [{"agent": "clerk", "input": {"order": "$task.order"}}]
    settings = WorkflowSettings.model_validate({"pattern": "sequential", "stages": stages})
    return World(patterns={"sequential": Sequential}, workflows={"help": settings}, agents=agents)


@dataclass
class Desk:
    """A world whose runs are started by messages; what is outside the gateway stays when it crashes."""

    world: World
    bus: EmbeddedBus = field(default_factory=lambda: EmbeddedBus("memory:", BusLimits()))
    starts: MemoryStarts = field(default_factory=MemoryStarts)
    told: list[Message] = field(default_factory=list[Message])
    news: anyio.Event = field(default_factory=anyio.Event)

    async def began(self, name: str, *, answers_to: str = "done") -> Start:
        """As the door does it."""
        result = await self.world.request(
            "call",
            body=Plain(content_of({"order": name})),
            meta={"message_id": f"mail/orders/{name}", "return_immediately": True},
        )
        assert isinstance(result, Accepted)
        start = Start(
            run_id=result.task.id,
            tenant="default",
            workflow="help",
            bus="mail",
            topic="orders",
            message_id=name,
            digest="",
            answers_to=answers_to,
            at_us=1,
        )
        await self.starts.add(start)
        return start

    @asynccontextmanager
    async def telling(self, orchestrator: Orchestrator, path: Gateway | None = None) -> AsyncGenerator[Endings]:
        straight: Gateway = StraightPath(self.world.agents, orchestrator)  # pyright: ignore[reportAssignmentType]
        endings = orchestrator.endings(self.starts, path or straight, {"mail": self.bus}.get)
        async with anyio.create_task_group() as group:
            group.start_soon(endings.run)
            yield endings
            group.cancel_scope.cancel()

    async def heard(self, count: int) -> list[JsonObject]:
        """What is told on `done`, once so much is there, and nothing more."""
        self.told.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(self.bus.follow, "done", self._take)
            while len(self.told) < count:
                await self.news.wait()
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert len(self.told) == count
        return [json_object(each.body) for each in self.told]

    async def settled(self) -> None:
        while await self.starts.under_way(1):
            await anyio.lowlevel.checkpoint()

    async def _take(self, message: Message) -> None:
        self.told.append(message)
        news, self.news = self.news, anyio.Event()
        news.set()


async def test_an_end_is_told_under_the_id_of_the_message_and_frees_its_place() -> None:
    desk = Desk(a_world(Agents({"agent:clerk": says({"booked": True})})))
    async with desk.world.up() as (orchestrator, _), desk.telling(orchestrator) as endings:
        ended = endings.ended()
        start = await desk.began("m-1")
        endings.watch(start)
        endings.watch(start)
        await ended.wait()
        [body] = await desk.heard(1)
    [message] = desk.told
    assert (message.id, message.correlation_id, message.topic) == (start.run_id, "m-1", "done")
    assert (body["state"], body["workflow"], body["answer"]) == ("completed", "help", {"booked": True})
    assert json_object(desk.world.agents.asked[0].input)["order"] == "m-1"
    assert await desk.starts.count("mail", "orders") == 0


async def test_what_failed_or_was_canceled_is_told_as_such() -> None:
    async def wait(asked: Asked) -> Result:
        if asked.input["order"] != "bad":
            await anyio.sleep_forever()
        return failing("no stock")

    desk = Desk(a_world(Agents({"agent:clerk": wait})))
    async with desk.world.up() as (orchestrator, _), desk.telling(orchestrator) as endings:
        for name in ("bad", "slow"):
            endings.watch(await desk.began(name))
        slow = next(each for each in desk.starts.starts.values() if each.message_id == "slow")
        await desk.world.request("task.cancel", meta={"task": slow.run_id})
        bodies = await desk.heard(2)
    states = {each.correlation_id: body["state"] for each, body in zip(desk.told, bodies, strict=True)}
    assert states == {"bad": "failed", "slow": "canceled"}
    assert all(body["error"] for body in bodies)


async def test_where_nobody_is_to_be_told_the_place_is_freed_all_the_same() -> None:
    desk = Desk(a_world(Agents({"agent:clerk": says("ok")})))
    async with desk.world.up() as (orchestrator, _), desk.telling(orchestrator) as endings:
        endings.watch(await desk.began("quiet", answers_to=""))
        await desk.settled()
    assert desk.told == []


async def test_after_a_crash_the_next_gateway_tells_what_was_not_told() -> None:
    desk = Desk(a_world(Agents({"agent:clerk": says("ok")})))
    async with desk.world.up():
        for name in ("m-1", "m-2"):
            await desk.began(name)
    async with desk.world.up() as (orchestrator, _), desk.telling(orchestrator):
        await desk.heard(2)
    assert {each.correlation_id for each in desk.told} == {"m-1", "m-2"}


async def test_two_gateways_tell_an_end_once() -> None:
    desk = Desk(a_world(Agents({"agent:clerk": says("ok")})))
    async with desk.world.up() as (orchestrator, _):
        start = await desk.began("m-1")
        async with desk.telling(orchestrator) as first, desk.telling(orchestrator) as second:
            first.watch(start)
            second.watch(start)
            await desk.heard(1)
            await desk.settled()
        await desk.heard(1)


@dataclass
class Refusing:
    """A path that refuses at first."""

    inner: Gateway
    errors: list[Exception]

    async def call(self, request: Request, emit: Emit) -> Result:
        if self.errors:
            raise self.errors.pop(0)
        return await self.inner.call(request, emit)


async def test_an_answer_its_caller_may_not_see_is_not_told_and_a_path_that_is_busy_is_asked_again() -> None:
    desk = Desk(a_world(Agents({"agent:clerk": says("secret")})))
    async with desk.world.up() as (orchestrator, _):
        straight: Gateway = StraightPath(desk.world.agents, orchestrator)  # pyright: ignore[reportAssignmentType]
        path: Gateway = Refusing(straight, [Unavailable("busy"), Denied("not for you")])  # pyright: ignore[reportAssignmentType]
        async with desk.telling(orchestrator, path) as endings:
            endings.watch(await desk.began("m-1"))
            [body] = await desk.heard(1)
    assert body["error"] == "not for you"
    assert "secret" not in str(body)


def a_task(value: Json, state: TaskState = TaskState.COMPLETED) -> Task:
    content = content_of({"answer": value, "steps": [1], "gaps": []}, text="in words")
    part = Artifact(id="p", name="clerk", content=content_of({"answer": "of a stage"}))
    artifact = Artifact(id="a", name="answer", content=content)
    return Task(id="r", context_id="", state=state, updated_at_us=0, artifacts=(part, artifact))


def test_an_answer_in_short_leaves_out_the_steps_and_what_is_too_large() -> None:
    assert answer_of(a_task({"a": 1})) == {"text": "in words", "answer": {"a": 1}}
    assert answer_of(a_task("in words")) == {"text": "in words"}
    assert answer_of(a_task({}, TaskState.FAILED)) == {"text": "in words", "answer": {}, "error": "failed"}
    assert answer_of(a_task("x" * ANSWER_BYTES)) == {"text": "in words", "cut": True}
