"""Two customers, one call each: Ana's assistant speaks MCP, Ben's speaks A2A. Both may lose the gateway on the way."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import httpx2
from a2a.client import A2ACardResolver, A2AClientError, Client, ClientConfig, ClientFactory
from a2a.helpers import get_artifact_text, new_text_message
from a2a.types import Role, SendMessageRequest, StreamResponse, SubscribeToTaskRequest, TaskState
from mcp import Client as McpClient
from mcp import MCPError
from mcp.client.streamable_http import streamable_http_client

REQUEST = (
    "My blender arrived broken (order {order}). Refund it, send a replacement overnight, "
    "and have a manager call me tomorrow."
)
ANSWER_WITHIN_S = 180.0
GONE = (httpx2.TransportError, OSError, MCPError, anyio.ClosedResourceError, ExceptionGroup)
"""What an MCP client sees when the gateway is killed under it."""

Say = Callable[[str], None]


class Assistant:
    """What both share: where the gateway is, who asks, and what to do when the gateway is gone."""

    def __init__(self, url: str, key: str, say: Say, revived: Callable[[], Awaitable[None]]) -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {key}"}
        self.say = say
        self.revived = revived


async def ask_by_mcp(assistant: Assistant, order: str) -> str:
    """The answer to a `tools/call` on the workflow. Should the gateway die, the call is repeated under the same key."""
    with anyio.fail_after(ANSWER_WITHIN_S):
        while True:
            try:
                return await _call(assistant, order)
            except GONE:
                assistant.say("the connection broke; waiting for the gateway, then repeating the call with its key")
                await assistant.revived()


async def _call(assistant: Assistant, order: str) -> str:
    async with (
        httpx2.AsyncClient(headers=assistant.headers, timeout=ANSWER_WITHIN_S) as http,
        McpClient(streamable_http_client(f"{assistant.url}/mcp", http_client=http), mode="2026-07-28") as client,
    ):

        async def show(progress: float, total: float | None, message: str | None) -> None:
            if message:
                assistant.say(message)

        result = await client.call_tool(
            "workflows__help",
            {"message": REQUEST.format(order=order)},
            progress_callback=show,
            meta={"drawbridge/idempotency-key": f"demo-{order}"},
        )
    # Behind the answer in words comes the same as data, for whoever wants to work with it.
    return getattr(result.content[0], "text", "")


async def ask_by_a2a(assistant: Assistant, order: str) -> str:
    """The answer to a streamed message. Should the gateway die, the client subscribes to its task again."""
    with anyio.fail_after(ANSWER_WITHIN_S):
        async with httpx.AsyncClient(headers=assistant.headers, timeout=ANSWER_WITHIN_S) as http:
            card = await A2ACardResolver(http, f"{assistant.url}/agents/help").get_agent_card()
            client = ClientFactory(ClientConfig(streaming=True, httpx_client=http)).create(card)
            watched = _Watched(assistant.say)
            message = new_text_message(REQUEST.format(order=order), role=Role.ROLE_USER)
            message.message_id = f"demo-{order}"
            try:
                async for event in client.send_message(SendMessageRequest(message=message)):
                    watched.saw(event)
            except (A2AClientError, httpx.TransportError):
                assistant.say("the stream broke; waiting for the gateway, then subscribing to the task again")
            if not watched.ended:
                await assistant.revived()
                await _resubscribe(client, watched)
    return watched.answer


async def _resubscribe(client: Client, watched: "_Watched") -> None:
    async for event in client.subscribe(SubscribeToTaskRequest(id=watched.task_id)):
        watched.saw(event)


class _Watched:
    """What a stream has told so far."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.task_id = ""
        self.answer = ""
        self.ended = False

    def saw(self, event: StreamResponse) -> None:
        kind = event.WhichOneof("payload")
        if kind == "task":
            self.task_id = event.task.id
            self._say(f"task {event.task.id}")
            self._state(event.task.status)
            for artifact in event.task.artifacts:
                self.answer = get_artifact_text(artifact)
        elif kind == "status_update":
            self._state(event.status_update.status)
        elif kind == "artifact_update":
            self.answer = get_artifact_text(event.artifact_update.artifact)

    def _state(self, status: Any) -> None:
        text = " ".join(part.text for part in status.message.parts if part.text)
        if text:
            self._say(text)
        self.ended = status.state in (
            TaskState.TASK_STATE_COMPLETED,
            TaskState.TASK_STATE_FAILED,
            TaskState.TASK_STATE_CANCELED,
            TaskState.TASK_STATE_REJECTED,
        )
