"""The meter on the path: what calls used, what they cost, and calls for which no budget has room."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import anyio
import pytest
from msgspec import structs

from gateway.core.content import plain
from gateway.core.errors import Exhausted, UpstreamFailed
from gateway.core.json import JsonObject
from gateway.core.limits import Usage
from gateway.core.model import Capability, Complete, Emit, Request, Result, principal
from gateway.core.plans import Policies
from gateway.core.ports.costs import WARNINGS, Fits, Given, MinuteLedger
from gateway.core.ports.upstream import Listing
from gateway.testing.stores.costs import MemoryCostLedger
from policies.budgets.meter import CostMeter
from policies.budgets.settings import BudgetsSettings, PriceSettings
from tests.fakes import ANA, GRANT, FakeUpstream, Path, Says, a_request, tool
from tests.fakes_costs import WordCounter

pytestmark = pytest.mark.anyio

AGENT = Capability(name="agent:writer", kind="agent", owner="writer", local="writer")
TODAY = "2023-11-14"
PRICES: JsonObject = {"models": {"m": {"input_usd": 1, "output_usd": 2}}, "agents": {"writer": {"model": "m"}}}

Behave = Callable[[Request, Capability, Emit], Awaitable[Result]]


def answering(usage: Usage | None = None, **more: Any) -> Behave:
    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        return Complete(body=plain("three words now"), usage=usage or Usage(), **more)

    return behave


class Metered:
    """A path through a meter."""

    def __init__(
        self,
        behave: Behave | None = None,
        *,
        ledger: MemoryCostLedger | None = None,
        minutes: MinuteLedger | None = None,
        **sections: Any,
    ) -> None:
        self.agent = FakeUpstream("writer", [AGENT], behave or answering())
        self.orders = FakeUpstream("orders", [tool("find", effect="read"), tool("refund")])
        self.path = Path(self.agent, self.orders)
        self.ledger = ledger or MemoryCostLedger()
        self.counter = WordCounter()
        self.warned: list[tuple[str, JsonObject]] = []
        self.meter = CostMeter(
            counter=self.counter,
            ledger=self.ledger,
            clock=self.path.clock,
            warn=lambda tenant, detail: self.warned.append((tenant, detail)),
            minutes=minutes,
        )
        self.configure(**sections)

    def configure(self, **sections: Any) -> None:
        prices = PriceSettings.model_validate(sections.get("prices", {}))
        self.meter.configure(prices, BudgetsSettings.model_validate(sections.get("budgets", {})))
        self.path.policies = Policies(requests=[Says(GRANT)], meter=self.meter)
        self.path.pipeline.swap(self.path.snapshot("2"))

    async def ask(self, capability: str = "agent:writer", text: str = "write it", **more: Any) -> Complete:
        result = await self.path.call(structs.replace(a_request(capability, **more), body=plain(text)))
        assert isinstance(result, Complete)
        return result


async def test_what_an_agent_does_not_report_is_counted_priced_and_marked() -> None:
    metered = Metered(prices=PRICES)
    usage = (await metered.ask()).usage
    assert (usage.tokens, usage.input_tokens, usage.output_tokens, usage.counted_tokens) == (5, 2, 3, 5)
    assert (usage.cost_usd, usage.models) == (Decimal("0.000008"), ("m",))
    assert metered.path.audit.records[-1].usage == usage
    assert metered.ledger.sums == {(TODAY, "default", "agent:writer", ""): replace(usage, calls=1)}


async def test_what_an_agent_reports_stands() -> None:
    said = Usage(tokens=100, input_tokens=60, output_tokens=40, cost_usd=Decimal("0.3"), models=("other",))
    metered = Metered(answering(said), prices=PRICES)
    assert (await metered.ask()).usage == said
    assert metered.counter.counted == []


async def test_a_task_that_is_still_at_work_has_not_used_anything_yet() -> None:
    metered = Metered(answering(meta={"state": "working"}))
    assert (await metered.ask()).usage.tokens == 0


async def test_plain_tools_never_meet_the_meter() -> None:
    metered = Metered(prices=PRICES, budgets={"agents": {"writer": {"calls_per_day": 1}}})
    await metered.ask("tool:orders/find")
    plan = metered.path.snapshot("3").plan(ANA.agent_class, "tool:orders/find")
    assert plan is not None
    assert plan.meter is None
    assert metered.ledger.sums == {}


async def test_a_tool_that_reports_its_cost_is_written_down_all_the_same() -> None:
    metered = Metered()
    metered.orders.behave = answering(Usage(tokens=7, cost_usd=Decimal("0.1")))
    await metered.ask("tool:orders/find")
    [(place, usage)] = metered.ledger.sums.items()
    assert place == (TODAY, "default", "tool:orders/find", "")
    assert usage == Usage(calls=1, tokens=7, cost_usd=Decimal("0.1"))


async def test_what_an_agent_calls_for_a_workflow_is_spent_for_the_workflow() -> None:
    flow = principal("workflow:help", kind="workflow", behind=ANA)
    metered = Metered(prices={"tools": {"orders/refund": {"call_usd": "0.5"}}})
    await metered.ask("tool:orders/refund", who=principal("agent:writer", kind="agent", behind=flow))
    assert list(metered.ledger.sums) == [(TODAY, "default", "tool:orders/refund", "help")]


async def test_a_tenants_budget_stops_all_its_calls_and_nobody_elses() -> None:
    metered = Metered(budgets={"tenants": {"default": {"calls_per_day": 2}}})
    await metered.ask()
    await metered.ask("tool:orders/find")
    with pytest.raises(Exhausted) as refused:
        await metered.ask("tool:orders/refund", key="k")
    assert refused.value.detail["budget"] == "tenant default calls_per_day"
    assert len(metered.orders.calls) == 1
    assert metered.path.ledger.effects == {}, "the effect's key is free again: it was never sent"
    record = metered.path.audit.records[-1]
    assert (record.outcome, record.code) == ("error", 1429)
    metered.path.clock.advance(86_400)
    await metered.ask()


async def test_a_servers_own_methods_count_as_calls() -> None:
    metered = Metered(budgets={"tenants": {"default": {"calls_per_day": 1}}})
    like = Capability(name="method:orders/skills/", kind="method", owner="orders", local="skills/")
    metered.path.shelf.arrived("orders", Listing(capabilities=(), methods=(like,)))
    metered.path.pipeline.swap(metered.path.snapshot("3"))
    await metered.ask("method:orders/skills/list", operation="method")
    with pytest.raises(Exhausted):
        await metered.ask("method:orders/skills/list", operation="method")
    assert len(metered.orders.calls) == 1


async def test_an_agents_budget_stops_whoever_asks_it() -> None:
    metered = Metered(
        answering(Usage(cost_usd=Decimal("0.6"))), budgets={"agents": {"writer": {"cost_usd_per_day": 1}}}
    )
    await metered.ask()
    with pytest.raises(Exhausted, match=r"agent writer.*cost_usd_per_day is 1, 0\.6 are spent"):
        await metered.ask()
    await metered.ask("tool:orders/find")


async def test_most_of_a_budget_is_warned_of_once() -> None:
    metered = Metered(answering(Usage(tokens=40)), budgets={"tenants": {"default": {"tokens_per_day": 100}}})
    answers = [await metered.ask() for _ in range(2)]
    assert [WARNINGS in each.meta for each in answers] == [False, True]
    [(tenant, detail)] = metered.warned
    assert tenant == "default"
    assert "80 % of the budget of tenant default" in str(detail["warning"])


async def test_side_by_side_a_call_reserves_what_the_ones_before_it_used() -> None:
    begun, may_end = anyio.Event(), anyio.Event()

    async def waits(request: Request, capability: Capability, emit: Emit) -> Result:
        begun.set()
        await may_end.wait()
        return Complete(body=plain(""), usage=Usage(tokens=40))

    metered = Metered(answering(Usage(tokens=40)), budgets={"agents": {"writer": {"tokens_per_day": 100}}})
    await metered.ask()
    metered.agent.behave = waits
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(metered.ask)
            await begun.wait()
            with pytest.raises(Exhausted):
                await metered.ask()
            may_end.set()


async def test_a_call_that_fails_gives_its_reservation_back_and_counts_as_a_call() -> None:
    async def fails(request: Request, capability: Capability, emit: Emit) -> Result:
        raise UpstreamFailed("broken")

    metered = Metered(fails, budgets={"agents": {"writer": {"calls_per_day": 2, "tokens_per_day": 100}}})
    for _ in range(2):
        with pytest.raises(UpstreamFailed):
            await metered.ask()
    state = {each["limit"]: each for each in metered.meter.state("default")}
    assert (state["calls_per_day"]["spent"], state["calls_per_day"]["reserved"]) == ("2", "0")
    with pytest.raises(Exhausted):
        await metered.ask()


async def test_a_restart_begins_with_what_the_ledger_says() -> None:
    limits = {"tenants": {"default": {"tokens_per_month": 100}}, "agents": {"writer": {"calls_per_day": 1}}}
    before = Metered(answering(Usage(tokens=60)), budgets=limits)
    await before.ask()
    after = Metered(answering(Usage(tokens=60)), ledger=before.ledger, budgets=limits)
    await after.meter.open()
    with pytest.raises(Exhausted, match="agent writer"):
        await after.ask()
    after.path.clock.advance(86_400)
    await after.ask()
    with pytest.raises(Exhausted, match="tokens_per_month"):
        await after.ask("tool:orders/find")


async def test_a_new_configuration_keeps_what_was_spent() -> None:
    metered = Metered(answering(Usage(tokens=60)), budgets={"tenants": {"default": {"tokens_per_day": 1000}}})
    await metered.ask()
    metered.configure(budgets={"tenants": {"default": {"tokens_per_day": 50}}})
    with pytest.raises(Exhausted):
        await metered.ask()


class Minutes:
    """What two gateways on one database have given out."""

    def __init__(self) -> None:
        self.given: dict[tuple[str, int], tuple[int, int]] = {}

    async def reserve(self, given: Given, fits: Fits) -> tuple[int, int] | None:
        before = self.given.get((given.budget, given.minute), (0, 0))
        if not fits(*before):
            return before
        await self.settle(given)
        return None

    async def settle(self, given: Given) -> None:
        calls, tokens = self.given.get((given.budget, given.minute), (0, 0))
        self.given[given.budget, given.minute] = (calls + given.calls, tokens + given.tokens)


async def test_gateways_on_one_database_spend_from_one_minute() -> None:
    minutes, budgets = Minutes(), {"tenants": {"default": {"calls_per_minute": 3}}}
    a, b = (Metered(minutes=minutes, budgets=budgets) for _ in range(2))
    await a.ask()
    await b.ask()
    await b.ask()
    for each in (a, b):
        with pytest.raises(Exhausted) as refused:
            await each.ask()
        assert refused.value.detail["budget"] == "tenant default calls_per_minute"
        assert refused.value.detail["sent"] is False
    for each in (a, b):
        each.path.clock.advance(60)
    await a.ask()
    assert [*minutes.given.values()] == [(3, 15), (1, 5)]


async def test_what_one_budget_has_no_room_for_takes_nothing_from_another() -> None:
    minutes = Minutes()
    both = {"tenants": {"default": {"calls_per_minute": 9}}, "agents": {"writer": {"calls_per_minute": 1}}}
    a, b = (Metered(minutes=minutes, budgets=both) for _ in range(2))
    await a.ask()
    with pytest.raises(Exhausted) as refused:
        await b.ask()
    assert refused.value.detail["budget"] == "agent writer calls_per_minute"
    assert {budget: given for (budget, _), given in minutes.given.items()} == {
        "tenant default": (1, 5),
        "agent writer": (1, 5),
    }
    assert [each["reserved"] for each in b.meter.state("default")] == ["0", "0"]


async def test_a_call_corrects_the_minute_by_what_it_used() -> None:
    minutes = Minutes()
    a = Metered(minutes=minutes, budgets={"tenants": {"default": {"tokens_per_minute": 100}}})
    await a.ask(text="one two three")
    await a.ask(text="one")
    assert [*minutes.given.values()] == [(2, 10)]


async def test_what_another_gateway_spent_of_a_day_and_a_month_is_learned() -> None:
    ledger = MemoryCostLedger()
    budgets = {"tenants": {"default": {"calls_per_day": 3, "tokens_per_month": 1000}}}
    a, b = (Metered(ledger=ledger, budgets=budgets) for _ in range(2))
    await a.meter.open()
    for _ in range(3):
        await b.ask()
    await a.meter.look()
    assert [each["spent"] for each in a.meter.state("default")] == ["3", "15"]
    with pytest.raises(Exhausted):
        await a.ask()
    await a.meter.look()
    assert [each["spent"] for each in a.meter.state("default")] == ["3", "15"]
