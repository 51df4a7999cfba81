"""Settings that a workflow's pattern does not read: whoever wrote them meant something, and nothing would come of it.

Refused when a configuration is checked, and never of a run under way, which goes on with what it began with.
"""

from typing import Protocol, runtime_checkable

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject, json_object
from gateway.core.ports.orchestration import PatternType
from gateway.orchestration.settings.workflow import ROLES

COMMON = frozenset(
    {
        *("pattern", "title", "description", "tenant", "limits", "scratchpad", "glossary", "memory", "recall"),
        *("history", "history_bytes", "summariser"),
    }
)
"""What counts whatever the pattern."""


@runtime_checkable
class Exact(Protocol):
    """A pattern that says which settings beside the common ones it reads."""

    uses: frozenset[str]


@runtime_checkable
class Unbounded(Protocol):
    """A pattern in which some of the limits have nothing to bound."""

    ignores: frozenset[str]


def refuse_unused(pattern: PatternType, settings: JsonObject) -> None:
    """Raises: InvalidRequest: the settings give a role, workers, a block or a limit that the pattern has no use for."""
    name = str(settings.get("pattern"))
    if isinstance(pattern, Exact):
        known = ", ".join(sorted(pattern.uses))
        for setting in sorted(settings.keys() - pattern.uses - COMMON):
            whose = f"nobody is ever asked to be {setting} there" if setting in ROLES else f"it reads {known}"
            message = f"the pattern {name} has no use for {setting}: {whose}"
            raise InvalidRequest(message, detail={"setting": setting})
    if isinstance(pattern, Unbounded):
        for limit in sorted(pattern.ignores & json_object(settings.get("limits")).keys()):
            message = f"the pattern {name} has no use for limits.{limit}"
            raise InvalidRequest(message, detail={"setting": "limits"})
