"""Reads a workflow's settings as its pattern is handed them. Pure; the configuration has checked shapes before."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

WORKERS = ("agents", "tools", "workflows", "fallback")
"""Settings that name workers, and who takes over from them."""
HANDOVER = ("handover_bytes", "whole")
"""Settings that say how long results are handed on from one worker to the next."""
DEFAULT_ROUNDS = 2
DEFAULT_CONCURRENCY = 4
DEFAULT_STEPS = 16


def target_in(entry: Mapping[str, Json]) -> str:
    """The capability an entry names by `agent`, `tool` or `workflow`. Raises: InvalidRequest: none, or several."""
    named = [(kind, json_text(entry.get(kind))) for kind in ("agent", "tool", "workflow") if entry.get(kind)]
    if len(named) != 1:
        raise InvalidRequest("give exactly one of agent, tool, workflow")
    kind, name = named[0]
    return f"{kind}:{name}"


def workers_in(settings: JsonObject) -> tuple[str, ...]:
    """Capability names of all workers, agents first, in the order of the settings."""
    kinds = (("agent", "agents"), ("tool", "tools"), ("workflow", "workflows"))
    return tuple(f"{kind}:{name}" for kind, setting in kinds for name in texts(settings.get(setting)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """Who takes over, and what is said of it in the answer."""

    target: str
    notice: str


def stand_ins(settings: JsonObject) -> dict[str, StandIn]:
    """Who takes over from an agent or a tool that failed, by the capability name of that one."""
    found: dict[str, StandIn] = {}
    for failed, said in json_object(settings.get("fallback")).items():
        entry: JsonObject = {_kind_of(said): said} if isinstance(said, str) else json_object(said)
        target = target_in(entry)
        notice = json_text(entry.get("notice")) or f"{slug_of(target)} stood in for {failed}"
        found[f"{_kind_of(failed)}:{failed}"] = StandIn(target=target, notice=notice)
    return found


def _kind_of(name: str) -> str:
    """What a name in `fallback` names: a tool is written with its server."""
    return "tool" if "/" in name else "agent"


def slug_of(target: str) -> str:
    """The name a capability has in settings: `refunds` for `agent:refunds`, `orders/find` for a tool."""
    return target.partition(":")[2]


def step_name(text: str) -> str:
    """The text as the name of a step: letters, digits, _ and -, at most 40."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)[:40]


def texts(value: Json) -> tuple[str, ...]:
    return tuple(each for each in json_list(value) if isinstance(each, str))


def objects(value: Json) -> list[JsonObject]:
    return [json_object(each) for each in json_list(value)]


def contract(value: Json) -> "JsonObject | None":
    """A JSON Schema, where one is given."""
    return value if isinstance(value, dict) else None


def seconds(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def number_or(block: JsonObject, name: str, default: float) -> float:
    value = seconds(block.get(name))
    return default if value is None else value


def weights_in(value: Json) -> dict[str, float]:
    """Weights by name; what is no number counts as none."""
    return {
        name: float(weight)
        for name, weight in json_object(value).items()
        if isinstance(weight, int | float) and not isinstance(weight, bool)
    }


def whole(limits: JsonObject, name: str, default: int) -> int:
    value = limits.get(name)
    return value if isinstance(value, int) else default
