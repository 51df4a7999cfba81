"""Legacy sessions at the MCP door."""

import pytest

from adapters.mcp.sessions import Sessions
from adapters.mcp.tapes import Tapes
from adapters.mcp.wire import Params
from gateway.core.errors import Unavailable
from gateway.core.json import JsonObject
from gateway.core.limits import Limits
from gateway.core.model import principal
from gateway.core.record import Record
from tests.fakes_mcp_door import ANA, BOB, Caller, Reply, ShopGateway, Ticking, opened, resource, together, tool

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
    ],
)
async def test_the_version_asked_for_is_given_where_it_is_spoken(asked: str, given: str) -> None:
    async with opened(ShopGateway(tool("refund"))) as door:
        caller = Caller(door)
        reply = await caller.initialize(asked)
        pong = await caller.say("ping")
    assert reply.json["result"]["protocolVersion"] == given
    assert reply.json["result"]["serverInfo"]["name"] == "drawbridge"
    assert pong.json == {"jsonrpc": "2.0", "id": 1, "result": {}}


async def test_a_session_answers_its_own_principal_only() -> None:
    async with opened(ShopGateway(tool("refund"))) as door:
        ana, bob = Caller(door), Caller(door, key="bob")
        await ana.initialize()
        bob.session = ana.session
        stolen = await bob.say("ping")
        made_up = Caller(door)
        made_up.session = "nothing"
        unknown = await made_up.say("ping")
        missing = await Caller(door).say("ping")
        mine = await ana.say("ping")
    assert [each.status for each in (stolen, unknown, missing, mine)] == [404, 404, 400, 200]
    assert stolen.body == unknown.body


async def delete(caller: Caller) -> Reply:
    return await caller.send(caller.visit(b"", method="DELETE", mcp_session_id=caller.session))


async def test_a_deleted_session_is_gone() -> None:
    async with opened(ShopGateway(tool("refund"))) as door:
        caller = Caller(door)
        await caller.initialize()
        assert (await delete(caller)).status == 200
        assert (await caller.say("ping")).status == 404
        assert (await delete(caller)).status == 404


async def test_a_get_stream_tells_of_changed_lists_once_at_a_time() -> None:
    gateway = ShopGateway(tool("refund"))
    async with opened(gateway) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        visit = caller.visit(b"", method="GET", mcp_session_id=caller.session, accept="text/event-stream")
        group.start_soon(caller.send, visit)
        await visit.until(b": keep-alive")
        second = await caller.send(caller.visit(b"", method="GET", mcp_session_id=caller.session))
        gateway.change(resource("file:///a"))
        await visit.until(b"resources/list_changed")
        await delete(caller)
    assert second.status == 409
    assert visit.reply.events == [{"jsonrpc": "2.0", "method": "notifications/resources/list_changed"}]
    assert visit.reply.headers[b"mcp-session-id"] == caller.session.encode()
    assert visit.reply.complete


async def test_a_get_stream_can_be_opened_again() -> None:
    async with opened(ShopGateway(tool("refund"))) as door:
        caller = Caller(door)
        await caller.initialize()
        for _ in range(2):
            async with together() as group:
                visit = caller.visit(b"", method="GET", mcp_session_id=caller.session)
                group.start_soon(caller.send, visit)
                await visit.until(b": keep-alive")
                visit.left.set()


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 400),
        ("DELETE", {}, 400),
        ("GET", {"mcp_session_id": "x"}, 404),
        ("GET", {"mcp_protocol_version": "2026-07-28"}, 405),
        ("DELETE", {"mcp_protocol_version": "2026-07-28"}, 405),
        ("PUT", {}, 405),
    ],
)
async def test_other_methods_need_a_session_or_are_not_allowed(
    method: str, headers: dict[str, str], status: int
) -> None:
    async with opened(ShopGateway()) as door:
        caller = Caller(door)
        reply = await caller.send(caller.visit(b"", method=method, **headers))
    assert reply.status == status
    assert (b"allow" in reply.headers) is (status == 405)


async def test_a_get_stream_is_for_those_who_accept_one() -> None:
    async with opened(ShopGateway()) as door:
        caller = Caller(door)
        await caller.initialize()
        reply = await caller.send(caller.visit(b"", method="GET", mcp_session_id=caller.session, accept="text/html"))
    assert reply.status == 406


def test_the_longest_unused_session_makes_room() -> None:
    sessions = Sessions(clock=Standing(), limit=2, idle_s=10, tapes=Tapes(events=0, size_bytes=0))
    first = sessions.open(ANA, "2025-11-25", {})
    second = sessions.open(ANA, "2025-11-25", {})
    assert sessions.find(first.id, ANA) is first
    sessions.open(BOB, "2025-11-25", {})
    assert sessions.find(second.id, ANA) is None
    assert sessions.find(first.id, ANA) is first
    assert len(sessions) == 2


