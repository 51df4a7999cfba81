"""What the parts of one run share while it is under way."""

from collections.abc import Mapping
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from gateway.core.labels import CLEAN, Labels
from gateway.core.model import Principal
from gateway.core.ports.gateway import Gateway
from gateway.core.ports.runs import RunStep
from gateway.orchestration.records.spec import RunSpec
from gateway.orchestration.running.chronicle import Chronicle
from gateway.orchestration.running.ledger import Ledger
from gateway.orchestration.running.pauses import Gate
from gateway.orchestration.running.relaying import Floor, Relay
from gateway.orchestration.settings.workflow import KeySettings, LimitSettings
from gateway.orchestration.wiring import Wiring


@dataclass(slots=True, kw_only=True)
class Recap:
    """What was said before the turns that are handed over, in few words; known once it was asked for."""

    text: str = ""
    labels: Labels = CLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """Built when a run begins or goes on, and gone when it ends or the process does."""

    wiring: Wiring
    gateway: Gateway
    spec: RunSpec
    acting: Principal
    limits: LimitSettings
    keys: Mapping[str, KeySettings]
    ledger: Ledger
    chronicle: Chronicle
    rows: Mapping[tuple[str, int], RunStep]
    """Steps as an earlier process left them, by id and attempt."""
    group: TaskGroup
    """Owns what goes on beside the pattern; ends with the run."""
    remote_tasks: dict[str, str]
    """What whoever works on a step calls the work, by step id."""
    floor: Floor
    """Taken by whoever asks the run's caller something."""
    relays: dict[str, Relay]
    """Who passes on what nested runs ask, by step id."""
    gate: Gate
    """Closed while the run is paused."""
    recap: Recap
    """What turns came to that its history leaves out."""
    leaving: anyio.Event
    """Set when the gateway goes down: what fails from then on says nothing about the step."""

    def last_seen(self, step_id: str, first_attempt: int) -> RunStep | None:
        """The attempt at a step, from `first_attempt` on, that had not ended when an earlier process last wrote of it:
        `running`, or `canceled` with the run."""
        left = (
            row
            for (each, attempt), row in self.rows.items()
            if each == step_id and attempt >= first_attempt and row.state in ("running", "canceled")
        )
        return max(left, key=lambda row: row.attempt, default=None)

    def last_canceled(self, step_id: str, first_attempt: int) -> int:
        """The last attempt at a step, from `first_attempt` on, that ended with the run; 0 for none."""
        ended = (
            attempt
            for (each, attempt), row in self.rows.items()
            if each == step_id and attempt >= first_attempt and row.state == "canceled"
        )
        return max(ended, default=0)
