"""Finding tools by what they are for, where there are too many to list. Knows no engine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from gateway.core.json import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDocument:
    """What is said of one tool, for an index to find it by."""

    name: str
    """As it is called; unique in the index."""
    title: str
    description: str
    arguments: str
    """Names and descriptions of its arguments."""


class ToolIndex(Protocol):
    """The tools one class of callers may use. Replaced whole when they change."""

    async def search(self, query: str, limit: int) -> Sequence[str]:
        """Names of the tools that fit best, the best first; none where nothing fits. Called by many at once.

        Raises: Unavailable, UpstreamFailed.
        """
        ...


class ToolSearch(Protocol):
    """Makes indexes."""

    async def index(self, documents: Sequence[ToolDocument]) -> ToolIndex:
        """Raises: Unavailable, UpstreamFailed."""
        ...


ToolSearchType: TypeAlias = Callable[[Mapping[str, Json]], ToolSearch]
"""A callable that takes a set's `options`; what an entry point of the group `gateway.tool_search` is."""
