"""What the last stretch of the path does about targets that fail or are full."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio
import pytest

from gateway.core.content import plain
from gateway.core.errors import (
    DeadlineExceeded,
    Denied,
    Exhausted,
    GatewayError,
    InvalidRequest,
    NotFound,
    Unavailable,
    UpstreamFailed,
)
from gateway.core.limits import Bounds, Limits
from gateway.core.model import Capability, Complete, Emit, Request, Result, principal
from gateway.core.ports.upstream import Listing
from gateway.core.resilience import CANCELS_AT_ONCE
from tests.fakes import ANA, FakeUpstream, Path, a_request, tool

pytestmark = pytest.mark.anyio

FIND = tool("find", effect="read")
REFUNDS = replace(tool("", owner="refunds", kind="agent"), name="agent:refunds", local="refunds")


class Moody:
    """Answers, unless it has a failure left."""

    def __init__(self, *failures: GatewayError | None) -> None:
        self.failures = list(failures)

    async def __call__(self, request: Request, capability: Capability, emit: Emit) -> Result:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        return Complete(body=plain("done"))


def broken(count: int = 3) -> list[GatewayError]:
    return [UpstreamFailed("it died") for _ in range(count)]


async def fails(path: Path, *requests: Request) -> list[str]:
    """The reasons for which the calls fail, one after another."""
    reasons: list[str] = []
    for each in requests:
        with pytest.raises(GatewayError) as failed:
            await path.call(each)
        reasons.append(failed.value.wire.reason)
    return reasons


FIND_IT = a_request("tool:orders/find")


async def test_a_target_that_failed_three_times_in_a_row_is_not_called_until_a_probe_succeeds() -> None:
    upstream = FakeUpstream("orders", [FIND], Moody(*broken()))
    path = Path(upstream)
    await fails(path, *[FIND_IT] * 3)
    with pytest.raises(Unavailable) as refused:
        await path.call(FIND_IT)
    assert len(upstream.calls) == 3
    assert refused.value.detail["breaker"] == "open"
    assert refused.value.retry_after_s == 30.0
    path.clock.advance(30)
    assert isinstance(await path.call(FIND_IT), Complete)
    assert isinstance(await path.call(FIND_IT), Complete)
    assert [each.detail.get("breaker") for each in path.audit.records] == [None, None, "opened", "open", "probe", None]


async def test_only_one_call_finds_out_whether_a_target_is_back() -> None:
    started, go_on = anyio.Event(), anyio.Event()
    moody = Moody(*broken())

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        if not moody.failures:
            started.set()
            await go_on.wait()
        return await moody(request, capability, emit)

    upstream = FakeUpstream("orders", [FIND], behave)
    path = Path(upstream)
    await fails(path, *[FIND_IT] * 3)
    path.clock.advance(30)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(path.call, FIND_IT)
            await started.wait()
            with pytest.raises(Unavailable):
                await path.call(FIND_IT)
            assert len(upstream.calls) == 4
            go_on.set()
    assert isinstance(await path.call(FIND_IT), Complete)


async def test_a_probe_that_is_canceled_leaves_the_question_to_the_next_call() -> None:
    started = anyio.Event()
    moody = Moody(*broken())

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        if not moody.failures and not started.is_set():
            started.set()
            await anyio.sleep_forever()
        return await moody(request, capability, emit)

    path = Path(FakeUpstream("orders", [FIND], behave))
    await fails(path, *[FIND_IT] * 3)
    path.clock.advance(30)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(path.call, FIND_IT)
            await started.wait()
            tasks.cancel_scope.cancel()
    assert isinstance(await path.call(FIND_IT), Complete)


async def test_a_breaker_closes_one_tool_and_no_other_of_its_server() -> None:
    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        if capability.local == "find":
            raise UpstreamFailed("it died")
        return Complete(body=plain("done"))

    path = Path(FakeUpstream("orders", [FIND, tool("list", effect="read")], behave))
    await fails(path, *[FIND_IT] * 3)
    assert await fails(path, FIND_IT) == ["UNAVAILABLE"]
    assert isinstance(await path.call(a_request("tool:orders/list")), Complete)


@pytest.mark.parametrize(
    "failure",
    [
        *(InvalidRequest("no such argument"), NotFound("gone"), Exhausted("busy"), Denied("a policy")),
        UpstreamFailed("orders: no", detail={"upstream": {"code": -32000, "message": "no"}}),
        None,
    ],
)
async def test_what_says_nothing_about_the_target_opens_nothing(failure: GatewayError | None) -> None:
    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        if failure is None:
            return Complete(body=plain("no such order"), is_error=True)
        raise failure

    upstream = FakeUpstream("orders", [FIND], behave)
    path = Path(upstream)
    for _ in range(5):
        if failure is None:
            await path.call(FIND_IT)
        else:
            await fails(path, FIND_IT)
    assert len(upstream.calls) == 5


@pytest.mark.parametrize(
    "failure",
    [Unavailable("refused"), UpstreamFailed("orders: no", detail={"upstream": {"code": -32603, "message": "no"}})],
)
async def test_a_target_that_cannot_be_reached_or_says_that_it_is_broken_has_failed(failure: GatewayError) -> None:
    path = Path(FakeUpstream("orders", [FIND], Moody(failure, failure, failure)))
    await fails(path, *[FIND_IT] * 3)
    with pytest.raises(Unavailable, match="3 times in a row"):
        await path.call(FIND_IT)


def late(path: Callable[[], Path], after_s: float) -> Callable[[Request, Capability, Emit], Awaitable[Result]]:
    """Takes its time, by the path's own clock, and then had too little of it."""

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        path().clock.advance(after_s)
        raise DeadlineExceeded("it did not finish in time")

    return behave


