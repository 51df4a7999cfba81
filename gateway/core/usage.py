"""What whoever was called says of tokens, cost and model, in whichever of the ways in use it says it. Pure.

Nobody has settled how an answer reports its usage, so every name in use is read:

- OpenTelemetry's GenAI attributes, `gen_ai.usage.input_tokens`, today's names and the former ones
- a member `usage`, `token_usage`, `usage_metadata`: OpenAI's, Anthropic's, LangChain's, LiteLLM's, CrewAI's
- Google ADK's and kagent's `adk_usage_metadata` and `kagent_usage_total`, with Gemini's own names inside
- an A2A extension's metadata, under a URI that ends in `usage` and perhaps a version

What is malformed counts as not said. A cost is taken only where its unit is beyond doubt.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation

from gateway.core.json import Json, JsonObject, json_object
from gateway.core.limits import NOTHING_USED, Usage

_INPUT = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "input_tokens",
    "inputTokens",
    "prompt_tokens",
    "promptTokens",
    "promptTokenCount",
    "prompt_token_count",
    "inputTokenCount",
    "input_token_count",
    "total_input_tokens",
)
_OUTPUT = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "output_tokens",
    "outputTokens",
    "completion_tokens",
    "completionTokens",
    "candidatesTokenCount",
    "candidates_token_count",
    "outputTokenCount",
    "output_token_count",
    "total_output_tokens",
)
_TOTAL = (
    "gen_ai.usage.total_tokens",
    "total_tokens",
    "totalTokens",
    "totalTokenCount",
    "total_token_count",
)
_MORE_INPUT = (
    # Anthropic and Bedrock count these beside the input; OpenAI and OpenTelemetry, under other names, within it.
    ("cache_creation_input_tokens", "cacheWriteInputTokens"),
    ("cache_read_input_tokens", "cacheReadInputTokens"),
    ("toolUsePromptTokenCount", "tool_use_prompt_token_count"),
)
_MORE_OUTPUT = (("thoughtsTokenCount", "thoughts_token_count"),)
_COST = ("cost_usd", "costUsd", "total_cost_usd", "totalCostUsd", "response_cost", "gen_ai.usage.cost")
_COST_WITHIN = (*_COST, "cost", "total_cost")
"""Beside tokens a plain `cost` is in dollars (OpenRouter, LiteLLM, LangChain); standing alone it may be anything."""
_SURELY_MODEL = ("gen_ai.response.model", "gen_ai.request.model", "response_model")
_MODEL = (
    *_SURELY_MODEL,
    "model",
    "model_name",
    "modelName",
    "model_id",
    "modelId",
    "modelVersion",
    "model_version",
)
_CONTAINER = re.compile(r"(?:.*[^a-zA-Z])?(?:token|llm)?_?usage_?(?:metadata|total|stats)?(?:/v?[0-9.]+)?", re.I)
_AROUND = ("response_metadata", "responseMetadata", "llm_output", "_hidden_params", "gen_ai")
"""Members within which LangChain and LiteLLM keep all of this."""
MOST_TOKENS = 10**12
_MOST_COST = Decimal(10**9)
_MOST_MODEL = 100


def usage_in(metadata: Mapping[str, Json]) -> Usage:
    """What a piece of metadata reports, as one call's usage with no calls in it; all zero where it reports nothing."""
    places = [metadata, *(json_object(metadata.get(name)) for name in _AROUND)]
    reports = [report for place in places for report in _reports_in(place)]
    counts = next((report for report in reports if _tokens_in(report).tokens), None)
    usage = NOTHING_USED if counts is None else _tokens_in(counts)
    cost = None if counts is None else _cost_in(counts, _COST_WITHIN)
    cost = cost or next((cost for report in reports if (cost := _cost_in(report, _COST))), Decimal(0))
    names = _MODEL if usage.tokens or cost else _SURELY_MODEL
    model = next((model for report in reports if (model := _model_in(report, names))), "")
    if not usage.tokens and not cost and not model:
        return NOTHING_USED
    return replace(usage, cost_usd=cost, models=(model,) if model else ())


def usage_over(pieces: Iterable[Mapping[str, Json]]) -> Usage:
    """What several pieces of one answer report together. A report that repeats the one before it word for word is the
    same report, told again with the next event; one of a part of a reply still being written will come again whole."""
    total, before = NOTHING_USED, NOTHING_USED
    for piece in pieces:
        usage = NOTHING_USED if piece.get("adk_partial") is True else usage_in(piece)
        if usage is not NOTHING_USED and usage != before:
            total, before = total + usage, usage
    return total


def _reports_in(place: Mapping[str, Json]) -> list[JsonObject]:
    """Objects that may hold numbers of tokens, the one that says it is a total first."""
    named = [(name, value) for name, value in place.items() if isinstance(value, dict) and _CONTAINER.fullmatch(name)]
    named.sort(key=lambda each: "total" not in each[0])
    return [dict(place), *(value for _, value in named)]


def _tokens_in(report: JsonObject) -> Usage:
    given, produced = _first(report, _INPUT), _first(report, _OUTPUT)
    total = _first(report, _TOTAL)
    if given is None and produced is None and total is None:
        return NOTHING_USED
    input_tokens = (given or 0) + sum(_first(report, names) or 0 for names in _MORE_INPUT)
    output_tokens = (produced or 0) + sum(_first(report, names) or 0 for names in _MORE_OUTPUT)
    return Usage(
        tokens=max(total or 0, input_tokens + output_tokens), input_tokens=input_tokens, output_tokens=output_tokens
    )


def _first(report: JsonObject, names: Iterable[str]) -> int | None:
    return next((number for name in names if (number := _whole(report.get(name))) is not None), None)


def _whole(value: Json) -> int | None:
    """A number of tokens; protobuf makes floats of them, or text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(MOST_TOKENS)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_TOKENS:
        return None
    return int(value) if value == int(value) else None


def _cost_in(report: Mapping[str, Json], names: Iterable[str]) -> Decimal | None:
    return next((cost for name in names if (cost := _money(report.get(name)))), None)


def _money(value: Json) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        # By way of text: 0.1 as a float is not a tenth.
        money = Decimal(str(value)[:64])
    except InvalidOperation:
        return None
    return money if money.is_finite() and 0 < money <= _MOST_COST else None


def _model_in(report: Mapping[str, Json], names: Iterable[str]) -> str:
    named = (report.get(name) for name in names)
    return next(
        (each for each in named if isinstance(each, str) and 0 < len(each) <= _MOST_MODEL and each.isprintable()), ""
    )
