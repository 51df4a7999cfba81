"""Agents for tests: real ones, written with a2a-sdk and served over real sockets, and ones that lie on the wire."""

import contextlib
import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

import anyio
import httpx
import uvicorn
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.helpers import new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentExtension, AgentInterface, AgentSkill, Message, Part, Role
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value
from starlette.applications import Starlette

from adapters.a2a.card import FetchCard
from adapters.a2a.client import A2aUpstream
from adapters.a2a.publish import Face
from adapters.a2a.server import A2aDoor
from adapters.a2a.settings import AgentSettings
from adapters.net.address import Address
from adapters.net.fetch import fetch
from adapters.net.http1 import Pool
from gateway.core.catalog import Shelf
from gateway.core.content import Content, data_part, text_part
from gateway.core.effects import Effects
from gateway.core.errors import InvalidRequest, Unauthenticated
from gateway.core.json import Json
from gateway.core.limits import Limits
from gateway.core.model import Event, Principal, principal
from gateway.core.pipeline import Pipeline
from gateway.core.plans import Policies, Snapshot
from gateway.core.ports.credentials import UpstreamTokens
from gateway.core.ports.gateway import Identity
from gateway.core.ports.upstream import Upstream
from gateway.core.ports.world import Secret
from gateway.testing.stores.effects import MemoryEffectLedger
from gateway.testing.stores.owners import MemoryOwners
from tests.fakes import GRANT, CountingIds, ListAudit, Says

ANA = principal("ana", roles=frozenset({"support"}))
BOB = principal("bob", roles=frozenset({"support"}))
WITHIN_S = 120
"""Longest anything here is waited for, seconds; the machine may be busy with other things."""


class LoopClock:
    """The event loop's own monotonic time, as deadlines need it; a wall clock that stands still."""

    def now_us(self) -> int:
        return 1_763_700_000_000_000

    def monotonic_s(self) -> float:
        return anyio.current_time()


class NamedSecrets:
    def resolve(self, reference: str) -> Secret:
        if reference != "env:UPSTREAM_KEY":
            raise InvalidRequest(f"nothing is behind {reference}")
        return Secret("s3cret")


class Badges:
    """Knows callers by `Authorization: Bearer NAME`."""

    def __init__(self, *identities: Identity) -> None:
        known = identities or (Identity(principal=ANA), Identity(principal=BOB))
        self.by_name = {each.principal.subject + each.run_id: each for each in known}

    async def authenticate(self, authorization: bytes, path: str = "/") -> Identity:
        identity = self.by_name.get(authorization.decode().removeprefix("Bearer "))
        if identity is None:
            raise Unauthenticated("send Authorization: Bearer with an API key")
        return identity


class Quiet(uvicorn.Server):
    """Leaves signals to the test runner, and stops when told rather than at the next tick."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = anyio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stopping.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def listener() -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", 0))
    return bound


def url_of(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextlib.asynccontextmanager
async def serving(app: Any, bound: socket.socket) -> AsyncGenerator[str]:
    """The app's URL, while it is served on `bound`."""
    config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = Quiet(config)
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, [bound])
        with anyio.fail_after(WITHIN_S):
            while not server.started:
                await anyio.lowlevel.checkpoint()
        try:
            yield url_of(bound)
        finally:
            server.force_exit = True
            server.stopping.set()