@pytest.mark.parametrize(
    ("timeout_s", "caller_has_s", "takes_s", "opens"),
    [(2.0, 60.0, 2.0, True), (None, 1.0, 1.0, False), (None, 60.0, 60.0, True), (30.0, 5.0, 5.0, False)],
)
async def test_a_deadline_is_the_targets_failure_only_where_it_was_its_own(
    timeout_s: float | None, caller_has_s: float, takes_s: float, opens: bool
) -> None:
    upstream = FakeUpstream("orders", [replace(FIND, timeout_s=timeout_s)])
    path = Path(upstream)
    upstream.behave = late(lambda: path, takes_s)
    for _ in range(3):
        await fails(path, a_request("tool:orders/find", deadline_s=path.clock.monotonic_s() + caller_has_s))
    await fails(path, FIND_IT)
    assert len(upstream.calls) == (3 if opens else 4)


async def test_an_agents_task_can_be_given_up_while_its_breaker_is_open() -> None:
    upstream = FakeUpstream("refunds", [REFUNDS], Moody(*broken()))
    path = Path(upstream)
    await fails(path, *[a_request("agent:refunds")] * 3)
    assert await fails(path, a_request("agent:refunds", operation="task.get")) == ["UNAVAILABLE"]
    assert isinstance(await path.call(a_request("agent:refunds", operation="task.cancel")), Complete)


async def test_an_effect_an_open_breaker_refused_was_never_begun() -> None:
    path = Path(FakeUpstream("orders", [tool()], Moody(*broken())))
    await fails(path, *[a_request(key=f"k{number}") for number in range(3)])
    await fails(path, a_request(key="k4"))
    assert ("default", "default/ana:k4") not in path.ledger.effects
    path.clock.advance(30)
    assert isinstance(await path.call(a_request(key="k4")), Complete)


async def test_no_failures_means_no_breakers() -> None:
    upstream = FakeUpstream("orders", [FIND], Moody(*broken(9)))
    path = Path(upstream, limits=Limits(breaker_failures=0))
    await fails(path, *[FIND_IT] * 9)
    assert len(upstream.calls) == 9


async def test_what_is_known_of_a_target_outlives_a_new_listing_but_not_a_new_target() -> None:
    upstream = FakeUpstream("orders", [FIND], Moody(*broken(9)))
    path = Path(upstream)
    await fails(path, *[FIND_IT] * 3)
    path.shelf.arrived("orders", Listing(capabilities=(replace(FIND, description="anew"),)))
    path.pipeline.swap(path.snapshot("2"))
    await fails(path, FIND_IT)
    assert len(upstream.calls) == 3
    other = FakeUpstream("orders", [FIND])
    path.shelf.add(other, "default")
    path.shelf.arrived("orders", Listing(capabilities=other.offered))
    path.pipeline.swap(path.snapshot("3"))
    assert isinstance(await path.call(FIND_IT), Complete)


