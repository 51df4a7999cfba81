"""What an agent reports of its usage, wherever in its answer it reports it."""

from collections.abc import Callable

import anyio
import anyio.abc
import pytest

from gateway.core.content import Plain
from gateway.core.json import Json
from gateway.core.limits import Budget, Usage
from gateway.core.model import Complete, Request, ignore_event
from tests.fakes_a2a import ANA, EVENTS, answer_to, event_for, lying_agent, saying, task_value, upstream_to, whole

pytestmark = pytest.mark.anyio


def adk(given: int, produced: int, **more: Json) -> dict[str, Json]:
    return {"adk_usage_metadata": {"promptTokenCount": given, "candidatesTokenCount": produced}, **more}


def working(**metadata: Json) -> Json:
    status: Json = {"state": "TASK_STATE_WORKING"}
    return {"statusUpdate": {"taskId": "t-1", "contextId": "c-1", "status": status, "metadata": metadata}}


def completed(**metadata: Json) -> Json:
    said: Json = {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "done"}], "metadata": metadata}
    status: Json = {"state": "TASK_STATE_COMPLETED", "message": said}
    return {"statusUpdate": {"taskId": "t-1", "contextId": "c-1", "status": status}}


def made(**metadata: Json) -> Json:
    artifact: Json = {"artifactId": "a", "parts": [{"text": "it"}], "metadata": metadata}
    return {"artifactUpdate": {"taskId": "t-1", "contextId": "c-1", "artifact": artifact}}


async def usage_of(answer: Callable[[bytes], bytes], *, streaming: bool = True) -> Usage:
    async def reply(body: bytes, stream: anyio.abc.SocketStream) -> None:
        await stream.send(answer(body))

    async with lying_agent(reply, streaming=streaming) as url, upstream_to(url) as upstream:
        listing = await upstream.capabilities()
        request = Request(
            id="req_1",
            principal=ANA,
            capability="agent:refunds",
            operation="call",
            budget=Budget(deadline_s=anyio.current_time() + 60),
            body=Plain(saying("hello")),
            protocol="run",
        )
        with anyio.fail_after(60):
            result = await upstream.call(request, listing.capabilities[0], ignore_event)
    assert isinstance(result, Complete)
    return result.usage


def streamed(*results: Json) -> Callable[[bytes], bytes]:
    return lambda body: EVENTS + b"".join(event_for(body, result) for result in results)


async def test_what_each_event_reports_adds_up() -> None:
    opened: Json = {"task": {**task_value()}}
    events = (opened, working(**adk(5, 1)), made(**adk(7, 2)), completed(**adk(7, 2)))
    used = await usage_of(streamed(*events))
    assert (used.calls, used.input_tokens, used.output_tokens, used.tokens) == (0, 12, 3, 15)


async def test_what_is_reported_of_the_whole_task_is_all_there_is() -> None:
    whole_task = task_value("COMPLETED", metadata={"usage": {"input_tokens": 100, "output_tokens": 20}, "model": "m"})
    whole_task["artifacts"] = [{"artifactId": "a", "parts": [{"text": "it"}], "metadata": adk(5, 1)}]
    used = await usage_of(lambda body: whole(answer_to(body, {"task": whole_task})), streaming=False)
    assert used.tokens == 120


async def test_a_task_answered_as_a_whole_reports_in_its_history() -> None:
    turns: list[Json] = [
        {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "hello"}], "metadata": adk(1000, 1000)},
        {"messageId": "2", "role": "ROLE_AGENT", "parts": [{"text": "so"}], "metadata": adk(5, 1)},
    ]
    task = task_value("COMPLETED", history=turns)
    task["artifacts"] = [{"artifactId": "a", "parts": [{"text": "it"}], "metadata": adk(6, 1)}]
    used = await usage_of(lambda body: whole(answer_to(body, {"task": task})), streaming=False)
    assert (used.input_tokens, used.output_tokens) == (11, 2)


async def test_a_message_reports_in_its_metadata() -> None:
    reply: Json = {"messageId": "1", "role": "ROLE_AGENT", "parts": [{"text": "hi"}]}
    names: Json = {"gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 2, "gen_ai.response.model": "m"}
    message: Json = {**reply, "metadata": names}
    used = await usage_of(streamed({"message": message}))
    assert used == Usage(tokens=5, input_tokens=3, output_tokens=2, models=("m",))


async def test_an_agent_that_reports_nothing_has_used_nothing_that_is_known() -> None:
    assert await usage_of(streamed({"task": task_value()}, made(), completed())) == Usage()
