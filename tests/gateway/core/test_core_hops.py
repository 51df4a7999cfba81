"""Agents that call each other by the way end where the depth of the first call ends."""

import itertools
from collections.abc import Callable

import anyio
import pytest
from msgspec import structs

from gateway.core.content import Plain, content_of
from gateway.core.errors import Exhausted
from gateway.core.model import Capability, Complete, Emit, Principal, Request, Result, principal
from gateway.core.ports.storage import AtWork
from tests.fakes import ANA, FakeUpstream, Path, a_request

pytestmark = pytest.mark.anyio


def agent(slug: str) -> Capability:
    return Capability(name=f"agent:{slug}", kind="agent", owner=slug, local=slug)


def as_agent(slug: str) -> Principal:
    return principal(f"agent:{slug}", kind="agent", behind=ANA)


def a_call(slug: str, *, by: Principal = ANA, depth: int = 4, step: tuple[str, str] = ("", "")) -> Request:
    request = a_request(f"agent:{slug}", who=by, run=step)
    return structs.replace(request, budget=structs.replace(request.budget, depth=depth))


def ring(path: list[Path], *, slugs: str = "abc", step: Callable[[str], tuple[str, str]]) -> list[FakeUpstream]:
    """Agents of which each calls the next, for ever."""

    def upstream(slug: str) -> FakeUpstream:
        following = slugs[(slugs.index(slug) + 1) % len(slugs)]

        async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
            return await path[0].call(a_call(following, by=as_agent(slug), step=step(slug)))

        return FakeUpstream(slug, [agent(slug)], behave)

    return [upstream(slug) for slug in slugs]


@pytest.mark.parametrize("depth", [0, 1, 4])
@pytest.mark.parametrize("token", [True, False])
async def test_a_ring_of_agents_ends_with_the_depth_of_the_first_call(depth: int, token: bool) -> None:
    around: list[Path] = []
    upstreams = ring(around, step=lambda slug: ("run", "run/1") if token else ("", ""))
    around.append(Path(*upstreams))
    with anyio.fail_after(30), pytest.raises(Exhausted) as caught:
        await around[0].call(a_call("a", depth=depth, step=("run", "run/1")))
    assert caught.value.detail["limit"] == "depth"
    assert sum(len(upstream.calls) for upstream in upstreams) == depth + 1
    assert [call.budget.depth for upstream in upstreams for call in upstream.calls[:1]][: depth + 1] == [
        depth - hop for hop in range(min(3, depth + 1))
    ]


async def test_with_a_token_the_depth_of_its_own_step_counts() -> None:
    both, release = anyio.Event(), anyio.Event()
    arrived: list[Request] = []

    async def at_work(request: Request, capability: Capability, emit: Emit) -> Result:
        arrived.append(request)
        if len(arrived) == 2:
            both.set()
        await release.wait()
        return Complete(body=Plain(content_of({})))

    path = Path(FakeUpstream("a", [agent("a")], at_work), FakeUpstream("b", [agent("b")]))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(path.call, a_call("a", depth=0, step=("r", "r/1")))
            group.start_soon(path.call, a_call("a", depth=3, step=("r", "r/2")))
            await both.wait()
            await path.call(a_call("b", by=as_agent("a"), step=("r", "r/2")))
            for step in (("r", "r/1"), ("", "")):
                with pytest.raises(Exhausted):
                    await path.call(a_call("b", by=as_agent("a"), step=step))
            release.set()
    # Nothing is under way any more, so nothing is known of a chain.
    await path.call(a_call("b", by=as_agent("a")))


async def test_tools_do_not_count() -> None:
    around: list[Path] = []

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        return await around[0].call(a_request("tool:t/x", who=as_agent("a"), run=("r", "r/1")))

    tool = Capability(name="tool:t/x", kind="tool", owner="t", local="x", effect="read")
    around.append(Path(FakeUpstream("a", [agent("a")], behave), FakeUpstream("t", [tool])))
    assert isinstance(await around[0].call(a_call("a", depth=0, step=("r", "r/1"))), Complete)


class SharedCalls:
    """What all processes of a test know."""

    def __init__(self) -> None:
        self.calls: dict[int, AtWork] = {}
        self.began_in_all = 0

    async def began(self, call: AtWork, seconds: float) -> int:
        self.began_in_all += 1
        self.calls[self.began_in_all] = call
        return self.began_in_all

    async def ended(self, call: AtWork, number: int) -> None:
        assert self.calls.pop(number) == call

    async def at_work(self, agent: str) -> tuple[AtWork, ...]:
        return tuple(each for each in self.calls.values() if each.agent == agent)


@pytest.mark.parametrize("depth", [0, 1, 4])
async def test_a_ring_through_several_processes_ends_with_the_depth_of_the_first_call(depth: int) -> None:
    calls, around = SharedCalls(), list[Path]()
    turn = itertools.count()

    def upstream(slug: str) -> FakeUpstream:
        async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
            following = "ab"[("ab".index(slug) + 1) % 2]
            # Every call by the next process, none of which has seen the one before.
            return await around[next(turn) % 3].call(a_call(following, by=as_agent(slug)))

        return FakeUpstream(slug, [agent(slug)], behave)

    for _ in range(3):
        around.append(Path(upstream("a"), upstream("b"), calls=calls))
    with anyio.fail_after(30), pytest.raises(Exhausted) as caught:
        await around[2].call(a_call("a", depth=depth))
    assert caught.value.detail["limit"] == "depth"
    assert calls.began_in_all == depth + 1
    assert calls.calls == {}


async def test_a_step_of_a_run_is_seen_by_its_own_row() -> None:
    calls = SharedCalls()
    path = Path(FakeUpstream("a", [agent("a")]), calls=calls)
    run = principal("workflow:w", kind="workflow", behind=ANA)
    await path.call(a_call("a", by=run, step=("r", "r/1")))
    assert calls.began_in_all == 0
