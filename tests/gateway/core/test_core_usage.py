"""Usage is read in every way agents report it, and nothing that is no report is taken for one."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.json import Json, JsonObject
from gateway.core.limits import Usage, usage_from_json
from gateway.core.usage import MOST_TOKENS, usage_in, usage_over

WAYS: dict[str, tuple[JsonObject, Usage]] = {
    "opentelemetry": (
        {
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 8,
            "gen_ai.usage.cache_read.input_tokens": 4,
            "gen_ai.response.model": "m-1",
            "gen_ai.request.model": "m",
        },
        Usage(tokens=20, input_tokens=12, output_tokens=8, models=("m-1",)),
    ),
    "opentelemetry, former names": (
        {"gen_ai.usage.prompt_tokens": 12, "gen_ai.usage.completion_tokens": 8},
        Usage(tokens=20, input_tokens=12, output_tokens=8),
    ),
    "openai": (
        {"model": "m", "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}},
        Usage(tokens=12, input_tokens=9, output_tokens=3, models=("m",)),
    ),
    "anthropic": (
        {
            "usage": {
                "input_tokens": 17,
                "cache_creation_input_tokens": 100,
                "cache_read_input_tokens": 50,
                "output_tokens": 9,
            }
        },
        Usage(tokens=176, input_tokens=167, output_tokens=9),
    ),
    "adk": (
        {
            "adk_app_name": "pdf",
            "adk_usage_metadata": {
                "promptTokenCount": 60.0,
                "candidatesTokenCount": 30.0,
                "thoughtsTokenCount": 12.0,
                "totalTokenCount": 102.0,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 60}],
            },
        },
        Usage(tokens=102, input_tokens=60, output_tokens=42),
    ),
    "kagent, whose total goes before the last event's": (
        {
            "kagent_usage_metadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
            "kagent_usage_total": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
        },
        Usage(tokens=15, input_tokens=10, output_tokens=5),
    ),
    "langchain": (
        {"response_metadata": {"model_name": "m", "token_usage": {"prompt_tokens": 4, "completion_tokens": 2}}},
        Usage(tokens=6, input_tokens=4, output_tokens=2, models=("m",)),
    ),
    "litellm": (
        {"usage": {"prompt_tokens": 4, "completion_tokens": 2}, "_hidden_params": {"response_cost": 0.0001}},
        Usage(tokens=6, input_tokens=4, output_tokens=2, cost_usd=Decimal("0.0001")),
    ),
    "openrouter": (
        {"usage": {"prompt_tokens": 4, "completion_tokens": 2, "cost": 0.1}},
        Usage(tokens=6, input_tokens=4, output_tokens=2, cost_usd=Decimal("0.1")),
    ),
    "an a2a extension": (
        {"https://example.org/ext/usage/v1": {"inputTokens": "7", "outputTokens": "3"}},
        Usage(tokens=10, input_tokens=7, output_tokens=3),
    ),
    "a total alone": ({"usage": {"total_tokens": 5}}, Usage(tokens=5)),
    "a cost alone": ({"cost_usd": "0.25"}, Usage(cost_usd=Decimal("0.25"))),
}


@pytest.mark.parametrize(("metadata", "usage"), WAYS.values(), ids=WAYS.keys())
def test_every_way_in_use_is_read(metadata: JsonObject, usage: Usage) -> None:
    assert usage_in(metadata) == usage


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"usage": "a lot"},
        {"usage": {"input_tokens": -1}},
        {"usage": {"input_tokens": True, "output_tokens": 1.5}},
        {"usage": {"input_tokens": MOST_TOKENS * 10}},
        {"usage": {"prompt_tokens": "NaN"}, "cost_usd": "NaN"},
        {"cost_usd": float("inf")},
        {"cost": 12, "model": "a car"},
        {"message_usage_hint": {"tokens": 4}},
        {"tokens": 4},
    ],
    ids=str,
)
def test_what_is_no_report_is_not_taken_for_one(metadata: JsonObject) -> None:
    assert usage_in(metadata) == Usage()


def test_reports_of_one_answer_add_up_and_one_told_twice_counts_once() -> None:
    first: JsonObject = {"adk_usage_metadata": {"promptTokenCount": 5, "candidatesTokenCount": 1}}
    second: JsonObject = {"adk_usage_metadata": {"promptTokenCount": 9, "candidatesTokenCount": 2}}
    partial: JsonObject = {**second, "adk_partial": True}
    said = usage_over([first, first, {}, partial, second])
    assert (said.tokens, said.input_tokens, said.output_tokens) == (17, 14, 3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
COUNTS = ["input_tokens", "prompt_tokens", "output_tokens", "totalTokenCount", "gen_ai.usage.input_tokens"]
PLACES = ["usage", "token_usage", "adk_usage_metadata", "response_metadata"]
NAMES = st.sampled_from([*COUNTS, *PLACES, "cost", "cost_usd", "model", "gen_ai.response.model", "x"])
METADATA = st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON, max_size=5), max_size=5)


@given(METADATA)
def test_whatever_is_said_the_reading_makes_sense(metadata: dict[str, Any]) -> None:
    usage = usage_in(metadata)
    assert usage.calls == 0
    assert usage.counted_tokens == 0
    assert usage.tokens >= usage.input_tokens + usage.output_tokens
    assert usage.input_tokens >= 0
    assert usage.output_tokens >= 0
    assert usage.cost_usd.is_finite()
    assert usage.cost_usd >= 0
    assert all(usage.models)


USAGES = st.builds(
    Usage,
    calls=st.integers(0, 10**6),
    tokens=st.integers(0, MOST_TOKENS),
    cost_usd=st.decimals(0, 10**6, places=9),
    input_tokens=st.integers(0, MOST_TOKENS),
    counted_tokens=st.integers(0, MOST_TOKENS),
    models=st.sets(st.sampled_from("abc")).map(lambda names: tuple(sorted(names))),
)


@given(USAGES, USAGES, USAGES)
def test_usage_adds_up_in_any_order_and_survives_being_kept(one: Usage, two: Usage, three: Usage) -> None:
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + Usage() == one
    kept: Json = one.to_json()
    assert usage_from_json(kept) == one


def test_what_an_earlier_version_kept_is_read() -> None:
    assert usage_from_json({"calls": 2, "tokens": 7, "cost_usd": "0.5"}) == Usage(
        calls=2, tokens=7, cost_usd=Decimal("0.5")
    )
