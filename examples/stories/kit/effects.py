"""What MCP servers are made of, plain functions, and what those really did. Knows no protocol."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Functions: TypeAlias = "Mapping[str, Callable[..., Any]]"
"""Tools of one server, by name: functions with typed arguments, whose docstring says what they do."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that really happened."""

    name: str
    key: str
    what: Mapping[str, Any]


class Effects:
    """The log of one server's effects, so that "once" can be seen."""

    def __init__(self) -> None:
        self.all: list[Effect] = []
        self.repeats = 0
        """Calls under a key that had its effect already."""

    def once(self, name: str, key: str, **what: Any) -> bool:
        """Let it happen, once per key; whether it was new."""
        if any((each.name, each.key) == (name, key) for each in self.all):
            self.repeats += 1
            return False
        self.all.append(Effect(name, key, what))
        return True

    def done(self, name: str) -> list[Mapping[str, Any]]:
        """What happened under this name, in order."""
        return [each.what for each in self.all if each.name == name]

    @property
    def names(self) -> list[str]:
        """What happened, in order, by name alone."""
        return [each.name for each in self.all]
