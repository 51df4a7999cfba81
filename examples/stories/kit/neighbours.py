"""A story's agents and MCP servers, each on a port of its own, all in this process, on the SDKs."""

import functools
import inspect
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import uvicorn
from a2a.helpers import get_data_parts, get_message_text, new_data_part, new_task_from_user_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Message
from anyio.abc import TaskStatus
from google.protobuf.json_format import MessageToDict, MessageToJson
from mcp.server import MCPServer
from starlette.applications import Starlette

from examples.stories.kit.agents import Agent, Asked, Failed, Reply, reply_of
from examples.stories.kit.effects import Effects, Functions
from examples.stories.kit.story import Card, Story
from examples.support.agent_kit import DELEGATION, Refused, Tools


class Turnstile:
    """Every call to an agent or a tool passes here; one of them can be held until somebody lets it go on."""

    def __init__(self) -> None:
        self._left = 0
        self.held = anyio.Event()
        self._go = anyio.Event()

    def hold(self, number: int) -> None:
        """Hold the call of this number, counted from now, the first being 1."""
        self._left = number
        self.held, self._go = anyio.Event(), anyio.Event()

    def release(self) -> None:
        self._go.set()

    async def passed(self) -> None:
        if not self._left:
            return
        self._left -= 1
        if self._left:
            return
        self.held.set()
        await self._go.wait()


class Neighbours:
    """Everything around the gateway."""

    def __init__(self, story: Story, gateway_url: str, key_of: Callable[[str], str]) -> None:
        self.story = story
        self.turnstile = Turnstile()
        self.urls: dict[str, str] = {}
        """Of agents and servers, by name, once they are served."""
        self.asked: dict[str, list[Asked]] = {name: [] for name in story.agents}
        self.order: list[str] = []
        """Names of agents, and of tools as `SERVER/NAME`, in the order in which they were called."""
        self.effects = {name: Effects() for name in story.servers}
        self._over = anyio.Event()
        self._mcp = f"{gateway_url}/mcp"
        self._key_of = key_of

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Serve all of them, until `leave`."""
        async with AsyncExitStack() as stack:
            for name, agent in self.story.agents.items():
                listening = listener()
                self.urls[name] = url_of(listening)
                card = self.story.cards.get(name) or Card(description=_first_line(agent.__doc__) or name)
                app = _agent_app(_Executor(name, agent, self), _card(name, card, self.urls[name]))
                await self._open(stack, name, app, listening)
            for name, server in self.story.servers.items():
                listening = listener()
                self.urls[name] = f"{url_of(listening)}/mcp"
                app = self._server_app(name, server(self.effects[name]))
                await self._open(stack, name, app, listening)
            task_status.started()
            await self._over.wait()

    def leave(self) -> None:
        self._over.set()

    async def _open(self, stack: AsyncExitStack, name: str, app: Starlette, listening: socket.socket) -> None:
        if name in self.story.down:
            listening.close()
        else:
            await stack.enter_async_context(served(app, listening))

    async def reply(self, agent: Agent, asked: Asked) -> Reply:
        """What the agent answers, once it is let through. Raises: Failed, and Refused: it could not."""
        self.order.append(asked.agent)
        self.asked[asked.agent].append(asked)
        await self.turnstile.passed()
        return await reply_of(agent, asked)

    def tools_for(self, name: str, token: str) -> Tools:
        return Tools(self._mcp, token or self._key_of(name))

    def _server_app(self, name: str, tools: Functions) -> Starlette:
        server = MCPServer(name, version="1.0.0", log_level="ERROR")
        for tool, function in tools.items():
            server.add_tool(self._watched(f"{name}/{tool}", function), name=tool)
        return server.streamable_http_app(json_response=True, stateless_http=True)

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def watched(**arguments: Any) -> Any:
            self.order.append(name)
            await self.turnstile.passed()
            value = function(**arguments)
            return await value if inspect.isawaitable(value) else value

        return watched


class _Executor(AgentExecutor):
    """Has a function do the work of an A2A agent."""

    def __init__(self, name: str, agent: Agent, neighbours: Neighbours) -> None:
        self._name = name
        self._agent = agent
        self._neighbours = neighbours

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        message = context.message
        if message is None:
            return
        task = context.current_task or new_task_from_user_message(message)
        if context.current_task is None:
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        try:
            reply = await self._neighbours.reply(self._agent, self._asked(message))
        except (Failed, Refused) as error:
            await updater.failed(updater.new_agent_message([new_text_part(str(error))]))
            return
        data = {**reply.value, **({"drawbridge": dict(reply.said)} if reply.said else {})}
        text = reply.text or str(reply.said.get("summary", ""))
        parts = [*([new_text_part(text)] if text else []), *([new_data_part(data)] if data else [])]
        metadata = {"usage": dict(reply.usage)} if reply.usage else None
        await updater.add_artifact(parts or [new_data_part({})], name=self._name, metadata=metadata)
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        if context.current_task is not None:
            task = context.current_task
            await TaskUpdater(event_queue, task.id, task.context_id).cancel()

    def _asked(self, message: Message) -> Asked:
        parts: list[dict[str, Any]] = get_data_parts(message.parts)
        data: dict[str, Any] = parts[0] if parts else {}
        extra: dict[str, Any] = data.pop("drawbridge", {})
        token: Mapping[str, Any] = MessageToDict(message.metadata).get(DELEGATION, {})
        return Asked(
            agent=self._name,
            text=get_message_text(message),
            input=data,
            task=extra.get("task", ""),
            data=extra.get("data") or {},
            phase=extra.get("phase", ""),
            note=extra.get("note", ""),
            # Members of an object come in any order over A2A (protobuf maps have none), another in each process.
            results=dict(sorted(extra.get("results", {}).items())),
            known={key: entry["value"] for key, entry in extra.get("scratchpad", {}).items()},
            time=len(self._neighbours.asked[self._name]) + 1,
            message_id=message.message_id,
            context_id=message.context_id,
            said=MessageToJson(message),
            tools=self._neighbours.tools_for(self._name, token.get("token", "")),
        )


def _card(name: str, card: Card, url: str) -> AgentCard:
    return AgentCard(
        name=name,
        description=card.description,
        version="1.0.0",
        capabilities=AgentCapabilities(streaming=True),
        supported_interfaces=[AgentInterface(url=f"{url}/", protocol_binding="JSONRPC", protocol_version="1.0")],
        default_input_modes=["text/plain", "application/json"],
        default_output_modes=["text/plain", "application/json"],
        skills=[
            AgentSkill(id=skill, name=skill, description=card.description, tags=[skill])
            for skill in card.skills or (name,)
        ],
    )


def _agent_app(executor: AgentExecutor, card: AgentCard) -> Starlette:
    handler = DefaultRequestHandler(executor, InMemoryTaskStore(), card)
    return Starlette(routes=[*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")])


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def listener() -> socket.socket:
    """A free port of 127.0.0.1, open: who connects waits until somebody serves it."""
    return socket.create_server(("127.0.0.1", 0), backlog=128)


def url_of(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


@asynccontextmanager
async def served(app: Starlette, listening: socket.socket) -> AsyncGenerator[None]:
    """Serves the app on the port."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1))
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, [listening])
        try:
            yield
        finally:
            server.should_exit = True
