"""a2a-sdk's client at a real gateway, in front of a real a2a-sdk agent and of a workflow."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager
from uuid import uuid4

import anyio
import httpx
import pytest
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
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
)
from a2a.types import TaskState as SdkState
from a2a.utils.errors import TaskNotFoundError
from anyio.from_thread import BlockingPortal

from tests.e2e.conftest import Serve
from tests.e2e.gateways import UP_WITHIN_S, Gateway, eventually, key_of, operator
from tests.fakes_a2a import Deeds, real_agent

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def deeds() -> Deeds:
    return Deeds()


@pytest.fixture(scope="module")
def gateway(serve: Serve, portal: BlockingPortal, deeds: Deeds) -> Generator[Gateway]:
    with portal.wrap_async_context_manager(real_agent(deeds)) as url:
        yield serve(
            {
                "agents": {"helper": {"card": url}, "other": {"card": url}},
                "workflows": {
                    "desk": {
                        "pattern": "sequential",
                        "stages": [{"name": "ask", "agent": "helper", "input": {"order": "$task.message"}}],
                    }
                },
                "roles": {"all": {"allow": ["agent:helper", "workflow:desk"]}},
                "principals": {
                    "ana": {"roles": ["all"], "key": "env:ANA_KEY"},
                    "bob": {"roles": ["all"], "key": "env:BOB_KEY"},
                },
            }
        )
        portal.call(deeds.release.set)


@asynccontextmanager
async def client_of(gateway: Gateway, who: str, slug: str = "helper") -> AsyncGenerator[Client]:
    """The SDK's client, which has read the card the gateway publishes."""
    headers = {"authorization": f"Bearer {key_of(who)}"}
    async with httpx.AsyncClient(headers=headers, timeout=UP_WITHIN_S) as http:
        card = await A2ACardResolver(http, f"{gateway.url}/agents/{slug}").get_agent_card()
        yield ClientFactory(ClientConfig(streaming=True, httpx_client=http)).create(card)


@pytest.fixture
async def ana(gateway: Gateway) -> AsyncIterator[Client]:
    async with client_of(gateway, "ana") as ana:
        with anyio.fail_after(UP_WITHIN_S):
            yield ana


@pytest.fixture
async def bob(gateway: Gateway) -> AsyncIterator[Client]:
    async with client_of(gateway, "bob") as bob:
        yield bob


@pytest.fixture
def working(portal: BlockingPortal, deeds: Deeds) -> Generator[Deeds]:
    """An agent that, told to wait, works until it is released."""
    portal.call(_again, deeds)
    yield deeds
    portal.call(deeds.release.set)


def _again(deeds: Deeds) -> None:
    deeds.working, deeds.release = anyio.Event(), anyio.Event()


def saying(text: str, *, at_once: bool = False) -> SendMessageRequest:
    message = Message(message_id=uuid4().hex, role=Role.ROLE_USER, parts=[Part(text=text)])
    return SendMessageRequest(message=message, configuration=SendMessageConfiguration(return_immediately=at_once))


async def begun(client: Client, deeds: Deeds) -> str:
    """A task the agent is at work on; the client has left its stream."""
    task_id = ""
    async for event in client.send_message(saying("wait for it")):
        task_id = task_id or event.task.id
        break
    await eventually(lambda: deeds.working.is_set())
    return task_id


async def state_of(client: Client, task_id: str) -> SdkState:
    return (await client.get_task(GetTaskRequest(id=task_id))).status.state


def kinds(events: list[StreamResponse]) -> list[str | None]:
    return [each.WhichOneof("payload") for each in events]


async def test_the_card_names_the_gateway_and_not_the_agent(gateway: Gateway) -> None:
    headers = {"authorization": f"Bearer {key_of('ana')}"}
    async with httpx.AsyncClient(headers=headers, timeout=UP_WITHIN_S) as http:
        card = await A2ACardResolver(http, f"{gateway.url}/agents/helper").get_agent_card()
        raw = await http.get(f"{gateway.url}/agents/helper/.well-known/agent-card.json")
    assert [each.url for each in card.supported_interfaces] == [f"{gateway.url}/agents/helper"]
    assert raw.text.count("http://") == raw.text.count(gateway.url)


async def test_a_message_is_streamed_and_the_task_can_be_read_and_listed(gateway: Gateway, ana: Client) -> None:
    events = [event async for event in ana.send_message(saying("hello"))]
    assert kinds(events) == ["task", "status_update", "artifact_update", "artifact_update", "status_update"]
    task_id = events[0].task.id
    task = await ana.get_task(GetTaskRequest(id=task_id))
    assert task.status.state == SdkState.TASK_STATE_COMPLETED
    assert [part.text for part in task.artifacts[0].parts if part.text] == ["done: ", "more"]
    assert task_id in [each.id for each in (await ana.list_tasks(ListTasksRequest())).tasks]
    async with operator(gateway) as someone:
        found = await someone.records(2, subject="ana", call="agent:helper")
    assert {each["phase"] for each in found} == {"intent", "outcome"}