class Slow:
    """Answers when it is told."""

    def __init__(self) -> None:
        self.go_on = anyio.Event()

    async def __call__(self, request: Request, capability: Capability, emit: Emit) -> Result:
        await self.go_on.wait()
        return Complete(body=plain("done"))


async def test_a_tool_with_room_of_its_own_leaves_the_servers_to_the_others() -> None:
    slow = Slow()
    narrow = replace(FIND, bounds=Bounds(concurrency=1, owner_concurrency=2, owner_queue=1))
    wide = replace(tool("list", effect="read"), bounds=Bounds(owner_concurrency=2, owner_queue=1))
    upstream = FakeUpstream("orders", [narrow, wide], slow)
    path = Path(upstream)
    find = a_request("tool:orders/find", deadline_s=path.clock.monotonic_s() + 5)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for each in (find, find, a_request("tool:orders/list")):
                tasks.start_soon(path.call, each)
                await anyio.wait_all_tasks_blocked()
            (owner, _), *_ = path.pipeline.load("default").owners
            assert [call.capability for call in upstream.calls] == ["tool:orders/find", "tool:orders/list"]
            assert (owner.places.in_flight, owner.places.waiting, owner.places.concurrency) == (2, 0, 2)
            assert [(each.in_flight, each.waiting) for each in owner.capabilities] == [(1, 1)]
            with pytest.raises(Exhausted):
                await path.call(find)
            slow.go_on.set()


async def test_a_cancellation_is_heard_by_an_agent_that_is_full_of_what_it_cancels() -> None:
    slow = Slow()

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        if request.operation == "task.cancel":
            return Complete(body=plain("stopped"))
        return await slow(request, capability, emit)

    busy = replace(REFUNDS, bounds=Bounds(owner_concurrency=1, owner_queue=1))
    path = Path(FakeUpstream("refunds", [busy], behave))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(path.call, a_request("agent:refunds"))
                await anyio.wait_all_tasks_blocked()
            with pytest.raises(Exhausted):
                await path.call(a_request("agent:refunds"))
            assert isinstance(await path.call(a_request("agent:refunds", operation="task.cancel")), Complete)
            slow.go_on.set()


async def test_cancellations_are_bounded_as_well() -> None:
    slow = Slow()
    path = Path(FakeUpstream("refunds", [REFUNDS], slow), limits=Limits(upstream_queue=1))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(CANCELS_AT_ONCE + 1):
                tasks.start_soon(path.call, a_request("agent:refunds", operation="task.cancel"))
                await anyio.wait_all_tasks_blocked()
            with pytest.raises(Exhausted):
                await path.call(a_request("agent:refunds", operation="task.cancel"))
            slow.go_on.set()


async def test_one_tenant_cannot_starve_another_at_a_shared_upstream() -> None:
    slow = Slow()
    path = Path(
        FakeUpstream("orders", [replace(FIND, tenant="*")], slow),
        limits=Limits(upstream_concurrency=4, upstream_queue=2, tenant_concurrency=3, tenant_queue=1),
        tenant="*",
    )
    eve = principal("eve", tenant="other")
    done: list[str] = []

    async def call(request: Request) -> None:
        await path.call(request)
        done.append(request.principal.tenant)

    find = a_request("tool:orders/find", who=ANA, deadline_s=path.clock.monotonic_s() + 5)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(call, find)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(Exhausted):
                await path.call(find)
            tasks.start_soon(call, a_request("tool:orders/find", who=eve))
            await anyio.wait_all_tasks_blocked()
            assert path.pipeline.load("other").owners[0][0].places.in_flight == 4
            slow.go_on.set()
    assert sorted(done) == ["default"] * 4 + ["other"]


async def test_load_shows_a_tenant_its_own_and_what_is_not_in_order() -> None:
    path = Path(FakeUpstream("orders", [FIND], Moody(*broken(1))), FakeUpstream("refunds", [REFUNDS]))
    await fails(path, FIND_IT)
    await path.call(a_request("agent:refunds"))
    load = path.pipeline.load("default")
    assert [(owner.owner, owner.places.in_flight, owner.places.queue) for owner, _ in load.owners] == [
        ("orders", 0, 256),
        ("refunds", 0, 256),
    ]
    assert [(each.target, each.state, each.failures) for owner, _ in load.owners for each in owner.breakers] == [
        ("tool:orders/find", "closed", 1)
    ]
    assert path.pipeline.load("other").owners == ()
