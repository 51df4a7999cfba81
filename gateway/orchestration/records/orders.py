"""One step that is to be done, and how it is shown. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from gateway.core.json import Json, JsonObject
from gateway.core.ports.orchestration import Node, StepResult
from gateway.core.ports.runs import RunStep

SHOWN_BYTES = 8192
"""Inputs and values up to this size are kept with the step for people; the journal has the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One step to be done."""

    run_id: str
    id: str
    name: str
    """What the pattern calls it."""
    node: Node
    first_attempt: int
    results: Mapping[str, StepResult] = field(default_factory=dict[str, StepResult])
    side_by_side: bool = False
    """Others may be under way: what it writes on the scratchpad without having seen it must not be there yet."""
    until_s: float
    """Monotonic seconds at which the run, or the graph it is part of, ends."""
    held_s: float = 0.0
    """How long the run's clock had stood still in this process when `until_s` was reckoned."""
    home: str = ""
    """The run in which it happens, or happened: another one where it was taken over."""
    group: int = 0
    """Slot of the first of those that were drawn together."""
    stands_in: bool = False
    """Another tool was called for this step before, and is known to have failed."""

    @property
    def message_id(self) -> str:
        """The same for every delivery of this order, and no other's: agents tell repeats by it."""
        named = self.id if self.first_attempt == 1 else f"{self.id}.{self.first_attempt}"
        if not self.home or self.id.startswith(f"{self.home}/"):
            return named
        # Another attempt at a step of another run, which may have made further ones itself.
        return f"{named}@{self.home}"

    @property
    def key(self) -> str:
        """Under which a tool does it once, however often it is called for the step: what a tool answered is not
        another's answer."""
        return f"{self.id}/{self.slug}" if self.stands_in else self.id

    @property
    def kind(self) -> str:
        return self.node.target.partition(":")[0]

    @property
    def slug(self) -> str:
        """Of the agent or workflow; of a tool, its whole local name."""
        return self.node.target.partition(":")[2]

    @property
    def journal_name(self) -> str:
        """What stands in the journal: a resumed run whose pattern asks for anything else is stopped."""
        node = self.node
        given = [[name, each.id, each.ok, each.attempts] for name, each in self.results.items()]
        asked = [self.message_id, node.input, node.phase, list(node.reads), given]
        digest = sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        return f"{node.target}#{digest[:16]}"

    @property
    def known_as(self) -> str:
        """What people know it by."""
        return self.node.name if self.node.name and self.name == target_name(self.node.target) else self.name

    def drawn(self) -> JsonObject:
        """What is kept beside the result for whoever wants to go on from here."""
        given: list[Json] = [each.id for each in self.results.values()]
        return {"message": self.message_id, "group": self.group, "given": given, "claims": [*self.node.claims]}

    def place(self, result: StepResult) -> tuple[str, int]:
        """What no other attempt at a step of the run has: its id, and which attempt it is."""
        return self.id, max(result.attempts, self.first_attempt)

    def row(self, result: StepResult, *, state: str = "") -> RunStep:
        """The step as it is shown, in `state`, or as `result` says."""
        step_id, attempt = self.place(result)
        return RunStep(
            run_id=self.run_id,
            id=step_id,
            parent=self.run_id,
            target=self.node.target,
            state=state or ("ok" if result.ok else result.error),
            attempt=attempt,
            started_at_us=result.started_at_us,
            duration_us=result.duration_us,
            phase=self.node.phase,
            input=shown(self.node.input),
            value=shown(result.value),
            summary=result.summary,
            reason=result.reason,
            usage=result.usage,
            labels=result.labels,
            record_id=result.record_id,
            remote_task=result.remote_task,
        )


def target_name(target: str) -> str:
    """What a step is called that nobody has given a name."""
    return target.rpartition(":")[2].rpartition("/")[2]


def shown(value: Json) -> Json:
    """The value, or its size where it is too large to be kept twice."""
    size = len(json.dumps(value, ensure_ascii=False))
    return value if size <= SHOWN_BYTES else {"bytes": size}


def described(order: Order, result: StepResult, handed: JsonObject) -> JsonObject:
    """What is told of a step's end beside the words; `handed`: see `handed.handed`."""
    said: JsonObject = {"handed": handed} if handed else {}
    return {
        **said,
        "step": order.id,
        "name": order.known_as,
        "target": result.target,
        "phase": result.phase,
        "ok": result.ok,
        "error": result.error,
        "attempt": result.attempts,
    }
