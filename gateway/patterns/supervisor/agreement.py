"""Agents propose side by side, and none sees what the others write meanwhile: two ships that pass in the night.

What they propose to write is put on the scratchpad in the order of the plan, each key against the version its writer
was handed. Whoever was handed something older than what stands there now - a key, or a result it builds on - proposes
again, with the new value. That goes on until nothing changes any more, or somebody has been asked too often: then there
is no agreement, and nothing may be committed.

One layer is done at a time: those who do not wait for a key another stale step is about to write. Otherwise a step
would be asked again for each step of a chain before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gateway.core.errors import Conflict
from gateway.core.json import Json
from gateway.core.ports.orchestration import StepResult, Steps
from gateway.core.ports.scratchpad import Entry
from gateway.patterns.planned.plan import PlanStep
from gateway.patterns.planned.rounds import Attempt, Ways, worked_off

ASKED_AGAIN_AT_MOST = 3
"""Per step."""


@dataclass(slots=True, kw_only=True)
class Agreement:
    """Where the proposals stand."""

    plan: dict[str, PlanStep]
    results: dict[str, StepResult]
    open: list[str] = field(default_factory=list[str])
    """Steps that still contradict others when it was given up."""
    _asked: dict[str, int] = field(default_factory=dict[str, int])
    _built_on: dict[str, dict[str, Json]] = field(default_factory=dict[str, dict[str, Json]])
    """What each step was handed of the results it builds on."""
    _published: dict[str, int] = field(default_factory=dict[str, int])
    """The attempt of each step whose writes are on the scratchpad."""

    async def reached(self, steps: Steps, ways: Ways) -> bool:
        """Whether the proposals fit together now."""
        self._note(self.results)
        while True:
            entries = dict(await steps.scratchpad.all())
            stale = self._overtaken(entries, await self._published_in_order(entries, steps))
            if not stale:
                return True
            tired = [step_id for step_id in self.plan if self._asked.get(step_id, 0) >= ASKED_AGAIN_AT_MOST]
            self.open = [step_id for step_id in tired if step_id in stale]
            if self.open:
                return False
            layer = self._first_layer(stale)
            because = "; ".join(f"{step_id} was overtaken: {stale[step_id]}" for step_id in layer)
            await steps.decided("again", [*layer], because=because)
            again = {step_id: self.results[step_id].id for step_id in layer}
            attempt = Attempt(phase="propose", publishes=False, earlier=self.results, again=again)
            latest = await worked_off(self.plan, layer, attempt, steps, ways)
            for step_id in layer:
                self._asked[step_id] = self._asked.get(step_id, 0) + 1
            self.results |= latest
            self._note(latest)

    async def _published_in_order(self, entries: dict[str, Entry], steps: Steps) -> dict[str, str]:
        """Put what is new on the scratchpad; the steps whose writes somebody else's stood against, and at which key."""
        overtaken: dict[str, str] = {}
        for step_id, step in self.plan.items():
            result = self.results[step_id]
            if not result.ok or self._published.get(step_id) == result.attempts:
                continue
            for key, value in result.writes.items():
                entry = entries.get(key)
                if entry is not None and entry.value == value:
                    continue
                own = entry is not None and entry.writer == result.id
                expected = entry.version if entry is not None and own else result.reads.get(key, 0)
                try:
                    entries[key] = await steps.scratchpad.put(
                        key, value, expected_version=expected, writer=result.id, labels=result.labels
                    )
                except Conflict:
                    overtaken.setdefault(step_id, key)
                    # It is shown what stands there, even if it did not ask to see it.
                    self.plan[step_id] = replace(step, reads=tuple(dict.fromkeys((*step.reads, key))))
            if step_id not in overtaken:
                self._published[step_id] = result.attempts
        return overtaken

    def _overtaken(self, entries: Mapping[str, Entry], at: Mapping[str, str]) -> dict[str, str]:
        """Steps that were handed something older than what stands there now, and what that is. `at`: the key at which
        somebody else's writing stood against a step's own."""
        found: dict[str, str] = {}
        for step_id, result in self.results.items():
            older, changed = self._read_older(result, entries), self._changed_below(step_id)
            if step_id in at:
                found[step_id] = f"another has written {at[step_id]}"
            elif result.ok and older:
                found[step_id] = f"{', '.join(older)} has changed since"
            elif result.ok and changed:
                found[step_id] = f"what {', '.join(changed)} answers has changed since"
        return found

    def _read_older(self, result: StepResult, entries: Mapping[str, Entry]) -> list[str]:
        """Keys that have another value now than the one it was handed."""
        return [
            key
            for key, version in result.reads.items()
            if key in entries and entries[key].version != version and entries[key].writer != result.id
        ]

    def _changed_below(self, step_id: str) -> list[str]:
        """Steps it builds on that answer something else now."""
        before, now = self._built_on[step_id], self._builds_on(step_id)
        return [each for each in now if before.get(each) != now[each]]

    def _first_layer(self, stale: Mapping[str, str]) -> list[str]:
        """Those who neither read what another stale step writes nor come after one; where all do, the plan's first."""
        ordered = [step_id for step_id in self.plan if step_id in stale]
        layer = [
            step_id
            for step_id in ordered
            if not any(self._waits_for(step_id, other) for other in ordered if other != step_id)
        ]
        return layer or ordered[:1]

    def _waits_for(self, step_id: str, other: str) -> bool:
        step = self.plan[step_id]
        return other in step.after or bool(set(step.reads).intersection(self.results[other].writes))

    def _note(self, latest: Mapping[str, StepResult]) -> None:
        for step_id in latest:
            self._built_on[step_id] = self._builds_on(step_id)

    def _builds_on(self, step_id: str) -> dict[str, Json]:
        results = self.results
        return {each: [results[each].ok, results[each].value] for each in self.plan[step_id].after}
