"""Agents that answer wrongly, hang, cut, flood: a clear error within a bound, and no address in it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import anyio
import anyio.abc
import pytest

from gateway.core.content import Plain
from gateway.core.errors import DeadlineExceeded, GatewayError, InvalidRequest, Unavailable, UpstreamFailed
from gateway.core.json import Json
from gateway.core.limits import Budget, Limits
from gateway.core.model import Complete, Emit, Request, Result, TaskOpened, ignore_event
from tests.fakes_a2a import (
    ANA,
    EVENTS,
    Heard,
    Reply,
    answer_to,
    door_to,
    event_for,
    lying_agent,
    message_value,
    saying,
    task_value,
    upstream_to,
    whole,
)

pytestmark = pytest.mark.anyio

SMALL = Limits(result_bytes=64 * 1024, event_bytes=16 * 1024)


async def send(url: str, *, emit: Emit = ignore_event, within_s: float = 60.0) -> Result:
    async with upstream_to(url, limits=SMALL) as upstream:
        listing = await upstream.capabilities()
        request = Request(
            id="req_1",
            principal=ANA,
            capability="agent:refunds",
            operation="call",
            budget=Budget(deadline_s=anyio.current_time() + within_s),
            body=Plain(saying("hello")),
            protocol="run",
        )
        with anyio.fail_after(60):
            return await upstream.call(request, listing.capabilities[0], emit)


def saying_bytes(answer: Callable[[bytes], bytes]) -> Reply:
    async def reply(body: bytes, stream: anyio.abc.SocketStream) -> None:
        await stream.send(answer(body))

    return reply


def streaming(*results: Json) -> Callable[[bytes], bytes]:
    return lambda body: EVENTS + b"".join(event_for(body, result) for result in results)


OPENED: Json = {"task": task_value()}
DONE: Json = {"statusUpdate": {"taskId": "t-1", "contextId": "c-1", "status": {"state": "TASK_STATE_COMPLETED"}}}
LONG: Json = {"task": task_value(), "more": "x" * 8000}
LIES: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("a web page", lambda body: whole(b"<html>", media_type=b"text/html")),
    ("a redirect", lambda body: whole(b"", status=b"302 Found", media_type=b"text/plain")),
    ("no HTTP", lambda body: b"220 smtp ready\r\n"),
    ("no JSON", lambda body: whole(b"{")),
    ("no JSON-RPC", lambda body: whole(b'{"a":1}')),
    ("another request's answer", lambda body: whole(b'{"jsonrpc":"2.0","id":"other","result":{}}')),
    ("neither task nor message", streaming({})),
    ("a task without an id", streaming({"task": {"status": {"state": "TASK_STATE_WORKING"}}})),
    ("a task in no state", streaming({"task": task_value("DANCING")})),
    ("a task id that is none", streaming({"task": task_value(task_id="a b")})),
    ("news before the task", streaming(DONE)),
    ("news of another task", streaming(OPENED, {"statusUpdate": {**task_value("COMPLETED"), "taskId": "t-2"}})),
    ("a message inside a task", streaming(OPENED, {"message": message_value()})),
    ("an event beyond the limit", lambda body: EVENTS + b"data: " + b"x" * SMALL.event_bytes * 2),
    ("an answer beyond the limit", lambda body: whole(b" " * SMALL.result_bytes * 2)),
    ("nothing", lambda body: EVENTS),
    (
        "its own failure",
        lambda body: whole(
            answer_to(body, None).replace(b'"result": null', b'"error": {"code": -32603, "message": "at 10.0.0.1"}')
        ),
    ),
]


@pytest.mark.parametrize("answer", [lie[1] for lie in LIES], ids=[lie[0] for lie in LIES])
async def test_an_agent_that_lies_fails_the_call_and_nothing_of_it_leaks(answer: Callable[[bytes], bytes]) -> None:
    async with lying_agent(saying_bytes(answer)) as url:
        with pytest.raises(UpstreamFailed) as failed:
            await send(url)

    assert "refunds" in failed.value.message, "whoever reads it knows which agent it was"
    assert "127.0.0.1" not in failed.value.message
    assert "10.0.0.1" not in failed.value.message


LARGE: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("event_bytes", lambda body: EVENTS + b"data: " + b"x" * SMALL.event_bytes * 2),
    ("result_bytes", streaming(OPENED, *[LONG] * 16)),
]


@pytest.mark.parametrize(("limit", "answer"), LARGE, ids=[each[0] for each in LARGE])
async def test_a_limit_that_was_hit_is_named(limit: str, answer: Callable[[bytes], bytes]) -> None:
    async with lying_agent(saying_bytes(answer)) as url:
        with pytest.raises(UpstreamFailed) as failed:
            await send(url)

    assert f"limits.{limit}" in failed.value.message


async def test_an_agent_that_refuses_the_message_is_quoted() -> None:
    def refuse(body: bytes) -> bytes:
        error = b'"error": {"code": -32602, "message": "no\\u0000\\nparts", "data": [{"reason": "EMPTY"}]}'
        return whole(answer_to(body, None).replace(b'"result": null', error), status=b"400 Bad Request")

    async with lying_agent(saying_bytes(refuse)) as url:
        with pytest.raises(InvalidRequest) as refused:
            await send(url)

    assert refused.value.message == "the agent says: no parts"
    assert refused.value.detail == {"a2a": "INVALID_PARAMS", "agentReason": "EMPTY"}
    assert refused.value.sources == {"agent:refunds"}


async def test_an_agent_that_hangs_is_given_up_at_the_deadline() -> None:
    async def hang(body: bytes, stream: anyio.abc.SocketStream) -> None:
        await anyio.sleep_forever()

    async with lying_agent(hang) as url:
        with pytest.raises(DeadlineExceeded):
            await send(url, within_s=2.0)


async def test_an_agent_that_trickles_an_endless_stream_is_cut_at_the_limit() -> None:
    async def flood(body: bytes, stream: anyio.abc.SocketStream) -> None:
        await stream.send(EVENTS + event_for(body, OPENED))
        piece = event_for(body, {"artifactUpdate": {"taskId": "t-1", "artifact": {"parts": [{"text": "x" * 8000}]}}})
        while True:
            await stream.send(piece)

    async with lying_agent(flood) as url:
        with pytest.raises(UpstreamFailed, match="more than"):
            await send(url)


@dataclass(slots=True)
class Chatty:
    """An agent that has news of its task for ever, in streams or answers none of which is beyond a limit."""

    news: Callable[[int], Json]
    """The n-th."""
    working: Callable[[int], Json] = lambda number: task_value()
    """The task, when it is asked for after that."""
    streams: int = 0
    canceled: list[Json] = field(default_factory=list[Json])

    async def __call__(self, body: bytes, stream: anyio.abc.SocketStream) -> None:
        asked = json.loads(body)
        if asked["method"] == "CancelTask":
            self.canceled.append(asked["params"]["id"])
            await stream.send(whole(answer_to(body, task_value("CANCELED"))))
        elif asked["method"] == "GetTask":
            await stream.send(whole(answer_to(body, self.working(self.streams))))
        else:
            self.streams += 1
            pieces = [OPENED, *(self.news(self.streams) for _ in range(4))]
            await stream.send(streaming(*pieces)(body))


def artifact(number: int, text: str) -> dict[str, Json]:
    return {"artifactId": f"a-{number}", "parts": [{"text": text}]}


def piece(number: int) -> Json:
    return {"artifactUpdate": {"taskId": "t-1", "artifact": artifact(1, "x" * 4000), "append": True}}


def report(number: int) -> Json:
    said: Json = {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "x" * 4000}]}
    status: Json = {"state": "TASK_STATE_WORKING", "message": said}
    return {"statusUpdate": {"taskId": "t-1", "status": status}}


CHATTY: list[tuple[str, Chatty]] = [
    ("pieces", Chatty(piece)),
    ("reports", Chatty(report)),
    ("snapshots", Chatty(lambda n: OPENED, lambda n: task_value(artifacts=[artifact(n, "x" * 30_000)]))),
]


@pytest.mark.parametrize("agent", [each[1] for each in CHATTY], ids=[each[0] for each in CHATTY])
async def test_an_agent_that_is_listened_to_again_and_again_is_cut_at_the_limit_as_well(agent: Chatty) -> None:
    agent = replace(agent, canceled=[])
    async with lying_agent(agent) as url:
        with pytest.raises(UpstreamFailed, match=r"limits\.result_bytes"):
            await send(url)

    assert agent.streams > 1
    assert agent.canceled == ["t-1"], "nobody hears any more what it goes on to say"


async def test_what_an_agent_says_again_does_not_count_again() -> None:
    """As where something on the way cuts streams: each begins with all there is of the task."""
    ends_at = 3

    def working(number: int) -> Json:
        made: list[Json] = [artifact(1, "x" * 10_000)]
        return task_value("COMPLETED" if number >= ends_at else "WORKING", artifacts=made)

    agent = Chatty(lambda n: {"task": working(1)}, working)
    async with lying_agent(agent) as url:
        assert isinstance(await send(url), Complete)

    assert agent.streams == ends_at
    assert agent.canceled == []


async def test_nobody_at_the_address_is_unavailable() -> None:
    async with lying_agent(saying_bytes(streaming(DONE))) as url:
        pass

    with pytest.raises(Unavailable):
        await send(url)


def cutting(after: Callable[[bytes], bytes], then: str) -> Reply:
    """Streams and breaks off; to GetTask says the task is in state `then`."""

    async def reply(body: bytes, stream: anyio.abc.SocketStream) -> None:
        if b'"GetTask"' in body:
            artifact: Json = {"artifactId": "a", "parts": [{"text": "found"}]}
            await stream.send(whole(answer_to(body, task_value(then, artifacts=[artifact]))))
        elif b'"SubscribeToTask"' in body:
            await stream.send(EVENTS)
        else:
            await stream.send(after(body))

    return reply


@pytest.mark.parametrize("half", [b"", b"data: {"], ids=["ended", "cut"])
async def test_after_a_stream_that_ends_early_the_task_is_asked_for(half: bytes) -> None:
    heard = Heard()
    async with lying_agent(cutting(lambda body: streaming(OPENED)(body) + half, "COMPLETED")) as url:
        result = await send(url, emit=heard)

    assert isinstance(result, Complete)
    assert result.body.content().text == "found"
    assert [type(event).__name__ for event in heard.events] == ["TaskOpened", "ArtifactAdded", "StatusChanged"]


async def test_an_agent_that_keeps_cutting_without_news_is_asked_until_the_deadline_only() -> None:
    async with lying_agent(cutting(streaming(OPENED), "WORKING")) as url:
        with pytest.raises(GatewayError):
            await send(url, within_s=1.0)


async def test_an_agent_that_hands_out_somebody_elses_task_is_found_out() -> None:
    async with (
        lying_agent(saying_bytes(lambda body: whole(answer_to(body, {"task": task_value("COMPLETED")})))) as url,
        upstream_to(url) as upstream,
        door_to(upstream) as door,
    ):
        mine = await door.ask("SendMessage", {"message": message_value()})
        theirs = await door.ask("SendMessage", {"message": message_value()}, who="bob")

    assert mine["result"]["task"]["id"] == "t-1"
    assert theirs["error"]["code"] == 1502


async def test_an_agent_that_is_asked_for_one_task_cannot_show_another() -> None:
    def answer(body: bytes) -> bytes:
        task = task_value("COMPLETED", task_id="t-2" if b'"GetTask"' in body else "t-1")
        return whole(answer_to(body, task if b'"GetTask"' in body else {"task": task}))

    async with (
        lying_agent(saying_bytes(answer)) as url,
        upstream_to(url) as upstream,
        door_to(upstream) as door,
    ):
        await door.ask("SendMessage", {"message": message_value()})
        shown = await door.ask("GetTask", {"id": "t-1"})

    assert shown["error"]["code"] == 1502


async def test_the_first_event_is_told_before_the_next_has_come() -> None:
    go_on = anyio.Event()

    async def reply(body: bytes, stream: anyio.abc.SocketStream) -> None:
        await stream.send(EVENTS + event_for(body, OPENED))
        await go_on.wait()
        await stream.send(event_for(body, DONE))

    async def emit(event: object) -> None:
        if isinstance(event, TaskOpened):
            go_on.set()

    async with lying_agent(reply) as url:
        result = await send(url, emit=emit)

    assert isinstance(result, Complete)
