"""What stands around runs: open steps, notes for later ones, dead letters; in memory."""

import json
from dataclasses import replace

from gateway.core.catalog import EVERY_TENANT
from gateway.core.json import Json
from gateway.core.labels import Labels
from gateway.core.limits import Usage
from gateway.core.ports.dead_letters import DeadLetter, DeadState
from gateway.core.ports.runs import NOTES_AT_MOST, NotePlace
from gateway.core.ports.storage import OpenStep


class MemoryOpenSteps:
    """See `OpenSteps`. Give a second one the first's `rows` to play another process, or a restart."""

    def __init__(self, rows: dict[tuple[str, str], OpenStep] | None = None) -> None:
        self.rows = {} if rows is None else rows
        self.steps: dict[tuple[str, str], OpenStep] = {}
        """As far as this process knows of them."""
        self.ever: list[OpenStep] = []

    async def open(self, step: OpenStep) -> None:
        self._keep(step)
        self.ever.append(step)

    async def close(self, run_id: str, step_id: str) -> None:
        self.shut(run_id, step_id)

    def shut(self, run_id: str, step_id: str) -> None:
        self.steps.pop((run_id, step_id), None)
        self.rows.pop((run_id, step_id), None)

    def swept(self, run_id: str, step_id: str) -> None:
        """Nothing was left."""

    async def learn(self, run_id: str, step_id: str, labels: Labels) -> None:
        if (step := self.find(run_id, step_id)) is not None:
            self._keep(replace(step, labels=step.labels.join(labels)))

    async def spend(self, run_id: str, step_id: str, used: Usage) -> None:
        for steps in (self.steps, self.rows) if self.find(run_id, step_id) is not None else ():
            if (step := steps.get((run_id, step_id))) is not None:
                steps[run_id, step_id] = replace(step, spent=step.spent + used)

    def find(self, run_id: str, step_id: str) -> OpenStep | None:
        return self.steps.get((run_id, step_id))

    def of_agent(self, tenant: str, agent: str) -> tuple[OpenStep, ...]:
        return tuple(
            step for step in self.steps.values() if step.agent == agent and tenant in (step.actor.tenant, EVERY_TENANT)
        )

    def of_run(self, run_id: str) -> tuple[OpenStep, ...]:
        return tuple(step for step in self.steps.values() if step.run_id == run_id)

    async def load(self) -> None:
        self.steps = dict(self.rows)

    async def look(self, agent: str) -> None:
        self.steps = dict(self.rows)

    async def look_at_run(self, run_id: str) -> None:
        self.steps = dict(self.rows)

    def _keep(self, step: OpenStep) -> None:
        self.steps[step.run_id, step.step_id] = self.rows[step.run_id, step.step_id] = step


class MemoryNotes:
    """See `NoteStore`."""

    def __init__(self) -> None:
        self.notes: dict[NotePlace, dict[str, tuple[Json, int, int]]] = {}

    async def put(self, place: NotePlace, note_id: str, value: Json, *, at_us: int, until_us: int) -> None:
        there = self.notes.setdefault(place, {})
        there.pop(note_id, None)
        if value is not None:
            there[note_id] = (json.loads(json.dumps(value)), at_us, until_us)
        standing = [(each, note) for each, note in there.items() if note[2] > at_us]
        self.notes[place] = dict(standing[-NOTES_AT_MOST:])

    async def get(self, place: NotePlace, *, now_us: int, limit: int) -> tuple[Json, ...]:
        there = [(at_us, value) for value, at_us, until_us in self.notes.get(place, {}).values() if until_us > now_us]
        return tuple(value for _, value in reversed(there))[:limit]


class MemoryDeadLetters:
    """See `DeadLetters`."""

    def __init__(self) -> None:
        self.letters: dict[str, DeadLetter] = {}

    async def add(self, letter: DeadLetter) -> None:
        known = self.letters.get(letter.run_id)
        if known is None or known.state != "open":
            self.letters[letter.run_id] = letter

    async def find(self, tenant: str, run_id: str) -> DeadLetter | None:
        letter = self.letters.get(run_id)
        return letter if letter is not None and letter.tenant == tenant else None

    async def list(
        self, tenant: str, *, workflow: str = "", settled: bool = False, limit: int = 50
    ) -> tuple[DeadLetter, ...]:
        found = [
            letter
            for letter in self.letters.values()
            if letter.tenant == tenant and workflow in ("", letter.workflow) and (settled or letter.state == "open")
        ]
        return tuple(sorted(found, key=lambda letter: (letter.at_us, letter.run_id), reverse=True)[:limit])

    async def claim(
        self, tenant: str, run_id: str, *, at_us: int, before_us: int, by: str, retried_as: str = ""
    ) -> DeadLetter | None:
        letter = await self.find(tenant, run_id)
        if letter is None or letter.state != "open" or letter.settled_at_us >= before_us:
            return None
        retried_as = letter.retried_as or retried_as
        self.letters[run_id] = replace(letter, settled_at_us=at_us, settled_by=by, retried_as=retried_as)
        return self.letters[run_id]

    async def release(self, tenant: str, run_id: str, *, claimed_at_us: int) -> None:
        letter = await self.find(tenant, run_id)
        if letter is not None and letter.state == "open" and letter.settled_at_us == claimed_at_us:
            self.letters[run_id] = replace(letter, settled_at_us=0, settled_by="", retried_as="")

    async def settle(
        self, tenant: str, run_id: str, state: DeadState, *, at_us: int, by: str, retried_as: str = ""
    ) -> bool:
        letter = await self.find(tenant, run_id)
        if letter is None or letter.state != "open":
            return False
        said = {"state": state, "settled_at_us": at_us, "settled_by": by, "retried_as": retried_as}
        self.letters[run_id] = replace(letter, **said)
        return True
