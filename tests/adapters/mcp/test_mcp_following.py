"""Whoever watches a resource goes on hearing of it: over reloads, outages, others' leaving, and in its own name."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from msgspec import Raw

from adapters.mcp.client_callers import McpCallersUpstream
from adapters.mcp.client_http import McpHttpUpstream
from adapters.mcp.settings import ServerSettings
from adapters.mcp.wire import FOLLOWED, Params, decode_value, encode
from gateway.core.errors import Denied, GatewayError, NotFound, Unavailable
from gateway.core.json import JsonObject, json_object, json_text
from gateway.core.model import Capability, Emit, Event, Log, Request, Result
from gateway.core.ports.credentials import UpstreamToken
from gateway.core.ports.world import Secret
from tests.fakes_mcp_client import a_request, parts
from tests.fakes_mcp_door import Caller, ShopGateway, failing, opened, resource, together, tool
from tests.fakes_upstreams import Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio

A = "file:///a"
LISTEN: JsonObject = {"notifications": {"resourceSubscriptions": [A]}}
UPDATED = b'{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a"}}'


class Followings:
    """Runs subscriptions: the first, by which it is judged, is given up; the second ends with an error, where there is
    one; the next go on until canceled."""

    def __init__(self, error: GatewayError | None) -> None:
        self.begun = 0
        self.failed = anyio.Event()
        self.emit: Emit | None = None
        self.following = anyio.Event()
        self.ended = 0
        self._error = error

    async def __call__(self, request: Request, emit: Emit) -> Result:
        self.begun += 1
        if self.begun == 2 and self._error is not None:
            self.failed.set()
            raise self._error
        await emit(Log(level="debug", text=FOLLOWED))
        self.emit = emit
        self.following.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.ended += 1
        raise AssertionError


def shop(run: Followings) -> ShopGateway:
    gateway = ShopGateway(resource(A))
    gateway.runs[f"resource:orders/{A}"] = run
    return gateway


async def test_a_beginning_is_no_change() -> None:
    run = Followings(None)
    async with opened(shop(run)) as door, together() as group:
        caller = Caller(door)
        visit = caller.modern("subscriptions/listen", LISTEN)
        group.start_soon(caller.send, visit)
        await run.following.wait()
        assert run.emit is not None
        await anyio.wait_all_tasks_blocked()
        assert b"resources/updated" not in visit.reply.body
        await run.emit(Log(level="info", text="notifications/resources/updated"))
        await visit.until(b"resources/updated")
        door.stop()


async def test_who_may_no_longer_have_what_no_list_names_hears_no_more_of_it() -> None:
    run, gateway, name = Followings(None), ShopGateway(tool("look", "docs")), f"resource:docs/{A}"
    gateway.unlisted = frozenset({"docs"})
    gateway.abouts["docs"] = {"capabilities": {"resources": {"subscribe": True}}}
    gateway.runs[name] = run
    async with opened(gateway) as door, together() as group:
        caller = Caller(door, path="/mcp/docs")
        visit = caller.modern("subscriptions/listen", LISTEN)
        group.start_soon(caller.send, visit)
        await run.following.wait()
        await anyio.wait_all_tasks_blocked()
        following = run.emit
        assert following is not None and (run.begun, run.ended) == (2, 0)
        gateway.change()
        await anyio.wait_all_tasks_blocked()
        assert (run.begun, run.ended) == (3, 0), "judged again, and followed as before"

        gateway.runs[name] = failing(Denied("no more"))
        gateway.change()
        await following(Log(level="info", text="notifications/resources/updated"))
        await anyio.wait_all_tasks_blocked()
        assert (run.ended, b"resources/updated" in visit.reply.body) == (1, False)

        gateway.runs[name] = run
        gateway.change()
        await visit.until(b"resources/updated")
        door.stop()


@pytest.mark.parametrize("error", [Unavailable("replaced"), Denied("no"), NotFound("gone")])
async def test_what_could_not_be_followed_is_followed_once_something_is_another(error: GatewayError) -> None:
    run = Followings(error)
    gateway = shop(run)
    async with opened(gateway) as door, together() as group:
        caller = Caller(door)
        visit = caller.modern("subscriptions/listen", LISTEN)
        group.start_soon(caller.send, visit)
        await run.failed.wait()
        await anyio.wait_all_tasks_blocked()
        gateway.change()
        await visit.until(b"resources/updated")
        door.stop()
    assert run.begun == 3


async def test_what_is_out_of_reach_is_tried_again_by_itself() -> None:
    run = Followings(Unavailable("down"))
    async with opened(shop(run)) as door, together() as group:
        caller = Caller(door)
        visit = caller.modern("subscriptions/listen", LISTEN)
        group.start_soon(caller.send, visit)
        await visit.until(b"resources/updated")
        door.stop()


class Told:
    """Events of one follower."""

    def __init__(self) -> None:
        self.following = anyio.Event()
        self.updated = anyio.Event()
        self.error: GatewayError | None = None
        self.ended = anyio.Event()
        self.scope = anyio.CancelScope()

    async def __call__(self, event: Event) -> None:
        if isinstance(event, Log) and event.text == FOLLOWED:
            self.following.set()
        else:
            self.updated.set()

    async def follow(self, upstream: McpHttpUpstream | McpCallersUpstream, subject: str = "ana") -> None:
        watched = Capability(name=f"resource:shop/{A}", kind="resource", owner="shop", local=A)
        body = Params({"uri": Raw(encode(A))}, era="modern")
        try:
            with self.scope:
                await upstream.call(a_request(body, operation="subscribe", subject=subject, within_s=60), watched, self)
        except GatewayError as error:
            self.error = error
        self.ended.set()


class Names:
    """Each caller's own token is its name."""

    own: UpstreamToken | None = None

    def key(self, request: Request) -> str:
        return request.principal.subject

    def of(self, key: str) -> UpstreamToken:
        return _Token(key)


