"""Prices: exact, by the model that was used, and only where nobody reported a cost."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.core.limits import Usage
from gateway.core.model import Capability
from policies.budgets.settings import PriceSettings
from policies.budgets.tariff import Tariff
from tests.fakes import tool

AGENT = Capability(name="agent:refunds", kind="agent", owner="refunds", local="refunds")
PRICES: dict[str, Any] = {
    "models": {"gpt-5": {"input_usd": "1.25", "output_usd": "10"}, "gpt-5-mini": {"input_usd": "0.25"}},
    "agents": {"refunds": {"call_usd": "0.01", "model": "gpt-5"}},
    "tools": {"orders/refund": {"call_usd": "0.002"}, "orders/ask": {"model": "gpt-5-mini"}},
}


def tariff(**more: Any) -> Tariff:
    return Tariff(PriceSettings.model_validate({**PRICES, **more}))


def test_a_reported_cost_is_the_cost() -> None:
    assert tariff().cost(AGENT, Usage(tokens=10**6, cost_usd=Decimal("0.5"))) == Decimal("0.5")


def test_tokens_cost_what_the_agents_model_costs_and_the_call_its_own_price() -> None:
    cost = tariff().cost(AGENT, Usage(tokens=3, input_tokens=1, output_tokens=2))
    assert cost == Decimal("0.01") + Decimal("0.00000125") + Decimal("0.00002")


@pytest.mark.parametrize("name", ["gpt-5-mini", "openai/gpt-5-mini", "gpt-5-mini-2025-08-07", "azure/gpt-5-mini@eu"])
def test_the_model_an_answer_names_counts_whatever_its_provider_and_version(name: str) -> None:
    usage = Usage(tokens=1_000_000, input_tokens=1_000_000, models=(name,))
    assert tariff().cost(AGENT, usage) == Decimal("0.26")


def test_tokens_of_an_unknown_kind_cost_the_dearer_price() -> None:
    assert tariff().cost(AGENT, Usage(tokens=1_000_000)) == Decimal("10.01")


def test_a_model_nobody_priced_costs_nothing_beyond_the_call() -> None:
    free = tariff(agents={"refunds": {"call_usd": "0.01"}})
    assert free.cost(AGENT, Usage(tokens=5, models=("llama",))) == Decimal("0.01")


def test_tools_have_a_price_for_each_call_and_are_counted_only_where_they_have_a_model() -> None:
    assert tariff().cost(tool("refund"), Usage()) == Decimal("0.002")
    assert not tariff().counts(tool("refund"))
    assert tariff().counts(tool("ask"))
    assert tariff().counts(AGENT)
    assert not tariff(count_tokens=False).counts(AGENT)


def test_a_model_without_a_price_is_refused() -> None:
    with pytest.raises(ValidationError, match="no price"):
        PriceSettings.model_validate({"agents": {"refunds": {"model": "gpt-6"}}})


@given(
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.decimals(0, 10**6, places=6),
    st.decimals(0, 10**6, places=6),
)
def test_nothing_is_ever_rounded(given_tokens: int, produced: int, inward: Decimal, outward: Decimal) -> None:
    priced = tariff(models={"gpt-5": {"input_usd": inward, "output_usd": outward}, "gpt-5-mini": {}})
    usage = Usage(tokens=given_tokens + produced, input_tokens=given_tokens, output_tokens=produced)
    cost = priced.cost(AGENT, usage)
    exact = given_tokens * int(inward * 10**6) + produced * int(outward * 10**6) + 10**10
    assert int(cost.scaleb(12)) == exact