class Deeds(AgentExecutor):
    """Does what the first word of the message says, and remembers what it was sent."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.canceled: list[str] = []
        self.working = anyio.Event()
        self.release = anyio.Event()

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.message is not None
        self.messages.append(MessageToDict(context.message))
        self.headers.append(dict(context.call_context.state.get("headers", {})))
        word = context.get_user_input().split(" ")[0]
        if word == "message":
            reply = Message(message_id="reply-1", role=Role.ROLE_AGENT, parts=[Part(text="just words")])
            await event_queue.enqueue_event(reply)
            return
        task = context.current_task
        if task is None:
            task = new_task_from_user_message(context.message)
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        deed = getattr(self, f"_{word}", self._echo)
        await deed(updater, context)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.task_id is not None
        assert context.context_id is not None
        self.canceled.append(context.task_id)
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()

    async def _echo(self, updater: TaskUpdater, context: RequestContext) -> None:
        value = ParseDict({"said": context.get_user_input()}, Value())
        await updater.add_artifact([Part(text="done: "), Part(data=value)], artifact_id="a")
        await updater.add_artifact([Part(text="more")], artifact_id="a", append=True, last_chunk=True)
        await updater.complete()

    async def _ask(self, updater: TaskUpdater, context: RequestContext) -> None:
        await updater.requires_input(updater.new_agent_message([Part(text="how much?")]))

    async def _auth(self, updater: TaskUpdater, context: RequestContext) -> None:
        await updater.requires_auth()

    async def _fail(self, updater: TaskUpdater, context: RequestContext) -> None:
        await updater.failed(updater.new_agent_message([Part(text="no stock")]))

    async def _wait(self, updater: TaskUpdater, context: RequestContext) -> None:
        self.working.set()
        await self.release.wait()
        await updater.complete()


def sdk_card(url: str, *, streaming: bool = True, extensions: tuple[str, ...] = ()) -> AgentCard:
    return AgentCard(
        name="Refunds",
        description="Refunds orders.",
        version="1.2",
        supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
        capabilities=AgentCapabilities(
            streaming=streaming, extensions=[AgentExtension(uri=each) for each in extensions]
        ),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="refund", name="Refund", description="Refunds an order.", tags=["money"])],
    )


@contextlib.asynccontextmanager
async def real_agent(deeds: Deeds, *, streaming: bool = True, extensions: tuple[str, ...] = ()) -> AsyncGenerator[str]:
    """URL of an a2a-sdk agent."""
    bound = listener()
    card = sdk_card(url_of(bound), streaming=streaming, extensions=extensions)
    handler = DefaultRequestHandler(agent_executor=deeds, task_store=InMemoryTaskStore(), agent_card=card)
    app = Starlette(routes=[*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")])
    try:
        async with serving(app, bound) as url:
            yield url
    finally:
        deeds.release.set()
        await handler.aclose()


Reply = Callable[[bytes, anyio.abc.SocketStream], Awaitable[None]]
"""Gets the request's body and the connection to answer on."""


@contextlib.asynccontextmanager
async def lying_agent(reply: Reply, *, streaming: bool = True) -> AsyncGenerator[str]:
    """URL of an agent with an honest card that answers JSON-RPC as `reply` does, byte by byte."""
    listening = await anyio.create_tcp_listener(local_host="127.0.0.1")
    url = f"http://127.0.0.1:{listening.extra(anyio.abc.SocketAttribute.local_port)}"
    card = json.dumps(MessageToDict(sdk_card(url, streaming=streaming))).encode()

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
                head, body = await _request_on(stream)
                if head.startswith(b"GET"):
                    await stream.send(whole(card))
                else:
                    await reply(body, stream)

    with contextlib.suppress(anyio.get_cancelled_exc_class()):
        async with listening, anyio.create_task_group() as group:
            group.start_soon(listening.serve, serve)
            try:
                yield url
            finally:
                group.cancel_scope.cancel()


async def _request_on(stream: anyio.abc.SocketStream) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += await stream.receive()
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0
    )
    while len(body) < length:
        body += await stream.receive()
    return head, body


def whole(body: bytes, *, media_type: bytes = b"application/json", status: bytes = b"200 OK") -> bytes:
    """An HTTP answer."""
    return b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
        status,
        media_type,
        len(body),
        body,
    )


EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def event_for(request: bytes, result: Json) -> bytes:
    """A server-sent event that answers a JSON-RPC request."""
    return b"data: %b\n\n" % answer_to(request, result)


def answer_to(request: bytes, result: Json) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": json.loads(request)["id"], "result": result}).encode()


def task_value(state: str = "WORKING", task_id: str = "t-1", context_id: str = "c-1", **more: Json) -> dict[str, Json]:
    return {"id": task_id, "contextId": context_id, "status": {"state": f"TASK_STATE_{state}"}, **more}


def open_pool(address: Address) -> Pool:
    return Pool(address, name="refunds")


async def fetch_card(url: str) -> bytes:
    return (await fetch(url, guard=None, tls=None)).body


