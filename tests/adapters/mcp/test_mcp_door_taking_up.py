"""Legacy clients whose connection broke take their streams up again: what they missed, of that stream only."""

import anyio
import pytest

from adapters.mcp.exchange import Pace
from adapters.mcp.tapes import SHARE, Shelf, Tape, Tapes
from adapters.mcp.wire import Answer
from gateway.core.errors import NotFound
from gateway.core.json import JsonObject
from gateway.core.limits import Limits
from gateway.core.model import Complete, Emit, Progress, Request, Result
from tests.fakes_mcp_door import Caller, Reply, ShopGateway, Visit, opened, together, tool

pytestmark = pytest.mark.anyio
REFUND: JsonObject = {"name": "orders__refund", "arguments": {}, "_meta": {"progressToken": 1}}
QUICK = Pace(keep_alive_s=0.05, attend_after_s=0.01)


class Stages:
    """A tool that tells of progress, waits to be let on, tells once more, and answers."""

    def __init__(self) -> None:
        self.let_on = anyio.Event()

    async def __call__(self, request: Request, emit: Emit) -> Result:
        await emit(Progress(progress=1))
        await self.let_on.wait()
        await emit(Progress(progress=2))
        return Complete(body=Answer(b'{"content":[]}', era="legacy"))


def shop(run: Stages) -> ShopGateway:
    gateway = ShopGateway(tool("refund"))
    gateway.runs["tool:orders/refund"] = run
    return gateway


def ids(reply: Reply) -> list[str]:
    return [line[4:].decode() for line in reply.body.split(b"\n") if line.startswith(b"id: ")]


def told(reply: Reply) -> list[int | str]:
    """Progress, and the id of the answer."""
    return [each["params"]["progress"] if "method" in each else each["id"] for each in reply.events]


def reading_on(caller: Caller, last: str, **headers: str) -> Visit:
    return caller.visit(b"", method="GET", mcp_session_id=caller.session, last_event_id=last, **headers)


async def test_a_call_goes_on_and_is_taken_up_where_its_connection_broke() -> None:
    run = Stages()
    async with opened(shop(run)) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        visit = caller.legacy("tools/call", REFUND, request_id="call")
        group.start_soon(caller.send, visit)
        await visit.until(b'"progress":1')
        visit.left.set()
        again = reading_on(caller, ids(visit.reply)[-1])
        group.start_soon(caller.send, again)
        run.let_on.set()
        await again.until(b'"result"')
        late = await caller.send(reading_on(caller, ids(visit.reply)[0]))
    assert told(visit.reply) == [1]
    assert told(again.reply) == [2, "call"]
    assert told(late) == [1, 2, "call"]
    assert late.complete
    assert ids(visit.reply) + ids(again.reply) == ["1-0", "1-1", "1-2", "1-3"]
    assert again.reply.headers[b"mcp-session-id"].decode() == caller.session


async def test_no_message_goes_to_two_streams() -> None:
    run = Stages()
    async with opened(shop(run)) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        visit = caller.legacy("tools/call", REFUND, request_id="call")
        group.start_soon(caller.send, visit)
        await visit.until(b'"progress":1')
        first, second = reading_on(caller, "1-1"), reading_on(caller, "1-1")
        for each in (first, second):
            group.start_soon(caller.send, each)
            await each.until(b": keep-alive")
        run.let_on.set()
        await second.until(b'"result"')
    assert [told(each.reply) for each in (visit, first, second)] == [[1], [], [2, "call"]]
    assert visit.reply.complete
    assert first.reply.complete


async def test_a_stream_is_taken_up_by_its_own_principal_in_its_own_session_only() -> None:
    run = Stages()
    run.let_on.set()
    async with opened(shop(run)) as door:
        ana, again, bob = Caller(door), Caller(door), Caller(door, key="bob")
        for each in (ana, again, bob):
            await each.initialize()
        assert told(await ana.send(ana.legacy("tools/call", REFUND, request_id="call"))) == [1, 2, "call"]
        assert [(await each.send(reading_on(each, "1-0"))).status for each in (again, bob)] == [410, 410]
        bob.session = ana.session
        assert (await bob.send(reading_on(bob, "1-0"))).status == 404
        assert told(await ana.send(reading_on(ana, "1-0"))) == [1, 2, "call"]


