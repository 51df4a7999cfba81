"""The A2A door: a2a-sdk's client in front, real agents and runs behind, real sockets between."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import anyio
import httpx
import pytest
from a2a.client import Client
from a2a.types import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    Task,
)
from a2a.types import TaskState as SdkState
from a2a.utils.errors import TaskNotFoundError, UnsupportedOperationError

from gateway.core.content import Content, Plain, text_part
from gateway.core.errors import Denied, Exhausted
from gateway.core.json import JsonObject
from gateway.core.limits import Limits
from gateway.core.model import (
    Accepted,
    ArtifactAdded,
    Capability,
    Complete,
    Emit,
    Progress,
    Request,
    Result,
    StatusChanged,
    TaskOpened,
    principal,
)
from gateway.core.ports.gateway import Identity
from gateway.core.task import Artifact, TaskPage, TaskState
from gateway.core.task import Task as CoreTask
from tests.fakes import FakeUpstream
from tests.fakes_a2a import (
    ANA,
    Badges,
    Deeds,
    Door,
    LoopClock,
    answer_to,
    door_to,
    lying_agent,
    message_value,
    real_agent,
    upstream_to,
    whole,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def deeds() -> Deeds:
    return Deeds()


@pytest.fixture
async def door(deeds: Deeds) -> AsyncIterator[Door]:
    async with real_agent(deeds) as url, upstream_to(url) as upstream, door_to(upstream) as door:
        yield door


def a_message(text: str, *, at_once: bool = False, task_id: str = "") -> SendMessageRequest:
    message = Message(message_id=uuid4().hex, role=Role.ROLE_USER, parts=[Part(text=text)], task_id=task_id)
    return SendMessageRequest(message=message, configuration=SendMessageConfiguration(return_immediately=at_once))


async def heard(client: Client, request: SendMessageRequest) -> list[StreamResponse]:
    with anyio.fail_after(60):
        return [each async for each in client.send_message(request)]


def kinds(responses: list[StreamResponse]) -> list[str | None]:
    return [each.WhichOneof("payload") for each in responses]


async def test_the_published_card_names_only_the_gateway(door: Door) -> None:
    headers = {"authorization": "Bearer ana"}
    async with httpx.AsyncClient(verify=False, headers=headers) as http:
        answer = await http.get(f"{door.address()}/.well-known/agent-card.json")
        again = await http.get(
            f"{door.address()}/.well-known/agent-card.json", headers={"if-none-match": answer.headers["etag"]}
        )
        unknown = await http.get(f"{door.url}/agents/nobody/.well-known/agent-card.json")
        anybody = await http.get(f"{door.address()}/.well-known/agent-card.json", headers={"authorization": ""})

    card = answer.json()
    assert card["supportedInterfaces"] == [
        {"url": door.address(), "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
    ]
    assert card["capabilities"]["pushNotifications"] is False
    assert list(card["securitySchemes"]) == ["bearer"]
    assert answer.headers["cache-control"] == "private, max-age=60"
    assert (again.status_code, again.content) == (304, b"")
    assert (unknown.status_code, anybody.status_code) == (404, 401)


async def test_cards_are_shown_to_anybody_where_the_configuration_says_so(deeds: Deeds) -> None:
    async with (
        real_agent(deeds) as url,
        upstream_to(url) as upstream,
        door_to(upstream, public_cards=True) as door,
        httpx.AsyncClient(verify=False) as http,
    ):
        answer = await http.get(f"{door.address()}/.well-known/agent-card.json")

    assert answer.status_code == 200
    assert answer.headers["cache-control"].startswith("public")


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_message_reaches_the_agent_and_its_task_comes_back(door: Door, streaming: bool) -> None:
    async with door.client(streaming=streaming) as client:
        responses = await heard(client, a_message("hello"))

    if streaming:
        assert kinds(responses) == ["task", "status_update", "artifact_update", "artifact_update", "status_update"]
        assert responses[-1].status_update.status.state == SdkState.TASK_STATE_COMPLETED
    else:
        assert kinds(responses) == ["task"]
        assert responses[0].task.artifacts[0].parts[0].text == "done: "


@pytest.mark.parametrize("streaming", [True, False])
async def test_an_agent_may_answer_with_a_message(door: Door, streaming: bool) -> None:
    async with door.client(streaming=streaming) as client:
        responses = await heard(client, a_message("message"))

    assert kinds(responses) == ["message"]
    assert responses[0].message.parts[0].text == "just words"


async def test_every_call_is_on_the_path_and_recorded(door: Door) -> None:
    async with door.client() as client:
        await heard(client, a_message("hello"))

    records = [(record.operation, record.capability, record.phase) for record in door.gate.audit.records]
    assert records == [("call", "agent:refunds", "intent"), ("call", "agent:refunds", "outcome")]
    assert {record.protocol for record in door.gate.audit.records} == {"a2a"}


async def task_of(client: Client, text: str = "hello") -> Task:
    responses = await heard(client, a_message(text))
    return responses[0].task


async def test_the_owner_gets_its_task_and_nobody_else_does(door: Door) -> None:
    async with door.client() as ana, door.client("bob") as bob:
        task = await task_of(ana)
        found = await ana.get_task(GetTaskRequest(id=task.id, history_length=0))
        assert (found.id, found.status.state, len(found.history)) == (task.id, SdkState.TASK_STATE_COMPLETED, 0)
        for forbidden in (
            bob.get_task(GetTaskRequest(id=task.id)),
            bob.cancel_task(CancelTaskRequest(id=task.id)),
            heard(bob, a_message("hello", task_id=task.id)),
            bob.get_task(GetTaskRequest(id="no-such-task")),
        ):
            with pytest.raises(TaskNotFoundError):
                await forbidden
        with pytest.raises(TaskNotFoundError):
            async for _ in bob.subscribe(SubscribeToTaskRequest(id=task.id)):
                pass


async def test_a_list_shows_ones_own_tasks_page_by_page(door: Door) -> None:
    async with door.client() as ana, door.client("bob") as bob:
        own: set[str] = set()
        for _ in range(3):
            own.add((await task_of(ana)).id)
            await task_of(bob)
        first = await ana.list_tasks(ListTasksRequest(page_size=2))
        second = await ana.list_tasks(ListTasksRequest(page_size=2, page_token=first.next_page_token))

    assert len(first.tasks) == 2
    assert {task.id for task in (*first.tasks, *second.tasks)} == own
    assert second.next_page_token == ""
    assert first.total_size == 3


async def test_a_conversation_cannot_be_entered_by_somebody_else(door: Door) -> None:
    task = (await door.ask("SendMessage", {"message": message_value()}))["result"]["task"]

    mine = await door.ask("SendMessage", {"message": message_value(contextId=task["contextId"])})
    theirs = await door.ask("SendMessage", {"message": message_value(contextId=task["contextId"])}, who="bob")
    steps = await door.ask("SendMessage", {"message": message_value(contextId="run_01/2")})

    assert "result" in mine
    assert theirs["error"]["code"] == steps["error"]["code"] == -32602


async def test_a_task_is_continued_only_in_its_own_context(door: Door) -> None:
    task = (await door.ask("SendMessage", {"message": message_value("ask")}))["result"]["task"]

    elsewhere = await door.ask("SendMessage", {"message": message_value(taskId=task["id"], contextId="other")})
    answered = await door.ask("SendMessage", {"message": message_value("12", taskId=task["id"], messageId="m-2")})

    assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    assert elsewhere["error"]["code"] == -32602
    assert answered["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


async def test_who_continues_a_task_by_stream_hears_of_the_task_first(door: Door) -> None:
    async with door.client() as client:
        task = await task_of(client, "ask")
        responses = await heard(client, a_message("12", task_id=task.id))

    assert kinds(responses)[0] == "task"
    assert responses[-1].status_update.status.state == SdkState.TASK_STATE_COMPLETED


async def test_returning_at_once_leaves_the_agent_at_work_until_canceled(deeds: Deeds, door: Door) -> None:
    async with door.client(streaming=False) as client:
        (response,) = await heard(client, a_message("wait", at_once=True))
        with anyio.fail_after(120):
            await deeds.working.wait()
        canceled = await client.cancel_task(CancelTaskRequest(id=response.task.id))

    assert canceled.status.state == SdkState.TASK_STATE_CANCELED
    assert deeds.canceled == [response.task.id]


async def test_a_client_that_left_subscribes_again(deeds: Deeds, door: Door) -> None:
    async with door.client() as client:
        stream = client.send_message(a_message("wait"))
        with anyio.fail_after(120):
            task = (await anext(stream)).task
            await deeds.working.wait()
        await stream.aclose()  # type: ignore[attr-defined]
        states: list[Any] = []
        with anyio.fail_after(120):
            async for each in client.subscribe(SubscribeToTaskRequest(id=task.id)):
                states.append(each.WhichOneof("payload"))
                deeds.release.set()
        with pytest.raises(UnsupportedOperationError):
            async for _ in client.subscribe(SubscribeToTaskRequest(id=task.id)):
                pass

    assert (states[0], states[-1]) == ("task", "status_update")
    assert deeds.canceled == []


async def test_unknown_members_travel_untouched_both_ways() -> None:
    received: list[bytes] = []
    spelled = b'{"id":"t-1","status":{"state":"TASK_STATE_COMPLETED"},"x-new":[9007199254740993,1.50]}'

    async def reply(body: bytes, stream: anyio.abc.SocketStream) -> None:
        received.append(body)
        await stream.send(whole(answer_to(body, "RESULT").replace(b'"RESULT"', b'{"task":%b}' % spelled)))

    async with lying_agent(reply) as url, upstream_to(url) as upstream, door_to(upstream) as door:
        parts = b'"parts":[{"data":{"exact":9007199254740993,"half":1.50},"x-part":null}]'
        sent = (
            b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"message":{"messageId":"m",%b},"x-p":1}}' % parts
        )
        answer = await door.post(sent)

    assert parts in received[0]
    assert b'"x-p":1' in received[0]
    assert spelled in answer.content


RUN = CoreTask(id="run_1", context_id="c-9", state=TaskState.SUBMITTED, updated_at_us=5)


def a_workflow(behave: Any) -> FakeUpstream:
    capability = Capability(
        name="workflow:help", kind="workflow", owner="help", local="help", title="Help", description="Helps."
    )
    return FakeUpstream("help", [capability], behave)


async def a_run(request: Request, capability: Capability, emit: Emit) -> Result:
    match request.operation:
        case "call":
            if request.meta.get("return_immediately"):
                return Accepted(task=RUN)
            await emit(TaskOpened(task=RUN))
            await emit(Progress(progress=1, message="planning"))
            return Complete(body=Plain(Content(parts=(text_part("all done"),))))
        case "task.subscribe":
            await emit(TaskOpened(task=RUN))
            artifact = Artifact(id="a", content=Content(parts=(text_part("part"),)))
            await emit(ArtifactAdded(task_id="run_1", context_id="c-9", artifact=artifact))
            await emit(StatusChanged(task_id="run_1", context_id="c-9", state=TaskState.COMPLETED))
            return Complete(body=Plain(Content(parts=(text_part("all done"),))))
        case "task.list":
            return Complete(body=TaskPage(tasks=(RUN,), next_token="n", total=4))
        case _:
            return Accepted(task=RUN)


@pytest.fixture
async def help_door() -> AsyncIterator[Door]:
    async with door_to(a_workflow(a_run)) as door:
        yield door


async def test_a_workflow_is_an_agent_with_a_card(help_door: Door) -> None:
    async with help_door.client(slug="help") as client:
        responses = await heard(client, a_message("help me"))

    assert kinds(responses) == ["task", "status_update", "artifact_update", "status_update"]
    assert responses[1].status_update.status.message.parts[0].text == "planning"
    assert responses[2].artifact_update.artifact.parts[0].text == "all done"
    assert responses[3].status_update.status.state == SdkState.TASK_STATE_COMPLETED


@pytest.mark.parametrize(("at_once", "state"), [(True, "SUBMITTED"), (False, "COMPLETED")])
async def test_a_run_is_waited_for_or_not_as_the_client_asks(help_door: Door, at_once: bool, state: str) -> None:
    params: JsonObject = {"message": message_value(), "configuration": {"returnImmediately": at_once}}
    task = (await help_door.ask("SendMessage", params, slug="help"))["result"]["task"]

    assert (task["id"], task["status"]["state"]) == ("run_1", f"TASK_STATE_{state}")
    assert [part["text"] for each in task.get("artifacts", []) for part in each["parts"]] == (
        [] if at_once else ["all done"]
    )


async def test_runs_are_shown_listed_and_subscribed_to(help_door: Door) -> None:
    async with help_door.client(slug="help") as client:
        found = await client.get_task(GetTaskRequest(id="run_1"))
        listed = await client.list_tasks(ListTasksRequest(page_size=1))
        events = [each async for each in client.subscribe(SubscribeToTaskRequest(id="run_1"))]

    assert (found.id, found.context_id) == ("run_1", "c-9")
    assert ([task.id for task in listed.tasks], listed.next_page_token, listed.total_size) == (["run_1"], "n", 4)
    assert kinds(events) == ["task", "artifact_update", "status_update"]


async def test_a_denial_names_the_rule_and_the_record(deeds: Deeds) -> None:
    async def refuse(request: Request, capability: Capability, emit: Emit) -> Result:
        raise Denied("ana may not call help", detail={"policy": "access", "rule": "no-grant"})

    async with door_to(a_workflow(refuse)) as door:
        for method in ("SendMessage", "SendStreamingMessage"):
            error = (await door.ask(method, {"message": message_value()}, slug="help"))["error"]
            assert (error["code"], error["data"][0]["reason"]) == (1403, "DENIED_BY_POLICY")
            assert error["data"][0]["domain"] == "drawbridge"
            assert error["data"][0]["metadata"]["rule"] == "no-grant"
            assert error["data"][0]["metadata"]["record"].startswith("rec_")


async def test_an_error_after_the_first_event_ends_the_stream_with_it() -> None:
    async def break_off(request: Request, capability: Capability, emit: Emit) -> Result:
        await emit(TaskOpened(task=RUN))
        raise Exhausted("no tokens left")

    body = b'{"jsonrpc":"2.0","id":"x","method":"SendStreamingMessage","params":{"message":{"messageId":"m",'
    async with door_to(a_workflow(break_off)) as door:
        answer = await door.post(body + b'"role":"ROLE_USER","parts":[{"text":"a"}]}}}', slug="help")

    events = [line for line in answer.text.splitlines() if line.startswith("data:")]
    assert answer.headers["content-type"] == "text/event-stream"
    assert '"task"' in events[0]
    assert '"code":1429' in events[1]


async def test_streams_beyond_the_limit_are_refused(deeds: Deeds) -> None:
    async with (
        real_agent(deeds) as url,
        upstream_to(url) as upstream,
        door_to(upstream, limits=Limits(streams=1)) as door,
        door.client() as client,
    ):
        stream = client.send_message(a_message("wait"))
        with anyio.fail_after(120):
            await anext(stream)
        refused = await door.ask("SendStreamingMessage", {"message": message_value()})
        deeds.release.set()
        await stream.aclose()  # type: ignore[attr-defined]

    assert refused["error"]["code"] == 1429


async def test_a_caller_who_holds_its_share_of_streams_leaves_the_others_theirs(deeds: Deeds) -> None:
    async with (
        real_agent(deeds) as url,
        upstream_to(url) as upstream,
        door_to(upstream, limits=Limits(streams=2)) as door,
        door.client() as anas,
        door.client(who="bob") as bobs,
    ):
        mine, his = anas.send_message(a_message("wait")), bobs.send_message(a_message("wait"))
        with anyio.fail_after(120):
            await anext(mine)
            refused = await door.ask("SendStreamingMessage", {"message": message_value()})
            await anext(his)
        deeds.release.set()
        for stream in (mine, his):
            await stream.aclose()  # type: ignore[attr-defined]

    assert refused["error"]["code"] == 1429


async def test_a_client_that_leaves_ends_its_stream_at_the_agent_too(deeds: Deeds) -> None:
    left = anyio.Event()

    async def wait(request: Request, capability: Capability, emit: Emit) -> Result:
        await emit(TaskOpened(task=RUN))
        try:
            await anyio.sleep_forever()
        finally:
            left.set()
        raise AssertionError

    async with door_to(a_workflow(wait)) as door, door.client(slug="help") as client:
        stream = client.send_message(a_message("wait"))
        with anyio.fail_after(120):
            await anext(stream)
            await stream.aclose()  # type: ignore[attr-defined]
            await left.wait()
        assert door.gate.audit.records[-1].outcome == "canceled"


async def test_an_agent_at_work_on_a_step_owns_for_its_run_only(deeds: Deeds) -> None:
    worker = principal("agent:triage", kind="agent", behind=ANA)
    first = Identity(principal=worker, run_id="run_1", step_id="run_1/1")
    second = Identity(principal=worker, run_id="run_2", step_id="run_2/1")
    same = Identity(principal=worker, run_id="run_1", step_id="run_1/2")
    badges = Badges(first, second)
    badges.by_name["later"] = same
    async with (
        real_agent(deeds) as url,
        upstream_to(url) as upstream,
        door_to(upstream, badges=badges) as door,
    ):
        sent = await door.ask("SendMessage", {"message": message_value()}, who="agent:triagerun_1")
        params = {"id": sent["result"]["task"]["id"]}
        other = await door.ask("GetTask", params, who="agent:triagerun_2")
        later = await door.ask("GetTask", params, who="later")

    assert other["error"]["code"] == -32001
    assert later["result"]["id"] == params["id"]
    assert {record.run_id for record in door.gate.audit.records if record.operation == "call"} == {"run_1"}


async def test_a_credential_whose_step_is_over_buys_no_time(deeds: Deeds) -> None:
    late = Identity(principal=ANA, deadline_at_us=1)
    async with door_to(a_workflow(a_run), badges=Badges(late)) as door:
        error = (await door.ask("SendMessage", {"message": message_value()}, slug="help"))["error"]

    assert (error["code"], error["data"][0]["reason"]) == (1504, "DEADLINE_EXCEEDED")


async def test_what_a_caller_is_given_is_the_least_of_its_limits() -> None:
    seen: list[Request] = []

    async def keep(request: Request, capability: Capability, emit: Emit) -> Result:
        seen.append(request)
        return Complete(body=Plain(Content(parts=(text_part("done"),))))

    soon = Identity(principal=ANA, deadline_at_us=LoopClock().now_us() + 5_000_000, traceparent="00-run")
    async with door_to(a_workflow(keep), badges=Badges(soon)) as door:
        before_s = anyio.current_time()
        await door.ask("SendMessage", {"message": message_value()}, slug="help")
        traced = f"00-{'a' * 32}-{'b' * 16}-01"
        await door.ask("SendMessage", {"message": message_value()}, slug="help", traceparent=traced)

    assert before_s < seen[0].budget.deadline_s < before_s + 60
    assert [request.traceparent for request in seen] == ["00-run", traced]
    assert (seen[0].protocol, seen[0].meta["message_id"]) == ("a2a", "m-1")


async def test_a_failure_of_our_own_says_nothing_of_it() -> None:
    async def break_down(request: Request, capability: Capability, emit: Emit) -> Result:
        return Complete(body=Plain(Content(structured=object())))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    async with door_to(a_workflow(break_down)) as door:
        for method in ("SendMessage", "SendStreamingMessage"):
            error = (await door.ask(method, {"message": message_value()}, slug="help"))["error"]
            assert (error["code"], error["message"]) == (-32603, "the gateway failed; its log has the rest")
