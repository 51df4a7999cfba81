"""What the example agents share: reading a step, calling tools through the gateway, answering, serving.

They are ordinary A2A agents on the `a2a-sdk`. Two things make them good citizens behind Drawbridge, and both are
optional: they send back the delegation token a step brings, so that their tool calls belong to the run; and they answer
with a `drawbridge` member that says what they found out (`writes`) and whether there is anything to commit.
"""

import argparse
import os
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2
import uvicorn
from a2a.helpers import get_data_parts, get_message_text, new_data_part, new_task_from_user_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentExtension, AgentInterface, AgentSkill
from google.protobuf.json_format import MessageToDict
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette

DELEGATION = "urn:drawbridge:delegation:1"
GATEWAY_BACK_WITHIN_S = 90.0
"""How long a tool call waits for a gateway that went away, seconds."""


class Refused(Exception):
    """The gateway, or the tool, said no; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One step, as it was handed over."""

    text: str
    input: Mapping[str, Any]
    phase: str
    known: Mapping[str, Any]
    """Scratchpad keys this step may see, with their values."""
    token: str

    @property
    def committing(self) -> bool:
        return self.phase == "commit"

    @property
    def proposal(self) -> Mapping[str, Any]:
        return self.input.get("proposal") or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a step."""

    summary: str
    value: Mapping[str, Any]
    writes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    commits: bool = True


class Tools:
    """MCP tools behind the gateway, under the step's token, or the agent's own key where there is none."""

    def __init__(self, url: str, credential: str) -> None:
        self._url = url
        self._credential = credential

    async def call(self, name: str, **arguments: Any) -> Any:
        """A tool's structured answer. Waits for a gateway that is being restarted.

        Raises: Refused: by the gateway's policies, or by the tool.
        """
        with anyio.move_on_after(GATEWAY_BACK_WITHIN_S):
            while True:
                try:
                    return await self._call(name, arguments)
                except (httpx2.TransportError, OSError, MCPError, anyio.ClosedResourceError, ExceptionGroup):
                    # The transport's task group wraps what broke; whatever it was, the gateway may be back in a moment.
                    await anyio.sleep(0.5)
        raise Refused("the gateway did not answer")

    async def _call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {self._credential}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(self._url, http_client=http), mode="2026-07-28") as client,
        ):
            result = await client.call_tool(name, dict(arguments))
        text = "\n".join(getattr(block, "text", "") for block in result.content)
        if result.is_error:
            raise Refused(text)
        value: Any = result.structured_content
        # The SDK wraps a result that is no object.
        return value["result"] if list(value) == ["result"] else value


class Agent(AgentExecutor):
    """An agent that does one kind of work."""

    name: str
    description: str
    skill: str

    @abstractmethod
    async def work(self, work: Work, tools: Tools) -> Outcome: ...

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        message = context.message
        if message is None:
            return
        task = context.current_task or new_task_from_user_message(message)
        if context.current_task is None:
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        work = work_from(message)
        tools = Tools(os.environ.get("GATEWAY_MCP_URL", ""), work.token or os.environ.get("AGENT_KEY", ""))
        try:
            outcome = await self.work(work, tools)
        except Refused as error:
            await updater.failed(updater.new_agent_message([new_text_part(str(error))]))
            return
        data = {
            **outcome.value,
            "drawbridge": {"summary": outcome.summary, "writes": dict(outcome.writes), "commits": outcome.commits},
        }
        await updater.add_artifact([new_text_part(outcome.summary), new_data_part(data)], name=self.name)
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        if context.current_task is not None:
            task = context.current_task
            await TaskUpdater(event_queue, task.id, task.context_id).cancel()


def work_from(message: Any) -> Work:
    """Read a step from an A2A message."""
    parts = get_data_parts(message.parts)
    data: dict[str, Any] = parts[0] if parts else {}
    extra: dict[str, Any] = data.pop("drawbridge", {})
    token: dict[str, Any] = MessageToDict(message.metadata).get(DELEGATION, {})
    known = {key: entry["value"] for key, entry in extra.get("scratchpad", {}).items()}
    return Work(
        text=get_message_text(message) or extra.get("task", ""),
        input=data,
        phase=extra.get("phase", ""),
        known=known,
        token=token.get("token", ""),
    )


def serve(agent: Agent) -> None:
    """Run an agent on 127.0.0.1 until it is stopped."""
    parser = argparse.ArgumentParser(description=agent.description)
    parser.add_argument("--port", type=int, required=True)
    port: int = parser.parse_args().port
    card = AgentCard(
        name=agent.name,
        description=agent.description,
        version="1.0.0",
        capabilities=AgentCapabilities(
            streaming=True,
            extensions=[AgentExtension(uri=DELEGATION, description="Sends a step's token back with its tool calls")],
        ),
        supported_interfaces=[
            AgentInterface(url=f"http://127.0.0.1:{port}/", protocol_binding="JSONRPC", protocol_version="1.0")
        ],
        default_input_modes=["text/plain", "application/json"],
        default_output_modes=["text/plain", "application/json"],
        skills=[AgentSkill(id=agent.name, name=agent.name, description=agent.skill, tags=["support"])],
    )
    handler = DefaultRequestHandler(agent, InMemoryTaskStore(), card)
    app = Starlette(routes=[*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
