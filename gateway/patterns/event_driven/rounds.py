"""What workers of an event-driven run are told of its findings: the latest whole, those before them in few words.

Nobody waits for a round there; so many findings make one. Without somebody who summarises all of them are handed on
whole. What only some may read is in no account, and handed to those as before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gateway.core.ports.orchestration import StepResult, Steps
from gateway.patterns.event_driven.findings import PREFIX, Findings
from gateway.patterns.shared.rolling import EARLIER, Rounds

ROUND = 5
"""Findings where the settings do not say after how many the goal is looked at."""


@dataclass(slots=True, kw_only=True)
class FindingRounds:
    """Of one run."""

    findings: Findings
    rounds: Rounds
    size: int
    """Findings that make a round."""
    _turned_at: int = 0
    _before: dict[str, StepResult] = field(default_factory=dict[str, StepResult])
    """Who had found out what when the latest round began."""
    _summed_up: Mapping[str, StepResult] = field(default_factory=dict[str, StepResult])
    """What the account is of, likewise."""
    _account: StepResult | None = None

    async def turn(self, steps: Steps) -> None:
        """Have what was found before the latest round summed up, as soon as that is full."""
        findings = self.findings
        if self.rounds.summariser is None or findings.kept - self._turned_at < self.size:
            return
        before, self._before, self._turned_at = self._before, dict(findings.by), findings.kept
        earlier = {name: by for name, by in before.items() if findings.by[name] is by and findings.is_open(name)}
        if not earlier:
            return
        said = {name: replace(by, value=findings.values[name], text="", summary="") for name, by in earlier.items()}
        if (account := await self.rounds.account(said, steps)) is not None:
            self._account, self._summed_up = account, earlier

    def handed_to(self, worker: str) -> tuple[tuple[str, ...], dict[str, StepResult]]:
        """The scratchpad's keys that the worker is handed, and what those before them came to."""
        reads = self.findings.readable_by(worker)
        if self._account is None:
            return reads, {}
        told = {f"{PREFIX}{name}" for name, by in self._summed_up.items() if self.findings.by[name] is by}
        return tuple(key for key in reads if key not in told), {EARLIER: self._account}