@pytest.mark.parametrize(
    ("last", "status"),
    [("", 400), ("x", 400), ("1-", 400), ("1-99", 400), ("99-0", 410), ("1-" + "9" * 99, 400), ("²-1", 400)],
)
async def test_an_id_that_is_none_gets_a_clear_answer(last: str, status: int) -> None:
    run = Stages()
    run.let_on.set()
    async with opened(shop(run)) as door:
        caller = Caller(door)
        await caller.initialize()
        await caller.send(caller.legacy("tools/call", REFUND))
        lines = {b"authorization": b"Bearer ana", b"mcp-session-id": caller.session.encode()}
        visit = Visit("GET", "/mcp", [*lines.items(), (b"last-event-id", last.encode())], [b""])
        reply = await caller.send(visit)
    assert (reply.status, "error" in reply.json) == (status, True)


@pytest.mark.parametrize(("version", "primed"), [("2025-11-25", 1), ("2025-06-18", 0), ("2024-11-05", None)])
async def test_ids_are_given_as_each_version_knows_them(version: str, primed: int | None) -> None:
    run = Stages()
    run.let_on.set()
    async with opened(shop(run)) as door:
        caller = Caller(door)
        await caller.initialize(version)
        reply = await caller.send(caller.legacy("tools/call", REFUND))
        refused = await caller.send(reading_on(caller, "x"))
    assert len(ids(reply)) == (0 if primed is None else 3 + primed)
    assert refused.status == 400


async def test_what_is_no_longer_kept_is_said_to_be() -> None:
    run = Stages()
    run.let_on.set()
    async with opened(shop(run), limits=Limits(kept_events=2 * SHARE)) as door:
        caller = Caller(door)
        await caller.initialize()
        await caller.send(caller.legacy("tools/call", REFUND, request_id="call"))
        gone = await caller.send(reading_on(caller, "1-0"))
        assert told(await caller.send(reading_on(caller, "1-1"))) == [2, "call"]
        assert (await caller.send(reading_on(caller, "1-3"))).events == []
    assert gone.status == 410
    assert "no longer kept" in gone.json["error"]["message"]


async def test_a_stream_of_changes_tells_what_changed_meanwhile() -> None:
    gateway = ShopGateway(tool("refund"))
    async with opened(gateway) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        visit = caller.visit(b"", method="GET", mcp_session_id=caller.session)
        group.start_soon(caller.send, visit)
        await visit.until(b"id: ")
        visit.left.set()
        await anyio.wait_all_tasks_blocked()
        gateway.change(tool("cancel"))
        again = reading_on(caller, ids(visit.reply)[-1])
        group.start_soon(caller.send, again)
        await again.until(b"tools/list_changed")
        again.left.set()
        await anyio.wait_all_tasks_blocked()
        third = reading_on(caller, ids(visit.reply)[-1])
        group.start_soon(caller.send, third)
        await third.until(b"tools/list_changed")
        assert third.reply.events == again.reply.events
        third.left.set()


async def test_the_end_of_a_session_is_the_end_of_who_reads_in_it() -> None:
    async with opened(shop(Stages())) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        visit = caller.legacy("tools/call", REFUND)
        group.start_soon(caller.send, visit)
        await visit.until(b'"progress":1')
        again = reading_on(caller, "1-0")
        group.start_soon(caller.send, again)
        await again.until(b'"progress":1')
        await caller.send(caller.visit(b"", method="DELETE", mcp_session_id=caller.session))
    assert again.reply.complete


def test_what_is_kept_is_bounded_in_a_session_and_in_all() -> None:
    tapes = Tapes(events=4 * SHARE, size_bytes=SHARE * 100_000)
    shelves = [_shelf(tapes) for _ in range(2 * SHARE)]
    streams: list[Tape] = []
    for shelf in shelves:
        streams.append(shelf.open())
        for _ in range(10):
            streams[-1].keep(b"data: x\n\n")
    assert tapes.events == sum(len(each.events) for each in shelves) == 4 * SHARE
    assert [len(each.events) for each in shelves] == [0] * SHARE + [4] * SHARE
    with pytest.raises(NotFound):
        shelves[0].find(b"1-9")
    assert shelves[-1].find(b"1-6") == (streams[-1], 6)
    streams[-1].keep(b"x" * 100_000)
    assert len(shelves[-1].events) == 0
    for shelf in shelves:
        shelf.close()
    assert (tapes.events, tapes.size_bytes) == (0, 0)


def _shelf(tapes: Tapes) -> Shelf:
    shelf = tapes.shelf_for("2025-11-25")
    assert shelf is not None
    return shelf
