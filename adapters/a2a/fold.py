"""What a task has come to, from its events. Pure.

Pieces of an artifact are kept apart until somebody asks: joining them at each event makes long streams quadratic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adapters.a2a.wire.events import TaskEvent
from gateway.core.content import Content, Part, text_part
from gateway.core.json import Json, canonical_json
from gateway.core.limits import Usage
from gateway.core.model import ArtifactAdded, StatusChanged, TaskOpened
from gateway.core.task import Artifact, Task, TaskState
from gateway.core.usage import usage_in, usage_over


@dataclass(slots=True)
class _Growing:
    artifact: Artifact
    parts: list[Part] = field(default_factory=list[Part])

    def whole(self) -> Artifact:
        structured = next((part.data for part in self.parts if part.kind == "data"), None)
        return Artifact(
            id=self.artifact.id,
            name=self.artifact.name,
            metadata=self.artifact.metadata,
            content=Content(parts=tuple(self.parts), structured=structured),
        )


class TaskFold:
    """Starts empty; the first event has to open the task. One instance a task, one writer."""

    __slots__ = ("_artifacts", "_metadata", "_opened", "_reports", "_said", "state", "updated_at_us")

    def __init__(self) -> None:
        self._opened: Task | None = None
        self._artifacts: dict[str, _Growing] = {}
        self._said: Content | None = None
        self._metadata: Mapping[str, Json] = {}
        self._reports: list[Mapping[str, Json]] = []
        self.state = TaskState.SUBMITTED
        self.updated_at_us = 0

    @property
    def task_id(self) -> str:
        """Empty before the task was opened."""
        return "" if self._opened is None else self._opened.id

    @property
    def context_id(self) -> str:
        return "" if self._opened is None else self._opened.context_id

    @property
    def has_artifacts(self) -> bool:
        return bool(self._artifacts)

    def apply(self, event: TaskEvent) -> None:
        """Take in the next event; of a task that is open already, a snapshot replaces what is known."""
        match event:
            case TaskOpened(task=task):
                self._opened = task
                self._metadata = task.metadata
                self._reports = _said_in(task)
                self._artifacts = {each.id: _Growing(each, [*each.content.parts]) for each in task.artifacts}
                self._move(task.state, task.updated_at_us, task.message)
            case StatusChanged():
                self._note(event.metadata)
                said = Content(parts=(text_part(event.text),)) if event.text else None
                self._move(event.state, event.at_us, said)
            case ArtifactAdded(artifact=artifact):
                self._note({**artifact.metadata, **event.metadata})
                growing = self._artifacts.get(artifact.id)
                if growing is not None and event.append:
                    growing.parts.extend(artifact.content.parts)
                else:
                    self._artifacts[artifact.id] = _Growing(artifact, [*artifact.content.parts])

    def usage(self) -> Usage:
        """What the agent reports of the whole task; where it does not, what its messages and artifacts report."""
        whole = usage_in(self._metadata)
        return whole if whole.tokens or whole.cost_usd else usage_over(self._reports)

    def missing(self, snapshot: Task) -> list[TaskEvent]:
        """Events that lead from here to a newer snapshot of the same task, whose own metadata counts from now on."""
        self._metadata = snapshot.metadata or self._metadata
        events: list[TaskEvent] = []
        for artifact in snapshot.artifacts:
            known = self._artifacts.get(artifact.id)
            if known is None or tuple(known.parts) != artifact.content.parts:
                events.append(
                    ArtifactAdded(task_id=snapshot.id, context_id=snapshot.context_id, artifact=artifact, append=False)
                )
        if snapshot.state is not self.state:
            events.append(
                StatusChanged(
                    task_id=snapshot.id,
                    context_id=snapshot.context_id,
                    state=snapshot.state,
                    text="" if snapshot.message is None else snapshot.message.text,
                    at_us=snapshot.updated_at_us,
                    metadata={} if snapshot.message is None else snapshot.message.metadata,
                )
            )
        return events

    def growth(self, event: TaskEvent) -> int:
        """By how many bytes an artifact from a snapshot is larger than what is known of it; 0 for other events."""
        if not isinstance(event, ArtifactAdded):
            return 0
        known = self._artifacts.get(event.artifact.id)
        return max(0, _size_of(event.artifact.content.parts) - (0 if known is None else _size_of(known.parts)))

    def task(self) -> Task | None:
        """The task as it is now; None before it was opened."""
        opened = self._opened
        if opened is None:
            return None
        return Task(
            id=opened.id,
            context_id=opened.context_id,
            state=self.state,
            updated_at_us=self.updated_at_us,
            created_at_us=opened.created_at_us,
            message=self._said,
            artifacts=tuple(each.whole() for each in self._artifacts.values()),
            history=opened.history,
            metadata=opened.metadata,
        )

    def _note(self, metadata: Mapping[str, Json]) -> None:
        if metadata:
            self._reports.append(metadata)

    def _move(self, state: TaskState, at_us: int, said: Content | None) -> None:
        self.state, self.updated_at_us, self._said = state, at_us or self.updated_at_us, said


def _size_of(parts: Sequence[Part]) -> int:
    """Roughly, as it came."""
    data = (len(canonical_json(part.data)) for part in parts if part.kind == "data")
    return sum(data) + sum(len(part.text) + len(part.raw) + len(part.url) for part in parts)


def _said_in(task: Task) -> list[Mapping[str, Json]]:
    """The metadata of what the agent has said so far, in its order."""
    turns = [turn.content.metadata for turn in task.history if turn.role == "agent"]
    message = [] if task.message is None else [task.message.metadata]
    return [each for each in (*turns, *message, *(made.metadata for made in task.artifacts)) if each]
