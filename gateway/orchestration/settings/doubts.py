"""What workflows say that is legal, and probably not meant, or can never come true."""

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

from gateway.core.ports.orchestration import Pattern, PatternType
from gateway.orchestration.settings.workflow import WorkflowSettings


@runtime_checkable
class Doubting(Protocol):
    """A pattern that has something to say about its own settings."""

    def doubts(self) -> tuple[str, ...]:
        """In words, for whoever wrote them."""
        ...


@runtime_checkable
class Refusing(Protocol):
    """A pattern that refuses settings which runs begun with them may still go on with."""

    def refuse_dead(self) -> None:
        """Raises: InvalidRequest: they refer to what can never be there."""
        ...


def refuse_dead(pattern: Pattern) -> None:
    """Raises: InvalidRequest: see `Refusing`."""
    if isinstance(pattern, Refusing):
        pattern.refuse_dead()


def doubts(patterns: Mapping[str, PatternType], workflows: Mapping[str, WorkflowSettings]) -> Iterator[tuple[str, str]]:
    """(slug, doubt) of workflows whose patterns are set up without an error."""
    for slug, settings in workflows.items():
        pattern = patterns[settings.pattern](settings.to_json())
        if isinstance(pattern, Doubting):
            for doubt in pattern.doubts():
                yield slug, doubt