class _Token:
    def __init__(self, name: str) -> None:
        self._name = name

    async def get(self, deadline_s: float) -> Secret:
        return Secret(self._name)

    def refused(self, token: Secret) -> None:
        raise AssertionError

    async def wider(self, token: Secret, scopes: tuple[str, ...], deadline_s: float) -> Secret:
        raise AssertionError


def behave(exchange: Exchange) -> None:
    said = json_object(decode_value(exchange.body))
    about: JsonObject = {
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"resources": {"subscribe": True}},
    }
    if said.get("method") == "subscriptions/listen":
        exchange.stream(b'{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged"}')
    else:
        exchange.answer(encode({"jsonrpc": "2.0", "id": said["id"], "result": about}))


async def listened(server: RawServer, token: str = "") -> Exchange:
    """The next stream that asks for the resource, in this caller's name."""
    while True:
        exchange = await server.next()
        said = json_object(decode_value(exchange.body))
        wanted = json_object(json_object(said.get("params")).get("notifications")).get("resourceSubscriptions")
        if json_text(said.get("method")) == "subscriptions/listen" and wanted == [A]:
            assert exchange.headers.get(b"authorization", b"").decode() == (f"Bearer {token}" if token else "")
            return exchange


@asynccontextmanager
async def ground() -> AsyncGenerator[RawServer]:
    with anyio.fail_after(60):
        async with raw_server(behave) as server:
            yield server


async def test_a_caller_hears_of_its_resources_in_its_own_name_and_of_nobody_elses() -> None:
    async with ground() as server:
        upstream = McpCallersUpstream("shop", ServerSettings(url=server.url), parts(), lambda: None, Names())
        first, second, bob = Told(), Told(), Told()
        async with together() as group:
            group.start_soon(first.follow, upstream)
            stream = await listened(server, "ana")
            group.start_soon(second.follow, upstream)
            await second.following.wait()
            group.start_soon(bob.follow, upstream, "bob")
            of_bob = await listened(server, "bob")
            stream.event(UPDATED)
            await first.updated.wait()
            await second.updated.wait()
            assert not bob.updated.is_set()
            # Whoever heard for both leaves: the other takes over, and what was missed in between is told.
            second.updated = anyio.Event()
            first.scope.cancel()
            stream = await listened(server, "ana")
            await second.updated.wait()
            second.updated = anyio.Event()
            stream.event(UPDATED)
            await second.updated.wait()
            of_bob.event(UPDATED)
            await bob.updated.wait()
            group.cancel_scope.cancel()
        await upstream.aclose()


End = Callable[[McpHttpUpstream, anyio.CancelScope], Awaitable[None]]


async def retire(upstream: McpHttpUpstream, watching: anyio.CancelScope) -> None:
    watching.cancel()


async def close(upstream: McpHttpUpstream, watching: anyio.CancelScope) -> None:
    await upstream.aclose()


@pytest.mark.parametrize("end", [retire, close])
async def test_who_follows_a_server_that_is_replaced_learns_of_it(end: End) -> None:
    async with ground() as server:
        upstream, told = McpHttpUpstream("shop", ServerSettings(url=server.url), parts()), Told()
        watching = anyio.CancelScope()

        async def watch() -> None:
            with watching:
                await upstream.watch()

        async with together() as group:
            group.start_soon(watch)
            group.start_soon(told.follow, upstream)
            await listened(server)
            await end(upstream, watching)
            await told.ended.wait()
            group.cancel_scope.cancel()
        assert isinstance(told.error, Unavailable)
        await upstream.aclose()
        late = Told()
        await late.follow(upstream)
        assert isinstance(late.error, Unavailable)


async def test_callers_of_a_server_that_is_replaced_learn_of_it() -> None:
    async with ground() as server:
        upstream = McpCallersUpstream("shop", ServerSettings(url=server.url), parts(), lambda: None, Names())
        told, watching = Told(), anyio.CancelScope()

        async def watch() -> None:
            with watching:
                await upstream.watch()

        async with together() as group:
            group.start_soon(watch)
            group.start_soon(told.follow, upstream)
            await listened(server, "ana")
            watching.cancel()
            await told.ended.wait()
            group.cancel_scope.cancel()
        assert isinstance(told.error, Unavailable)
        await upstream.aclose()
