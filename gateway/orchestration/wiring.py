"""What the orchestrator needs of the outside, in one value."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.labels import CLEAN, Labels
from gateway.core.ports.approvals import Approvals
from gateway.core.ports.costs import TokenCounter
from gateway.core.ports.dead_letters import DeadLetters
from gateway.core.ports.journal import Journal, ScratchStore
from gateway.core.ports.orchestration import PatternType
from gateway.core.ports.runs import NoteStore, RunStore
from gateway.core.ports.storage import OpenStep, OpenSteps
from gateway.core.ports.world import Clock, Ids
from gateway.orchestration.messages.fitting import Reader
from gateway.orchestration.messages.memories import Memories


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Built once, by the composition root."""

    journal: Journal
    runs: RunStore
    open_steps: OpenSteps
    scratch: ScratchStore
    notes: NoteStore
    approvals: Approvals
    dead_letters: DeadLetters
    clock: Clock
    ids: Ids
    mint: Callable[[OpenStep], str]
    """The delegation token of an open step; empty for none. Never kept."""
    agent_roles: Callable[[str, str], frozenset[str]]
    """(tenant, slug) -> the roles an agent acts in."""
    load_pattern: Callable[[str], PatternType]
    """A pattern no configured workflow names. Raises: InvalidRequest: it is not installed."""
    memories: Memories | None = None
    """What agents remember; None where nothing is to be remembered."""
    alone: bool = True
    """Whether no other process works on the same runs."""
    counter: TokenCounter | None = None
    """Counts what agents are told; None where no window is to be kept."""
    reader: Callable[[str, str], Reader] = lambda tenant, slug: Reader()
    """(tenant, slug) -> what an agent can read."""
    agent_labels: Callable[[str, str], Labels] = lambda tenant, slug: CLEAN
    """(tenant, slug) -> of whatever an agent says, in its answer or by the way."""
