"""Messages at the door: each one run, or a dead letter with its reason, or back to the broker in time."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.events.door import MessageDoor
from adapters.events.embedded import EmbeddedBus
from adapters.events.intake import Intake, dead_letter_from, key_of, refuse_unfit, request_from
from adapters.system import SystemClock
from gateway.core.errors import Conflict, Denied, Exhausted, GatewayError, InvalidRequest, NotFound, Unavailable
from gateway.core.json import Json, json_object
from gateway.core.labels import Labels
from gateway.core.limits import Budget, Limits
from gateway.core.model import Accepted, Emit, Request, Result, principal
from gateway.core.ports.bus import BusLimits, Message
from gateway.core.record import Record
from gateway.core.task import Task, TaskState
from gateway.testing.stores.starts import MemoryStarts
from tests.fakes import CountingIds

pytestmark = pytest.mark.anyio

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
INTAKE = Intake(
    bus="mail",
    topic="orders",
    group="drawbridge",
    dead_letters="dead",
    workflow="desk",
    principal=principal("mailroom", roles=frozenset({"post"}), tenant="acme"),
    labels=Labels(untrusted=frozenset({"bus:mail/orders"})),
    input_schema={"type": "object", "required": ["order"]},
    answers_to="done",
    answers_worked=False,
    concurrency=2,
    body_bytes=100,
    json_depth=5,
    patience_s=100.0,
    lease_s=5.0,
)


def message(name: str = "m-1", body: Json = None, **more: Any) -> Message:
    said: Json = {"order": 7} if body is None else body
    return replace(Message(id=name, topic="orders", body=said), **more)


@dataclass
class Path:
    """The one path as far as the door goes: every new message id is a run."""

    answers: list[GatewayError] = field(default_factory=list[GatewayError])
    """Raised first, one a call."""
    calls: list[Request] = field(default_factory=list[Request])
    runs: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[Record] = field(default_factory=list[Record])

    async def call(self, request: Request, emit: Emit) -> Result:
        self.calls.append(request)
        if self.answers:
            raise self.answers.pop(0)
        run = self.runs.setdefault(str(request.meta["message_id"]), f"run_{len(self.runs) + 1}")
        return Accepted(task=Task(id=run, context_id="", state=TaskState.WORKING, updated_at_us=0))

    def note(self, record: Record) -> None:
        self.notes.append(record)


@dataclass
class Post:
    """A door, what stands behind it, and the bus before it."""

    path: Path = field(default_factory=Path)
    starts: MemoryStarts = field(default_factory=MemoryStarts)
    bus: EmbeddedBus = field(default_factory=lambda: EmbeddedBus("memory:", BusLimits(lease_s=5.0)))
    begun: list[str] = field(default_factory=list[str])
    ended: anyio.Event = field(default_factory=anyio.Event)

    @property
    def door(self) -> MessageDoor:
        return MessageDoor(
            gateway=self.path,  # pyright: ignore[reportArgumentType] - as much of it as the door knocks at
            starts=self.starts,
            clock=SystemClock(),
            ids=CountingIds(),
            limits=Limits(),
            begun=lambda start: self.begun.append(start.run_id),
            ended=lambda: self.ended,
        )

    async def take(self, taken: Message, intake: Intake = INTAKE) -> None:
        with anyio.fail_after(30):
            await self.door.take(intake, self.bus, taken)

    async def letters(self, count: int) -> list[Message]:
        found: list[Message] = []
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:

                async def heard(letter: Message) -> None:
                    found.append(letter)
                    if len(found) >= count:
                        group.cancel_scope.cancel()

                group.start_soon(self.bus.follow, "dead", heard)
        return found


async def test_a_message_is_a_call_of_the_workflow_by_the_principal_the_configuration_names() -> None:
    post = Post()
    await post.take(message(traceparent=TRACE, headers={"x-tenant": "other"}))
    [call] = post.path.calls
    assert (call.capability, call.operation, call.protocol) == ("workflow:desk", "call", "bus")
    assert (call.principal, call.labels, call.traceparent) == (INTAKE.principal, INTAKE.labels, TRACE)
    assert json_object(call.body.content().structured) == {"order": 7}
    [start] = await post.starts.under_way(10)
    assert (start.run_id, start.message_id, start.tenant, start.answers_to) == ("run_1", "m-1", "acme", "done")
    assert post.begun == ["run_1"]


async def test_a_message_that_comes_again_is_not_called_again_and_another_of_its_id_is_a_dead_letter() -> None:
    post = Post()
    for each in (message(), message(), message(body={"order": 8})):
        await post.take(each)
    assert len(post.path.calls) == 1
    [letter] = await post.letters(1)
    assert json_object(letter.body)["reason"] == "CONFLICT"


async def test_one_whose_start_was_not_kept_before_the_crash_finds_its_run_by_its_key() -> None:
    post = Post()
    await post.take(message("a", headers={"Idempotency-Key": "k"}))
    post.starts = MemoryStarts()
    await post.take(message("b", headers={"idempotency-key": "k"}))
    assert len(post.path.runs) == 1
    assert [each.run_id for each in await post.starts.under_way(10)] == ["run_1"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (message(broken="the body is no JSON", raw=b"{"), "no JSON"),
        (message(raw=b"x" * 101), "101 bytes"),
        (message(body={"items": 1}), "required property"),
        (message(body={"order": [[[[[[1]]]]]]}), "deeper"),
        (message(body=""), "says nothing"),
        (message("a b"), "visible ASCII"),
        (message("x" * 201), "visible ASCII"),
        (message(headers={"idempotency-key": "x\r\ny"}), "visible ASCII"),
    ],
)
async def test_what_can_be_no_run_is_a_dead_letter_with_the_reason(bad: Message, said: str) -> None:
    post = Post()
    await post.take(bad)
    await post.take(bad)
    [letter] = await post.letters(1)
    assert said in str(json_object(letter.body)["said"])
    assert post.path.calls == []
    assert [each.operation for each in post.path.notes] == ["message.dead"] * 2
    assert post.path.notes[0].tenant == "acme"


@pytest.mark.parametrize("error", [Denied("no"), InvalidRequest("no"), Conflict("no")])
async def test_what_is_refused_for_good_is_a_dead_letter_at_once(error: GatewayError) -> None:
    post = Post(Path(answers=[error]))
    await post.take(message())
    [letter] = await post.letters(1)
    assert json_object(letter.body)["reason"] == error.wire.reason
    assert json_object(letter.body)["body"] == {"order": 7}
    assert len(post.path.calls) == 1


@pytest.mark.parametrize("error", [Exhausted("full"), Unavailable("gone"), NotFound("not yet")])
async def test_what_cannot_be_taken_in_at_the_moment_is_tried_again(error: GatewayError) -> None:
    post = Post(Path(answers=[error, error]))
    await post.take(message())
    assert len(post.path.calls) == 3
    assert post.begun == ["run_1"]


async def test_it_is_given_back_before_its_lease_is_over_and_a_dead_letter_when_patience_is() -> None:
    post = Post(Path(answers=[Exhausted("full") for _ in range(1000)]))
    with pytest.raises(GatewayError) as caught:
        await post.take(message(), replace(INTAKE, lease_s=0.5))
    assert caught.value.wire.retryable
    await post.take(message(), replace(INTAKE, patience_s=0.2))
    [letter] = await post.letters(1)
    assert json_object(letter.body)["reason"] == "QUOTA_EXCEEDED"


async def test_no_more_runs_are_under_way_than_may_be_and_the_rest_waits_for_one_to_end() -> None:
    post = Post()
    with anyio.fail_after(30):
        await post.take(message("a"))
        await post.take(message("b"))
        async with anyio.create_task_group() as group:
            group.start_soon(post.take, message("c"))
            await anyio.wait_all_tasks_blocked()
            assert post.begun == ["run_1", "run_2"]
            await post.starts.told("run_1", 1)
            ended, post.ended = post.ended, anyio.Event()
            ended.set()
    assert post.begun == ["run_1", "run_2", "run_3"]


async def test_a_message_whose_dead_letter_is_not_taken_is_not_done_with() -> None:
    post = Post()
    await post.bus.aclose()
    with pytest.raises(Unavailable):
        await post.take(message(body={}))


@asynccontextmanager
async def serving(post: Post) -> AsyncGenerator[None]:
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(post.door.serve, INTAKE, post.bus)
            yield
            group.cancel_scope.cancel()


async def test_bad_messages_block_no_good_ones() -> None:
    post = Post()
    await post.bus.prepare("orders")
    bodies: dict[str, Json] = {"a": {}, "b": {"order": 1}, "c": [], "d": {"order": 2}}
    for name, body in bodies.items():
        await post.bus.publish(message(name, body))
    async with serving(post):
        letters = await post.letters(2)
        done: Callable[[], Awaitable[int]] = partial(post.starts.count, "mail", "orders")
        while await done() < 2:
            await anyio.lowlevel.checkpoint()
    assert [each.correlation_id for each in letters] == ["a", "c"]
    assert [each.meta["message_id"] for each in post.path.calls] == ["mail/orders/b", "mail/orders/d"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=20,
)


@given(
    made=st.builds(
        Message,
        id=st.text(max_size=210),
        topic=st.just("orders"),
        body=JSON,
        traceparent=st.text(max_size=60),
        headers=st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3),
        raw=st.binary(max_size=120),
        broken=st.sampled_from(["", "no JSON"]),
    )
)
def test_whatever_comes_is_a_request_or_a_dead_letter(made: Message) -> None:
    try:
        refuse_unfit(INTAKE, made)
    except InvalidRequest as error:
        letter = dead_letter_from(INTAKE, made, error)
        assert letter.id.isascii()
        assert letter.id.isprintable()
        assert letter == dead_letter_from(INTAKE, made, error)
    else:
        request = request_from(INTAKE, made, request_id="r", budget=Budget(deadline_s=1.0))
        assert request.meta["message_id"] == f"mail/orders/{key_of(made)}"
        assert request.principal is INTAKE.principal