@contextlib.asynccontextmanager
async def upstream_to(
    at: str,
    /,
    *,
    slug: str = "refunds",
    limits: Limits | None = None,
    fetch: FetchCard | None = None,
    tokens: UpstreamTokens | None = None,
    **settings: Any,
) -> AsyncGenerator[A2aUpstream]:
    """An upstream for the agent whose card is there."""
    upstream = A2aUpstream(
        slug=slug,
        settings=AgentSettings(card=at, **settings),
        fetch=fetch or fetch_card,
        open_pool=open_pool,
        secrets=NamedSecrets(),
        ids=CountingIds(),
        limits=limits or Limits(),
        tokens=tokens,
    )
    try:
        yield upstream
    finally:
        await upstream.aclose()


def saying(text: str, data: Json = None) -> Content:
    parts = (text_part(text),) if data is None else (text_part(text), data_part(data))
    return Content(parts=parts, structured=data)


class Heard:
    """An `Emit` that keeps what it is told, and says when something has come."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.first = anyio.Event()

    async def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.first.set()


def identity_in_run(who: Principal, run_id: str, step_id: str) -> Identity:
    return Identity(principal=who, run_id=run_id, step_id=step_id)


class Gate:
    """The real path, granting everything, with what it recorded."""

    def __init__(self, *upstreams: Upstream, policies: Policies | None = None) -> None:
        self.audit = ListAudit()
        self.upstreams = upstreams
        self.policies = policies or Policies(requests=[Says(GRANT)])
        self.shelf = Shelf()
        for upstream in upstreams:
            self.shelf.add(upstream, "default")
        clock = LoopClock()
        self.pipeline = Pipeline(
            snapshot=self._snapshot(),
            audit=self.audit,
            effects=Effects(MemoryEffectLedger(), clock),
            clock=clock,
            ids=CountingIds(),
            limits=Limits(),
        )

    async def open(self) -> None:
        for upstream in self.upstreams:
            self.shelf.arrived(upstream.name, await upstream.capabilities())
        self.pipeline.swap(self._snapshot())

    def _snapshot(self) -> Snapshot:
        return Snapshot(version="1", catalog=self.shelf.catalog(), policies=self.policies)


class Door:
    """The A2A door on a real socket, in front of real parts."""

    def __init__(self, gate: Gate, url: str, owners: MemoryOwners) -> None:
        self.gate = gate
        self.url = url
        self.owners = owners

    def address(self, slug: str = "refunds") -> str:
        return f"{self.url}/agents/{slug}"

    @contextlib.asynccontextmanager
    async def client(
        self, who: str = "ana", *, slug: str = "refunds", streaming: bool = True
    ) -> AsyncGenerator[Client]:
        """a2a-sdk's client, which has read the card the door publishes."""
        headers = {"authorization": f"Bearer {who}"}
        async with httpx.AsyncClient(verify=False, headers=headers, timeout=WITHIN_S) as http:
            card = await A2ACardResolver(http, self.address(slug)).get_agent_card()
            config = ClientConfig(streaming=streaming, httpx_client=http, supported_protocol_bindings=["JSONRPC"])
            yield ClientFactory(config).create(card)

    async def post(self, body: bytes, *, who: str = "ana", slug: str = "refunds", **headers: str) -> httpx.Response:
        named = {"content-type": "application/json", "a2a-version": "1.0", "authorization": f"Bearer {who}"}
        sent = {name: value for name, value in {**named, **_dashed(headers)}.items() if value}
        async with httpx.AsyncClient(verify=False, timeout=WITHIN_S) as http:
            return await http.post(self.address(slug), content=body, headers=sent)

    async def ask(self, method: str, params: Json, **more: str) -> dict[str, Any]:
        """The JSON-RPC answer to one request."""
        body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).encode()
        answer = (await self.post(body, **more)).json()
        assert answer["id"] == 7
        return answer


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@contextlib.asynccontextmanager
async def door_to(
    *upstreams: Upstream, limits: Limits | None = None, badges: Badges | None = None, public_cards: bool = False
) -> AsyncGenerator[Door]:
    """The door with these upstreams behind it."""
    gate = Gate(*upstreams)
    await gate.open()
    owners = MemoryOwners()
    bound = listener()
    door = A2aDoor(
        gate.pipeline,
        badges or Badges(),
        owners,
        clock=LoopClock(),
        ids=CountingIds(),
        limits=limits or Limits(),
        face=Face(public_url=url_of(bound), public_cards=public_cards),
    )
    async with serving(door, bound) as url:
        yield Door(gate, url, owners)


def message_value(text: str = "hello", **more: Json) -> dict[str, Json]:
    return {"messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": text}], **more}
