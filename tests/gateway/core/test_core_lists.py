"""Catalog, shelf and the tasks that keep lists warm; the bulkhead."""

import anyio
import pytest

from gateway.core.bulkhead import Bulkhead, room
from gateway.core.catalog import Catalog, Shelf
from gateway.core.errors import DeadlineExceeded, Exhausted, UpstreamFailed
from gateway.core.limits import Limits
from gateway.core.lists import Lists
from gateway.core.model import CapabilityKind
from gateway.core.ports.upstream import Listing
from tests.fakes import FakeClock, FakeUpstream, tool

pytestmark = pytest.mark.anyio
TOOLS: frozenset[CapabilityKind] = frozenset({"tool"})


class Flaky(FakeUpstream):
    """Answers its lists as a script says, and then for ever with the last."""

    def __init__(self, name: str, *script: object) -> None:
        super().__init__(name, [tool("a", owner=name)])
        self.script = list(script)
        self.asked = 0
        self.once, self.twice = anyio.Event(), anyio.Event()

    async def capabilities(self) -> Listing:
        self.asked += 1
        (self.once if self.asked == 1 else self.twice).set()
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if step == "hang":
            await anyio.sleep_forever()
        if isinstance(step, Exception):
            raise step
        return Listing(capabilities=self.offered)


async def run(lists: Lists, until: anyio.Event) -> None:
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            lists.start(tasks)
            await until.wait()
            tasks.cancel_scope.cancel()


async def test_one_hanging_upstream_delays_nobody_and_is_named() -> None:
    shelf, seen = Shelf(), anyio.Event()
    lists = Lists(shelf, limits=Limits(), on_change=seen.set)
    lists.add(Flaky("slow", "hang"), "default")
    lists.add(Flaky("fast", "ok"), "default")
    await run(lists, seen)
    catalog = shelf.catalog()
    assert [each.name for each in catalog.of("default", TOOLS)] == ["tool:fast/a"]
    assert catalog.gaps("default") == {"slow": "has not answered yet"}
    assert catalog.gaps("other") == {}


async def test_what_was_listed_stays_when_a_later_attempt_fails() -> None:
    shelf = Shelf()
    upstream = FakeUpstream("orders", [tool("a")])
    shelf.add(upstream, "default")
    assert shelf.arrived("orders", Listing(capabilities=upstream.offered, about={"v": 1}))
    assert not shelf.arrived("orders", Listing(capabilities=upstream.offered, about={"v": 1}))
    assert shelf.failed("orders", "it answered HTML")
    assert not shelf.failed("orders", "it answered HTML")
    assert shelf.sources()[0].for_operators == "it answered HTML"
    catalog = shelf.catalog()
    assert catalog.find("default", "tool:orders/a") is not None
    assert catalog.gaps("default") == {"orders": "it answered HTML"}
    assert catalog.about("orders") == {"v": 1}
    assert (catalog.about("none"), Catalog().about("x")) == ({}, {})
    assert not shelf.arrived("none", Listing(capabilities=()))
    assert not shelf.failed("none", "x")
    assert len(shelf.sources()) == 1


async def test_every_tenants_capability_is_found_by_all_and_a_tenants_own_by_it_alone() -> None:
    shelf = Shelf()
    for owner, tenant in (("shared", "*"), ("mine", "default")):
        upstream = FakeUpstream(owner, [tool("a", owner=owner, tenant=tenant)])
        shelf.add(upstream, tenant)
        shelf.arrived(owner, Listing(capabilities=upstream.offered))
    catalog = shelf.catalog()
    assert [each.owner for each in catalog.of("default", TOOLS)] == ["mine", "shared"]
    assert [each.owner for each in catalog.of("other", TOOLS)] == ["shared"]
    assert [each.owner for each in catalog.of("default", TOOLS, "mine")] == ["mine"]
    assert catalog.find("other", "tool:mine/a") is None


async def test_a_failed_upstream_is_tried_again_and_a_change_is_read_at_once() -> None:
    shelf, changes, seen = Shelf(), 0, anyio.Event()
    upstream = Flaky("orders", UpstreamFailed("HTML"), RuntimeError("bug"), "ok")

    def on_change() -> None:
        nonlocal changes
        changes += 1
        lists.poke("orders")
        lists.poke("nobody")
        if changes == 3:
            seen.set()

    lists = Lists(shelf, limits=Limits(refresh_s=0.01), on_change=on_change)
    lists.add(upstream, "default")
    await run(lists, seen)
    assert shelf.catalog().gaps("default") == {}
    assert upstream.asked >= 3


