"""A gateway without a path behind it, and a client that speaks ASGI, for tests of the MCP door."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, TypeAlias

import anyio
import msgspec
from anyio.abc import TaskGroup

from adapters.mcp.door import McpDoor
from adapters.mcp.exchange import Pace
from adapters.mcp.offers import Offers
from adapters.mcp.wire import MODERN, Answer, Era
from gateway.core.content import plain
from gateway.core.errors import NotFound, Unauthenticated
from gateway.core.json import Json, JsonObject
from gateway.core.limits import Limits
from gateway.core.model import Capability, CapabilityKind, Complete, Emit, Principal, Request, Result, principal
from gateway.core.ports.gateway import BareChallenges, Challenges, Gateway, Identity
from gateway.core.record import Record

Members: TypeAlias = "JsonObject | None"
Run = Callable[[Request, Emit], Awaitable[Result]]

ANA = principal("ana", roles=frozenset({"support"}))
BOB = principal("bob", roles=frozenset({"guest"}))
EVERYBODY = {b"Bearer ana": Identity(principal=ANA), b"Bearer bob": Identity(principal=BOB)}


class Ticking:
    """A clock that is moved by hand; waits of the door run on the event loop, not on it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now_us(self) -> int:
        return 1_700_000_000_000_000 + int(self.ahead_s * 1_000_000)

    def monotonic_s(self) -> float:
        return anyio.current_time() + self.ahead_s


class Counting:
    def __init__(self) -> None:
        self._numbers = count(1)

    def new(self, prefix: str) -> str:
        return f"{prefix}_{next(self._numbers):026d}"


class Badges:
    """Knows callers by their whole header."""

    def __init__(self, known: dict[bytes, Identity] | None = None) -> None:
        self.known = dict(EVERYBODY) if known is None else known

    async def authenticate(self, authorization: bytes, path: str = "/") -> Identity:
        try:
            return self.known[authorization]
        except KeyError:
            raise Unauthenticated("a bearer key is expected") from None


class ShopGateway:
    """Offers what it is given, and runs each call by the function named for it."""

    def __init__(self, *capabilities: Capability) -> None:
        self.capabilities = {each.name: each for each in capabilities}
        self.runs: dict[str, Run] = {}
        self.hidden: dict[str, frozenset[str]] = {}
        """By subject, names it does not see, of whole servers too."""
        self.unlisted: frozenset[str] = frozenset()
        """Servers that have every resource, listed or not."""
        self.requests: list[Request] = []
        self.records: list[Record] = []
        self.abouts: dict[str, JsonObject] = {}
        self.missing: dict[str, str] = {}
        self.listings = 0
        self._number = 1
        self._changed = anyio.Event()

    @property
    def version(self) -> str:
        return f"v{self._number}"

    def change(self, *capabilities: Capability) -> None:
        for each in capabilities:
            self.capabilities[each.name] = each
        self._number += 1
        woken, self._changed = self._changed, anyio.Event()
        woken.set()

    async def call(self, request: Request, emit: Emit) -> Result:
        self.requests.append(request)
        run = self.runs.get(request.capability)
        if run is None:
            if self.find(request.principal, request.capability) is not None:
                return Complete(body=plain("done"))
            raise NotFound(f"there is nothing called {request.capability}", detail={"record": "rec_1"})
        return await run(request, emit)

    def find(self, principal: Principal, name: str) -> Capability | None:
        owner, _, uri = name.removeprefix("resource:").partition("/")
        has = name.startswith("resource:") and owner in self.unlisted and bool(uri)
        return self.capabilities.get(name) or (replace(resource(uri, owner), definition={}) if has else None)

    def visible(
        self, principal: Principal, kinds: frozenset[CapabilityKind], owner: str = ""
    ) -> tuple[Capability, ...]:
        self.listings += 1
        hidden = self.hidden.get(principal.subject, frozenset())
        found = sorted(self.capabilities.items())
        return tuple(
            each
            for name, each in found
            if each.kind in kinds and (not owner or each.owner == owner) and name not in hidden
        )

    def about(self, owner: str) -> Mapping[str, Json]:
        return self.abouts.get(owner, {})

    def gaps(self, tenant: str) -> Mapping[str, str]:
        return self.missing

    def gaps_for(self, principal: Principal) -> Mapping[str, str]:
        hidden = self.hidden.get(principal.subject, frozenset())
        return {owner: reason for owner, reason in self.missing.items() if owner not in hidden}

    async def settled(self, timeout_s: float) -> None:
        pass

    async def changed(self, version: str) -> str:
        while self.version == version:
            await self._changed.wait()
        return self.version

    def note(self, record: Record) -> None:
        self.records.append(record)


def tool(name: str, owner: str = "orders", schema: Members = None, **more: Json) -> Capability:
    definition: JsonObject = {"name": name, "description": f"does {name}", "inputSchema": schema or {"type": "object"}}
    return Capability(
        name=f"tool:{owner}/{name}",
        kind="tool",
        owner=owner,
        local=name,
        definition={**definition, **more},
        input_schema=schema or {"type": "object"},
    )


def prompt(name: str, owner: str = "orders") -> Capability:
    definition: JsonObject = {"name": name, "arguments": [{"name": "tone"}]}
    return Capability(name=f"prompt:{owner}/{name}", kind="prompt", owner=owner, local=name, definition=definition)


def resource(uri: str, owner: str = "orders") -> Capability:
    definition: JsonObject = {"uri": uri, "name": uri, "vendor": {"kept": None}}
    return Capability(name=f"resource:{owner}/{uri}", kind="resource", owner=owner, local=uri, definition=definition)


def template(text: str, owner: str = "orders") -> Capability:
    definition: JsonObject = {"uriTemplate": text, "name": text}
    return Capability(name=f"resource:{owner}/{text}", kind="template", owner=owner, local=text, definition=definition)


