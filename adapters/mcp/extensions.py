"""Methods the gateway has no word for: of extensions of one server, answered by it at its own endpoint alone. Pure.

A method belongs to what a server declares, an extension or a capability of its own, where it begins with the whole of
its identifier or with the last part of it: `com.example/skills` has `skills/list`. What no declaration covers is
refused, and what begins with a word of the protocol is never an extension's.
"""

import re
from collections.abc import Iterable, Iterator

from gateway.core.json import Json, JsonObject, json_object

KIND = "method"
"""Of the capability a method is judged as: `method:SERVER/skills/list`."""
PROTOCOLS_OWN = frozenset(
    [
        *("tools", "prompts", "resources", "completion", "completions", "logging", "tasks", "extensions"),
        *("experimental", "sampling", "roots", "elicitation", "server", "client", "subscriptions", "notifications"),
    ]
)
"""First parts of methods, and capabilities, that mean what the protocol says."""
_METHOD = re.compile(r"[A-Za-z0-9_.$-]+(/[A-Za-z0-9_.$-]+)+")
_LONGEST = 128


def is_method(text: str) -> bool:
    """Whether an extension's method may be called that; a header repeats it, so it holds nothing odd."""
    return len(text) <= _LONGEST and _METHOD.fullmatch(text) is not None


def beginnings(capabilities: JsonObject) -> tuple[str, ...]:
    """What methods of a server's own begin with, by what it declares; each ends with a slash."""
    named = {*_own(capabilities), *_identified(json_object(capabilities.get("extensions")))}
    named |= {*_identified(json_object(capabilities.get("experimental")))}
    return tuple(sorted(f"{each}/" for each in named if is_method(f"{each}/x") and _first(each) not in PROTOCOLS_OWN))


def own_capabilities(capabilities: JsonObject) -> JsonObject:
    """Those the protocol has no word for."""
    return {name: each for name, each in capabilities.items() if name not in PROTOCOLS_OWN}


def told_where(method: str, owners: Iterable[str]) -> str:
    """What a caller hears who asks where several servers meet."""
    places = [f"/mcp/{owner}" for owner in sorted(owners)]
    if not places:
        return "Method not found"
    return f"Method not found here: {method} is answered at {' and '.join(places)}"


def _own(capabilities: JsonObject) -> Iterator[str]:
    return (name for name, each in own_capabilities(capabilities).items() if _declares(each))


def _identified(declared: JsonObject) -> Iterator[str]:
    for identifier, each in declared.items():
        if _declares(each):
            yield identifier
            yield identifier.rpartition("/")[2]


def _first(name: str) -> str:
    return name.partition("/")[0]


def _declares(value: Json) -> bool:
    return isinstance(value, dict) or value is True
