"""A story, as data: who is in it, and what is asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from examples.stories.kit.agents import Agent
from examples.stories.kit.callers import Told
from examples.stories.kit.effects import Effects, Functions

if TYPE_CHECKING:
    from examples.stories.kit.world import World


Server: TypeAlias = "Callable[[Effects], Functions]"
"""Makes the tools of an MCP server, which write what they do into its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request of somebody's to a workflow, or to an agent."""

    workflow: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    who: str = "ana"
    """Principal of the configuration."""
    key: str = ""
    """Idempotency key; by default one of its own."""
    conversation: str = ""
    """Context id, where it is asked by A2A."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What an agent says of itself."""

    description: str
    skills: Sequence[str] = ()
    """Ids of its skills."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    folder: Path
    """Where its `gateway.yaml` is."""
    agents: Mapping[str, Agent] = field(default_factory=dict[str, Agent])
    servers: Mapping[str, Callable[[Effects], Functions]] = field(
        default_factory=dict[str, Callable[[Effects], Functions]]
    )
    """Made anew for each telling."""
    asks: Sequence[Ask] = ()
    """What the runner asks, one after the other."""
    together: bool = False
    """The runner asks all at the same time."""
    cards: Mapping[str, Card] = field(default_factory=dict[str, Card])
    down: Sequence[str] = ()
    """Agents and servers nobody answers for: their ports are closed."""
    meanwhile: "Callable[[World], None] | None" = None
    """What somebody does while the runner waits for an answer, each time."""
    epilogue: "Callable[[World, Sequence[Told]], str] | None" = None
    """What the runner prints at the end."""