def test_whoever_opens_most_sessions_takes_them_from_nobody_else() -> None:
    sessions = Sessions(clock=Standing(), limit=4, idle_s=10, tapes=Tapes(events=0, size_bytes=0))
    bobs = sessions.open(BOB, "2025-11-25", {})
    mine = [sessions.open(ANA, "2025-11-25", {}) for _ in range(20)]
    assert sessions.find(bobs.id, BOB) is bobs
    assert [sessions.find(each.id, ANA) is each for each in mine] == [False] * 17 + [True] * 3


class Standing(Ticking):
    def monotonic_s(self) -> float:
        return self.ahead_s


class Ringing:
    def __init__(self) -> None:
        self.canceled = False

    def cancel(self) -> None:
        self.canceled = True


def test_an_idle_session_ends_and_a_busy_one_does_not() -> None:
    clock = Standing()
    sessions = Sessions(clock=clock, limit=10, idle_s=10, tapes=Tapes(events=0, size_bytes=0))
    idle, busy = sessions.open(ANA, "2025-11-25", {}), sessions.open(ANA, "2025-11-25", {})
    busy.calls[b"1"] = Ringing()
    clock.ahead_s = 11
    sessions.open(ANA, "2025-11-25", {})
    assert len(sessions) == 2
    assert sessions.find(idle.id, ANA) is None
    assert sessions.find(busy.id, ANA) is busy
    busy.calls.clear()
    clock.ahead_s = 30
    assert sessions.find(busy.id, ANA) is None


def test_acting_for_somebody_else_is_another_owner() -> None:
    sessions = Sessions(clock=Standing(), limit=10, idle_s=10, tapes=Tapes(events=0, size_bytes=0))
    mine = sessions.open(ANA, "2025-11-25", {})
    assert sessions.find(mine.id, principal("ana", behind=BOB)) is None
    assert sessions.find(mine.id, principal("ana", tenant="other")) is None


async def test_sessions_are_bounded_at_the_door() -> None:
    async with opened(ShopGateway(), limits=Limits(sessions=1)) as door:
        first, second = Caller(door), Caller(door)
        await first.initialize()
        await second.initialize()
        assert (await first.say("ping")).status == 404
        assert (await second.say("ping")).status == 200


async def test_get_streams_are_bounded_too() -> None:
    async with opened(ShopGateway(tool("refund")), limits=Limits(streams=0)) as door:
        caller = Caller(door)
        await caller.initialize()
        reply = await caller.send(caller.visit(b"", method="GET", mcp_session_id=caller.session))
    assert (reply.status, reply.json["error"]["code"]) == (429, 1429)


class Full(ShopGateway):
    def note(self, record: Record) -> None:
        raise Unavailable("the audit log takes no more records")


async def test_what_cannot_be_recorded_is_not_served_and_a_stranger_is_still_refused() -> None:
    async with opened(Full(tool("refund"))) as door:
        listed = await Caller(door).ask("tools/list")
        stranger = await Caller(door, key="eve").ask("tools/list")
    assert listed.json["error"]["code"] == 1503
    assert stranger.status == 401


async def test_a_door_that_is_not_open_serves_nobody() -> None:
    async with opened(ShopGateway()) as door:
        pass
    with pytest.raises(RuntimeError):
        await Caller(door).ask("tools/list")


async def test_extensions_and_experiments_are_known_on_both_sides() -> None:
    tasks, ui = "io.modelcontextprotocol/tasks", "io.modelcontextprotocol/ui"
    gateway = ShopGateway(tool("refund"))
    declared: JsonObject = {"extensions": {ui: {"a": None}, tasks: {}}, "experimental": {"mine": {}}}
    gateway.abouts = {"orders": {"capabilities": {"tools": {}, **declared}}}
    async with opened(gateway) as door:
        caller = Caller(door)
        said = (await caller.initialize(capabilities={"sampling": {}, "tasks": {}, **declared})).json["result"]
        await caller.say("tools/call", {"name": "orders__refund"})
        modern = (await caller.ask("server/discover")).json["result"]
    known: JsonObject = {"extensions": {ui: {"a": None}}, "experimental": {"mine": {}}}
    assert {name: said["capabilities"].get(name) for name in known} == known
    assert {name: modern["capabilities"].get(name) for name in known} == declared
    body = gateway.requests[-1].body
    assert isinstance(body, Params) and body.said_before is not None
    assert body.said_before.capabilities == {"sampling": {}, **known}
