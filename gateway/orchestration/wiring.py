"""What the orchestrator needs of the outside, in one value."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.ports.approvals import Approvals
from gateway.core.ports.journal import Journal, ScratchStore
from gateway.core.ports.runs import NoteStore, RunStore
from gateway.core.ports.storage import OpenStep, OpenSteps
from gateway.core.ports.world import Clock, Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Built once, by the composition root."""

    journal: Journal
    runs: RunStore
    open_steps: OpenSteps
    scratch: ScratchStore
    notes: NoteStore
    approvals: Approvals
    clock: Clock
    ids: Ids
    mint: Callable[[OpenStep], str]
    """The delegation token of an open step; empty for none. Never kept."""
    agent_roles: Callable[[str, str], frozenset[str]]
    """(tenant, slug) -> the roles an agent acts in."""