def agent(slug: str) -> Capability:
    return Capability(name=f"agent:{slug}", kind="agent", owner=slug, local=slug, description=f"handles {slug}")


def workflow(slug: str) -> Capability:
    return Capability(name=f"workflow:{slug}", kind="workflow", owner=slug, local=slug)


def answering(raw: bytes, era: Era = "modern") -> Run:
    async def run(request: Request, emit: Emit) -> Result:
        return Complete(body=Answer(raw, era=era))

    return run


def failing(error: Exception) -> Run:
    async def run(request: Request, emit: Emit) -> Result:
        raise error

    return run


@asynccontextmanager
async def opened(
    gateway: Gateway,
    *,
    limits: Limits | None = None,
    pace: Pace | None = None,
    badges: Badges | None = None,
    offers: Offers | None = None,
    challenges: Challenges | None = None,
    within_s: float = 60.0,
) -> AsyncGenerator[McpDoor]:
    door = McpDoor(
        gateway=gateway,
        authenticator=badges or Badges(),
        clock=Ticking(),
        ids=Counting(),
        limits=limits or Limits(),
        pace=pace,
        offers=lambda: offers or Offers(),
        challenges=challenges or BareChallenges(),
    )
    with anyio.fail_after(within_s):
        async with door.running():
            yield door


@asynccontextmanager
async def together() -> AsyncGenerator[TaskGroup]:
    """A task group that type checkers do not take for something that swallows exceptions."""
    async with anyio.create_task_group() as group:
        yield group


@dataclass
class Reply:
    """What an ASGI application sent."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    chunks: list[bytes] = field(default_factory=list[bytes])
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def events(self) -> list[Any]:
        """The messages of an event stream, without the empty one it may begin with."""
        blocks = self.body.split(b"\n\n")
        lines = (line for block in blocks for line in block.split(b"\n"))
        return [msgspec.json.decode(line[6:]) for line in lines if line.startswith(b"data: ") and line != b"data: "]


class Visit:
    """One request to an ASGI application, driven by hand."""

    def __init__(self, method: str, path: str, headers: list[tuple[bytes, bytes]], chunks: list[bytes]) -> None:
        self.scope = {"type": "http", "method": method, "path": path, "headers": headers}
        self.reply = Reply()
        self.left = anyio.Event()
        """Set it to make the client leave."""
        self.written = anyio.Event()
        """Set after each write, and replaced."""
        self.room: anyio.Event | None = None
        """While it is there and unset, nothing can be written."""
        self._chunks = chunks

    async def receive(self) -> dict[str, Any]:
        if self._chunks:
            body = self._chunks.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(self._chunks)}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if self.room is not None:
            await self.room.wait()
        if self.left.is_set():
            return
        if message["type"] == "http.response.start":
            self.reply.status = message["status"]
            self.reply.headers = dict(message["headers"])
        else:
            self.reply.chunks.append(message.get("body", b""))
            self.reply.complete = not message.get("more_body", False)
        woken, self.written = self.written, anyio.Event()
        woken.set()

    async def until(self, text: bytes) -> None:
        """Wait until the answer holds `text`."""
        while text not in self.reply.body:
            await self.written.wait()


class Caller:
    """Sends requests to a door in memory."""

    def __init__(self, door: McpDoor, *, key: str = "ana", path: str = "/mcp") -> None:
        self.door = door
        self.key = key
        self.path = path
        self.session = ""

    def visit(self, body: object, *, method: str = "POST", **headers: str) -> Visit:
        lines = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        lines |= {name.replace("_", "-"): value for name, value in headers.items() if value}
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return Visit(method, self.path, [(k.encode(), v.encode()) for k, v in lines.items()], [raw])

    async def send(self, visit: Visit) -> Reply:
        await self.door(visit.scope, visit.receive, visit.send)
        return visit.reply

    def modern(self, method: str, params: Members = None, /, *, meta: Members = None, **headers: str) -> Visit:
        members = params or {}
        body = modern_body(method, members, meta=meta)
        name = members.get("name" if "name" in members else "uri")
        routing = {"mcp_protocol_version": MODERN, "mcp_method": method}
        if method in ("tools/call", "prompts/get", "resources/read"):
            routing["mcp_name"] = str(name)
        return self.visit(body, **{**routing, **headers})

    async def ask(self, method: str, params: Members = None, /, *, meta: Members = None) -> Reply:
        """A modern request, answered."""
        return await self.send(self.modern(method, params, meta=meta))

    def legacy(self, method: str, params: Members = None, /, *, request_id: Json = 1, **headers: str) -> Visit:
        body: JsonObject = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        if request_id is not None:
            body["id"] = request_id
        return self.visit(body, **{"mcp_session_id": self.session, "mcp_protocol_version": "2025-11-25", **headers})

    async def say(self, method: str, params: Members = None, /, *, request_id: Json = 1) -> Reply:
        """A legacy request, answered; `request_id` None for a notification."""
        return await self.send(self.legacy(method, params, request_id=request_id))

    async def initialize(self, version: str = "2025-11-25", *, capabilities: Members = None) -> Reply:
        able: JsonObject = {"elicitation": {}} if capabilities is None else capabilities
        params: JsonObject = {"protocolVersion": version, "capabilities": able, "clientInfo": {}}
        reply = await self.send(self.legacy("initialize", params, mcp_protocol_version=""))
        self.session = reply.headers.get(b"mcp-session-id", b"").decode()
        return reply


def modern_body(method: str, params: JsonObject, *, meta: Members = None, request_id: Json = 1) -> JsonObject:
    envelope: JsonObject = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
        **(meta or {}),
    }
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {**params, "_meta": envelope}}
