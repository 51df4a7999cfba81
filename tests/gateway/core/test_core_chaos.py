"""Faults injected into a running path."""

import pytest

from gateway.core.chaos import MOST_INJECTIONS, Chaos, ChaosOrder
from gateway.core.content import plain
from gateway.core.errors import DeadlineExceeded, Exhausted, GatewayError, InvalidRequest, UpstreamFailed
from gateway.core.faults import fault_from_text
from gateway.core.labels import Labels
from gateway.core.model import Capability, Complete, Emit, Request, Result, principal
from tests.fakes import CountingIds, FakeClock, FakeUpstream, Path, a_request, tool

pytestmark = pytest.mark.anyio


async def paid(request: Request, capability: Capability, emit: Emit) -> Result:
    return Complete(body=plain({"amount": 47.99}), labels=Labels(untrusted=frozenset({"server:orders"})))


def order(fault: str, *, target: str = "tool:orders/*", share: float = 1.0, for_s: float = 600.0) -> ChaosOrder:
    return ChaosOrder(
        tenant="default", by="olga", target=target, fault=fault_from_text(fault), share=share, for_s=for_s
    )


def a_path() -> tuple[Path, FakeUpstream]:
    upstream = FakeUpstream("orders", [tool(effect="read"), tool("pay")], paid)
    return Path(upstream), upstream


async def test_a_falsehood_reaches_the_caller_labelled_and_stands_in_the_record() -> None:
    path, _ = a_path()
    active = path.chaos.add(order('falsehood={"amount": 4799}'))
    result = await path.call(a_request())
    assert isinstance(result, Complete)
    assert result.body.content().structured == {"amount": 4799}
    assert result.labels.untrusted == {"server:orders", f"chaos:{active.injection.id}"}
    (record,) = path.audit.records
    assert record.detail["chaos"] == [{"id": active.injection.id, "fault": 'falsehood={"amount": 4799}'}]
    assert record.labels == result.labels


async def test_a_killed_call_never_gets_there_and_an_error_is_an_answer() -> None:
    path, upstream = a_path()
    killed = path.chaos.add(order("kill", target="tool:orders/refund"))
    with pytest.raises(UpstreamFailed):
        await path.call(a_request())
    assert path.chaos.remove("default", killed.injection.id)
    path.chaos.add(order("error=out of paper"))
    result = await path.call(a_request())
    assert isinstance(result, Complete)
    assert (result.is_error, result.body.content().text) == (True, "out of paper")
    assert upstream.calls == []
    assert [record.detail["chaos"] != [] for record in path.audit.records] == [True, True]


async def test_three_kills_open_the_breaker_as_three_deaths_would() -> None:
    path, _ = a_path()
    path.chaos.add(order("kill"))
    for _ in range(3):
        with pytest.raises(UpstreamFailed):
            await path.call(a_request())
    with pytest.raises(GatewayError) as refused:
        await path.call(a_request())
    assert refused.value.detail["breaker"] == "open"
    assert "chaos" not in path.audit.records[-1].detail


async def test_a_delay_ends_with_the_callers_time_and_otherwise_lets_the_call_go_on() -> None:
    path, upstream = a_path()
    path.chaos.add(order("delay=1ms"))
    assert isinstance(await path.call(a_request()), Complete)
    path.chaos.add(order("delay=5s"))
    with pytest.raises(DeadlineExceeded):
        await path.call(a_request(deadline_s=path.clock.monotonic_s()))
    assert len(upstream.calls) == 1


async def test_a_fault_that_finds_nothing_to_change_says_so() -> None:
    path, _ = a_path()
    path.chaos.add(order("falsehood=12=>13"))
    result = await path.call(a_request())
    assert result.labels.untrusted == {"server:orders"}
    (said,) = path.audit.records
    assert str(said.detail["chaos"]).count("found nothing to change") == 1


async def test_only_calls_of_its_own_tenant_and_target_are_struck() -> None:
    upstream = FakeUpstream("orders", [tool(effect="read", tenant="*"), tool("pay", tenant="*")], paid)
    path = Path(upstream, tenant="*")
    path.chaos.add(order("kill", target="tool:orders/refund"))
    eve = principal("eve", tenant="other")
    for request in (a_request(who=eve), a_request("tool:orders/pay")):
        assert isinstance(await path.call(request), Complete)
    assert path.chaos.of("other") == ()


async def test_it_strikes_its_share_and_counts() -> None:
    path, _ = a_path()
    active = path.chaos.add(order("error", share=0.5))
    failed = 0
    for _ in range(200):
        result = await path.call(a_request())
        failed += isinstance(result, Complete) and result.is_error
    assert (active.calls, active.struck) == (200, failed)
    assert 60 < failed < 140


async def test_it_ends_by_itself_and_only_its_own_tenant_may_end_it_before() -> None:
    path, _ = a_path()
    active = path.chaos.add(order("kill", for_s=60))
    assert not path.chaos.remove("other", active.injection.id)
    assert path.chaos.of("default") == (active,)
    path.clock.advance(60)
    assert isinstance(await path.call(a_request()), Complete)
    assert path.chaos.of("default") == ()
    assert not path.chaos.remove("default", active.injection.id)


def test_orders_have_bounds() -> None:
    chaos = Chaos(FakeClock(), CountingIds())
    for wrong in (order("kill", share=0), order("kill", share=1.1), order("kill", for_s=0), order("kill", for_s=1e9)):
        with pytest.raises(InvalidRequest):
            chaos.add(wrong)
    for _ in range(MOST_INJECTIONS):
        chaos.add(order("kill"))
    with pytest.raises(Exhausted):
        chaos.add(order("kill"))
