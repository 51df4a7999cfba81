"""The meter between the path and what is called: what a call used, what it cost, whether there was room for it.

Calls nobody pays for, counts or limits never come here: plans leave the meter out for them.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

import structlog

from gateway.core.content import Content
from gateway.core.json import JsonObject, json_text
from gateway.core.limits import Usage
from gateway.core.model import CALLS, Capability, Complete, Emit, Request, Result
from gateway.core.ports.costs import WARNINGS, CostLedger, Given, MinuteLedger, Spent, TokenCounter
from gateway.core.ports.upstream import Upstream
from gateway.core.ports.world import Clock
from policies.budgets.minutes import SharedMinutes
from policies.budgets.settings import BudgetSettings, BudgetsSettings, PriceSettings
from policies.budgets.tariff import Tariff
from policies.budgets.windows import Account, Hold, Warned, day_of, release

log = structlog.get_logger(__name__)

MOST_TARGETS = 10_000
_MEMORY = 20
"""About how many calls back an estimate remembers."""
_UNDER_WAY = ("submitted", "working")


@dataclass(frozen=True, slots=True)
class _Estimate:
    """What calls to one target used of late, on average."""

    calls: int
    tokens: int
    cost_usd: Decimal


class CostMeter:
    """See `core.ports.costs.Meter`. Lives as long as the process; configurations come and go."""

    def __init__(
        self,
        *,
        counter: TokenCounter,
        ledger: CostLedger,
        clock: Clock,
        warn: Callable[[str, JsonObject], None],
        minutes: MinuteLedger | None = None,
    ) -> None:
        """`warn(tenant, detail)` has it recorded that most of a budget is used. `minutes`: where other processes spend
        from the same budgets; have `look` called from time to time then."""
        self._counter = counter
        self._ledger = ledger
        self._clock = clock
        self._warn = warn
        self._minutes = None if minutes is None else SharedMinutes(minutes)
        self._opened_on = ""
        self._earlier: dict[str, Usage] = {}
        """What each account spent this month before today."""
        self._tariff = Tariff(PriceSettings())
        self._tenants: dict[str, Account] = {}
        self._agents: dict[str, Account] = {}
        self._estimates: dict[str, _Estimate] = {}

    def configure(self, prices: PriceSettings, budgets: BudgetsSettings) -> None:
        """Price and limit calls in this way from now on; what was spent stays spent."""
        self._tariff = Tariff(prices)
        self._tenants = _accounts("tenant", budgets.tenants.items(), self._tenants)
        self._agents = _accounts("agent", budgets.agents.items(), self._agents)

    async def open(self) -> None:
        """Begin with what the ledger says was spent today and this month. Raises: Unavailable."""
        if not self._tenants and not self._agents:
            return
        now_us = self._clock.now_us()
        today = day_of(now_us)
        spent = await self._ledger.rows("*", since=f"{today[:7]}-01")
        for account, own in self._by_account(spent):
            earlier, of_today = _sum(each for each in own if each.day != today), _of_day(own, today)
            account.open(now_us, earlier + of_today, "month")
            account.open(now_us, of_today, "day")
            self._earlier[account.name] = earlier
        self._opened_on = today

    async def look(self) -> None:
        """Learn what other processes have spent. Raises: Unavailable."""
        if not self._tenants and not self._agents:
            return
        now_us = self._clock.now_us()
        today = day_of(now_us)
        if today != self._opened_on:
            await self.open()
            return
        for account, own in self._by_account(await self._ledger.rows("*", since=today)):
            of_today = _of_day(own, today)
            account.learn(now_us, of_today, "day")
            account.learn(now_us, self._earlier.get(account.name, Usage()) + of_today, "month")

    def _by_account(self, spent: Iterable[Spent]) -> Iterator[tuple[Account, list[Spent]]]:
        rows = list(spent)
        for slug, account in self._tenants.items():
            yield account, [each for each in rows if each.tenant == slug]
        for slug, account in self._agents.items():
            yield account, [each for each in rows if _slug(each.target) == slug]

    def concerns(self, tenant: str, capability: Capability) -> bool:
        if capability.kind == "agent":
            return True
        if capability.kind not in ("tool", "method"):
            return False
        own = self._tariff.of(capability)
        return tenant in self._tenants or bool(own.call_usd or own.model)

    async def call(self, request: Request, capability: Capability, upstream: Upstream, emit: Emit) -> Result:
        if request.operation not in CALLS:
            return await upstream.call(request, capability, emit)
        accounts = self._accounts_of(request.principal.tenant, capability)
        hold = self._held(accounts, capability)
        given = await self._given(accounts, hold)
        used, warnings = Usage(calls=1), list[Warned]()
        try:
            result = await upstream.call(request, capability, emit)
            if isinstance(result, Complete):
                usage = await self._usage(request, capability, result)
                result = result if usage is result.usage else replace(result, usage=usage)
                used = used + usage
        finally:
            release(hold)
            warnings = self._settled(accounts, request, capability, used)
            if self._minutes is not None:
                await self._minutes.settle(given, used)
        if warnings and isinstance(result, Complete):
            told: JsonObject = {each.key: each.text for each in warnings}
            result = replace(result, meta={**result.meta, WARNINGS: told})
        return result

    def note(self, request: Request, capability: Capability, usage: Usage) -> None:
        # A workflow's usage is that of the calls its runs made.
        if capability.kind in ("tool", "method") and (usage.tokens or usage.cost_usd):
            self._write_down(request, capability, usage + Usage(calls=1))

    def state(self, tenant: str) -> list[JsonObject]:
        """For people: the tenant's budget and those of agents, as far as they are used."""
        now_us = self._clock.now_us()
        own = [self._tenants[tenant]] if tenant in self._tenants else []
        return [each for account in (*own, *self._agents.values()) for each in account.state(now_us)]

    def _accounts_of(self, tenant: str, capability: Capability) -> list[Account]:
        found = [self._tenants.get(tenant)]
        if capability.kind == "agent":
            found.append(self._agents.get(capability.owner))
        return [each for each in found if each is not None]

    def _held(self, accounts: list[Account], capability: Capability) -> Hold:
        """Raises: Exhausted."""
        known = self._estimates.get(capability.name)
        if known is None:
            hold = Hold(estimate=Usage(calls=1, cost_usd=self._tariff.of(capability).call_usd))
        else:
            hold = Hold(estimate=Usage(calls=1, tokens=known.tokens, cost_usd=known.cost_usd))
        now_us = self._clock.now_us()
        for account in accounts:
            account.refuse(hold.estimate, now_us)
        for account in accounts:
            account.hold(hold, now_us)
        return hold

    async def _given(self, accounts: list[Account], hold: Hold) -> list[Given]:
        """What was reserved where other processes spend as well. Raises: Exhausted; Unavailable."""
        if self._minutes is None:
            return []
        try:
            return await self._minutes.reserve(accounts, hold.estimate, self._clock.now_us())
        except BaseException:
            release(hold)
            raise

    async def _usage(self, request: Request, capability: Capability, answer: Complete) -> Usage:
        usage, own = answer.usage, self._tariff.of(capability)
        over = json_text(answer.meta.get("state")) not in _UNDER_WAY
        if not usage.tokens and over and self._tariff.counts(capability):
            given = await self._counter.count(_texts(request.body.content()))
            produced = await self._counter.count(_texts(answer.body.content()))
            total = given + produced
            usage = replace(usage, tokens=total, input_tokens=given, output_tokens=produced, counted_tokens=total)
        if own.model and not usage.models:
            usage = replace(usage, models=(own.model,))
        cost_usd = self._tariff.cost(capability, usage)
        return usage if cost_usd == usage.cost_usd else replace(usage, cost_usd=cost_usd)

    def _settled(self, accounts: list[Account], request: Request, capability: Capability, used: Usage) -> list[Warned]:
        now_us = self._clock.now_us()
        self._learn(capability.name, used)
        self._write_down(request, capability, used)
        warnings = [each for account in accounts for each in account.settle(used, now_us)]
        for each in warnings:
            log.warning("most of a budget is used", budget=each.text)
            self._warn(request.principal.tenant, {"budget": each.key, "warning": each.text, "run": request.run_id})
        return warnings

    def _learn(self, target: str, used: Usage) -> None:
        known = self._estimates.get(target)
        if known is None:
            if len(self._estimates) >= MOST_TARGETS:
                self._estimates.clear()
            self._estimates[target] = _Estimate(1, used.tokens, used.cost_usd)
            return
        calls = min(known.calls + 1, _MEMORY)
        self._estimates[target] = _Estimate(
            calls,
            known.tokens + (used.tokens - known.tokens) // calls,
            known.cost_usd + (used.cost_usd - known.cost_usd) / calls,
        )

    def _write_down(self, request: Request, capability: Capability, used: Usage) -> None:
        who = request.principal
        workflow = next((_slug(each) for each in reversed(who.chain) if each.startswith("workflow:")), "")
        day = day_of(self._clock.now_us())
        self._ledger.note(Spent(day=day, tenant=who.tenant, target=capability.name, workflow=workflow, usage=used))


def _accounts(
    kind: str, wanted: Iterable[tuple[str, BudgetSettings]], former: dict[str, Account]
) -> dict[str, Account]:
    accounts: dict[str, Account] = {}
    for slug, settings in wanted:
        account = accounts[slug] = Account(f"{kind} {slug}", settings.bounds)
        if slug in former:
            account.adopt(former[slug])
    return accounts


def _of_day(spent: Iterable[Spent], day: str) -> Usage:
    return _sum(each for each in spent if each.day == day)


def _slug(name: str) -> str:
    return name.partition(":")[2]


def _sum(rows: Iterable[Spent]) -> Usage:
    return sum((each.usage for each in rows), Usage())


def _texts(content: Content) -> list[str]:
    """What a model would read of it: text, and data as JSON."""
    texts = [part.text for part in content.parts if part.kind == "text"]
    data = [part.data for part in content.parts if part.kind == "data"]
    if not data and content.structured is not None:
        data = [content.structured]
    return [*texts, *(json.dumps(each, ensure_ascii=False) for each in data)]
