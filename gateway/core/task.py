"""A unit of work with a life of its own, under A2A's names. A run is a task with a journal. Knows no wire format."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from gateway.core.content import Content, content_of
from gateway.core.json import Json


class TaskState(StrEnum):
    """The states of A2A 1.0 section 4.1.3, without the wire's prefix."""

    SUBMITTED = "submitted"
    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    AUTH_REQUIRED = "auth_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    REJECTED = "rejected"

    @property
    def terminal(self) -> bool:
        """No move leads out of it."""
        return self in _TERMINAL


_TERMINAL = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELED, TaskState.REJECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message of a task's history."""

    id: str
    role: Literal["user", "agent"]
    content: Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One output of a task."""

    id: str
    content: Content
    name: str = ""
    metadata: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A snapshot of a task."""

    id: str
    context_id: str
    state: TaskState
    updated_at_us: int
    """UTC microseconds since 1970."""
    created_at_us: int = 0
    message: Content | None = None
    """What the agent says about the state it is in."""
    artifacts: tuple[Artifact, ...] = ()
    history: tuple[Turn, ...] = ()
    metadata: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """One page of somebody's tasks: a `Body`, so that a `task.list` ends as any other call does."""

    tasks: tuple[Task, ...]
    """Latest change first."""
    next_token: str = ""
    """What to ask with for the next page; empty at the end."""
    total: int = 0
    """How many there are on all pages."""

    @property
    def size_bytes(self) -> int:
        return 0

    def content(self) -> Content:
        """Ids and states; whoever wants the tasks themselves recognises the class."""
        return content_of({"tasks": [{"id": task.id, "state": task.state.value} for task in self.tasks]})