async def test_a_client_that_leaves_its_stream_ends_nothing_and_can_subscribe_again(
    portal: BlockingPortal, working: Deeds, ana: Client
) -> None:
    task_id = await begun(ana, working)
    assert await state_of(ana, task_id) == SdkState.TASK_STATE_WORKING
    events: list[StreamResponse] = []
    async for event in ana.subscribe(SubscribeToTaskRequest(id=task_id)):
        if not events:
            portal.call(working.release.set)
        events.append(event)
    assert events[0].task.id == task_id
    assert events[-1].status_update.status.state == SdkState.TASK_STATE_COMPLETED
    assert task_id not in working.canceled


async def test_a_cancel_reaches_the_agent(working: Deeds, ana: Client) -> None:
    task_id = await begun(ana, working)
    task = await ana.cancel_task(CancelTaskRequest(id=task_id))
    assert task.status.state == SdkState.TASK_STATE_CANCELED
    assert task_id in working.canceled


async def test_a_task_is_nothing_to_another_principal(working: Deeds, ana: Client, bob: Client) -> None:
    task_id = await begun(ana, working)
    with pytest.raises(TaskNotFoundError):
        await bob.get_task(GetTaskRequest(id=task_id))
    with pytest.raises(TaskNotFoundError):
        await bob.cancel_task(CancelTaskRequest(id=task_id))
    with pytest.raises(TaskNotFoundError):
        async for _ in bob.subscribe(SubscribeToTaskRequest(id=task_id)):
            pass
    into = saying("more")
    into.message.task_id = task_id
    with pytest.raises(TaskNotFoundError):
        async for _ in bob.send_message(into):
            pass
    assert task_id not in [each.id for each in (await bob.list_tasks(ListTasksRequest())).tasks]
    assert task_id not in working.canceled
    assert await state_of(ana, task_id) == SdkState.TASK_STATE_WORKING


async def test_an_agent_that_is_not_granted_shows_no_card(gateway: Gateway) -> None:
    headers = {"authorization": f"Bearer {key_of('ana')}"}
    async with httpx.AsyncClient(headers=headers, timeout=UP_WITHIN_S) as http:
        hidden = await http.get(f"{gateway.url}/agents/other/.well-known/agent-card.json")
        nobody = await http.get(f"{gateway.url}/agents/never/.well-known/agent-card.json")
    assert (hidden.status_code, nobody.status_code) == (404, 404)
    assert hidden.json()["error"]["message"].replace("other", "never") == nobody.json()["error"]["message"]


async def test_a_workflow_is_an_agent(gateway: Gateway, portal: BlockingPortal, working: Deeds) -> None:
    async with client_of(gateway, "ana", "desk") as ana, client_of(gateway, "bob", "desk") as bob:
        with anyio.fail_after(UP_WITHIN_S):
            task_id = ""
            async for event in ana.send_message(saying("wait", at_once=True)):
                task_id = task_id or event.task.id or event.status_update.task_id
                break
            with pytest.raises(TaskNotFoundError):
                await bob.get_task(GetTaskRequest(id=task_id))
            assert await state_of(ana, task_id) in (SdkState.TASK_STATE_WORKING, SdkState.TASK_STATE_SUBMITTED)
            events: list[StreamResponse] = []
            async for event in ana.subscribe(SubscribeToTaskRequest(id=task_id)):
                events.append(event)
                portal.call(working.release.set)
            assert events[-1].status_update.status.state == SdkState.TASK_STATE_COMPLETED
            assert task_id in [each.id for each in (await ana.list_tasks(ListTasksRequest())).tasks]


async def test_a_run_that_is_canceled_cancels_its_agents_task(gateway: Gateway, working: Deeds) -> None:
    before = len(working.canceled)
    async with client_of(gateway, "ana", "desk") as ana:
        with anyio.fail_after(UP_WITHIN_S):
            task_id = ""
            async for event in ana.send_message(saying("wait", at_once=True)):
                task_id = task_id or event.task.id
                break
            await eventually(lambda: working.working.is_set())
            await ana.cancel_task(CancelTaskRequest(id=task_id))
            assert await state_of(ana, task_id) == SdkState.TASK_STATE_CANCELED
    await eventually(lambda: len(working.canceled) > before)
