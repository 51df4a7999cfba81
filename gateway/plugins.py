"""Finds what other distributions offer by name - patterns, engines of memories, tool searches - and loads what the
configuration names, and nothing else.

Knows the entry points' groups and nothing of what is offered there.
"""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import cast

from gateway.core.errors import InvalidRequest
from gateway.core.ports.memory import MemoryType
from gateway.core.ports.orchestration import PatternType
from gateway.core.ports.tool_search import ToolSearchType

PATTERNS = "gateway.patterns"
MEMORY = "gateway.memory"
TOOL_SEARCH = "gateway.tool_search"
_KINDS = {PATTERNS: "pattern", MEMORY: "engine", TOOL_SEARCH: "tool search"}
"""What a group offers."""


def offered(group: str = PATTERNS) -> tuple[str, ...]:
    """Names under which something is offered, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


def load_patterns(names: Iterable[str]) -> Mapping[str, PatternType]:
    """The patterns of these names. To be done before the engine is launched: a run that goes on needs its own.

    Raises: InvalidRequest: a name nobody offers, or that two distributions offer; one that cannot be loaded.
    """
    # Looked up once for all: every look reads what each installed distribution says of itself.
    on_offer = entry_points(group=PATTERNS)
    return {name: cast("PatternType", _load(_one(name, PATTERNS, on_offer))) for name in sorted(set(names))}


def load_pattern(name: str) -> PatternType:
    """The pattern of that name. Raises: see `load_patterns`."""
    return load_patterns((name,))[name]


def load_memory(name: str) -> MemoryType:
    """The engine of that name.

    Raises: InvalidRequest: nobody offers it, or two distributions do; it cannot be loaded.
    """
    return cast("MemoryType", _load(_one(name, MEMORY, entry_points(group=MEMORY))))


def load_tool_search(name: str) -> ToolSearchType:
    """What searches tools, by that name.

    Raises: InvalidRequest: nobody offers it, or two distributions do; it cannot be loaded.
    """
    return cast("ToolSearchType", _load(_one(name, TOOL_SEARCH, entry_points(group=TOOL_SEARCH))))


def _one(name: str, group: str, on_offer: EntryPoints) -> EntryPoint:
    kind = _KINDS[group]
    found = tuple(on_offer.select(name=name))
    if not found:
        known = ", ".join(offered(group)) or "none"
        raise InvalidRequest(f"there is no {kind} {name}; installed: {known}", detail={kind: name})
    if len({entry.value for entry in found}) > 1:
        raise InvalidRequest(f"two installed distributions offer a {kind} {name}", detail={kind: name})
    return found[0]


def _load(entry: EntryPoint) -> Callable[..., object]:
    kind = _KINDS[entry.group]
    try:
        loaded: object = entry.load()
    except Exception as error:
        # A plug-in's import may fail in any way; the caller learns which one, the log what it was.
        raise InvalidRequest(
            f"the {kind} {entry.name} ({entry.value}) cannot be loaded: {type(error).__name__}",
            detail={kind: entry.name},
        ) from error
    if not callable(loaded):
        raise InvalidRequest(f"the {kind} {entry.name} ({entry.value}) is nothing that can be called")
    return loaded