async def test_names_that_are_no_callers_business_are_kept_for_operators_alone() -> None:
    shelf, seen = Shelf(), anyio.Event()
    lists = Lists(shelf, limits=Limits(), on_change=seen.set)
    lists.add(Flaky("orders", UpstreamFailed("set up wrongly", for_operators="TOKEN is not set")), "default")
    await run(lists, seen)
    assert shelf.catalog().gaps("default") == {"orders": "set up wrongly"}
    assert shelf.catalog().sources["orders"].for_operators == "TOKEN is not set"


async def test_who_listens_for_changes_is_heard_and_may_fail_without_harm() -> None:
    shelf, seen = Shelf(), anyio.Event()
    lists = Lists(shelf, limits=Limits(), on_change=lambda: None)
    upstream = Flaky("orders", "ok")

    async def watch() -> None:
        await upstream.once.wait()
        lists.poke("orders")
        await upstream.twice.wait()
        seen.set()
        raise RuntimeError("bug")

    lists.add(upstream, "default", watch)
    await run(lists, seen)
    assert upstream.asked == 2


async def test_an_attempt_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.core.lists.LIST_ATTEMPT_S", 0.01)
    shelf, seen = Shelf(), anyio.Event()
    lists = Lists(shelf, limits=Limits(), on_change=seen.set)
    lists.add(Flaky("slow", "hang"), "default")
    await run(lists, seen)
    assert "did not answer" in shelf.catalog().gaps("default")["slow"]


async def test_a_retired_upstream_leaves_the_shelf_at_once_and_is_closed_after_its_calls() -> None:
    shelf, seen = Shelf(), anyio.Event()
    lists = Lists(shelf, limits=Limits(call_timeout_s=0.0), on_change=seen.set)
    first, second = Flaky("a", "ok"), Flaky("b", "ok")
    lists.add(first, "default")
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            lists.start(tasks)
            lists.add(second, "default")
            await seen.wait()
            lists.retire("a")
            lists.retire("nobody")
            assert "a" not in shelf.catalog().sources
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert first.closed
    await lists.aclose()
    assert second.closed
    unstarted = Lists(Shelf(), limits=Limits(), on_change=seen.set)
    unstarted.add(Flaky("c", "ok"), "default")
    unstarted.retire("c")


async def test_a_bulkhead_hands_places_on_in_order_and_gives_up_at_the_deadline() -> None:
    clock = FakeClock()
    bulkhead = Bulkhead("orders", room(1, 2), clock=clock)
    order: list[str] = []
    gave_up = anyio.Event()

    async def enter(name: str, deadline_s: float) -> None:
        try:
            await bulkhead.enter("default", deadline_s)
        except DeadlineExceeded:
            order.append(f"{name} gave up")
            gave_up.set()
        else:
            order.append(name)

    await bulkhead.enter("default", 2000)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter, "late", clock.monotonic_s())
            tasks.start_soon(enter, "next", clock.monotonic_s() + 5)
            await gave_up.wait()
            bulkhead.leave("default")
    assert order == ["late gave up", "next"]
    assert (bulkhead.in_flight, bulkhead.waiting) == (1, 0)
    bulkhead.leave("default")
    assert bulkhead.in_flight == 0


async def test_a_canceled_wait_leaves_the_line_and_passes_on_what_it_was_just_given() -> None:
    bulkhead = Bulkhead("orders", room(1, 2), clock=FakeClock())
    await bulkhead.enter("default", 2000)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bulkhead.enter, "default", 2000)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            bulkhead.leave("default")
    assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)
    assert bulkhead.try_enter("default")


async def test_a_wait_that_is_canceled_while_in_line_leaves_it() -> None:
    bulkhead = Bulkhead("orders", room(1, 2), clock=FakeClock())
    await bulkhead.enter("default", 2000)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bulkhead.enter, "default", 2000)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert (bulkhead.in_flight, bulkhead.waiting) == (1, 0)


async def test_a_full_queue_refuses() -> None:
    bulkhead = Bulkhead("orders", room(1, 0), clock=FakeClock())
    await bulkhead.enter("default", 2000)
    with pytest.raises(Exhausted):
        await bulkhead.enter("default", 2000)
