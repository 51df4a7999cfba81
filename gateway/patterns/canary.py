"""A new version of an agent or workflow on a share of conversations, rolled back by itself when it does worse.

A conversation keeps the version it got. Who did how well is noted for later runs: the candidate is judged by its latest
answers beside the baseline's, and once it is rolled back it stays so until the settings name another candidate.
"""

from dataclasses import dataclass
from hashlib import sha256

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, canonical_json, json_object
from gateway.core.ports.orchestration import Node, Note, Outcome, StepError, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.shared.nested import gaps_in, notices_in
from gateway.patterns.shared.settings import number_or, slug_of, target_in, whole

TOPIC = "canary"
ROLLED_BACK = "rolled back"
FOREVER_S = 10 * 365 * 86_400.0
NOT_ITS_FAULT: frozenset[StepError] = frozenset({"denied", "budget", "deadline", "canceled", "input_required"})
"""Failures that say nothing about the version."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How two versions did lately."""

    baseline: tuple[bool, ...]
    candidate: tuple[bool, ...]

    def worse(self, *, least: int, worse_by: float) -> bool:
        """Whether the candidate fails more often than it may, as far as there is enough to judge by."""
        return len(self.candidate) >= least and failed(self.candidate) > failed(self.baseline) + worse_by


class Canary:
    """See `Pattern`."""

    uses = frozenset({"canary"})
    ignores = frozenset({"max_rounds", "on_failure"})
    """Whichever version is asked is asked once, and what it answers is the answer: it is to be judged by that."""

    def __init__(self, settings: JsonObject) -> None:
        """Raises: InvalidRequest: a version is missing, or both are the same."""
        block = json_object(settings.get("canary"))
        for name in ("baseline", "candidate"):
            if not block.get(name):
                raise InvalidRequest(f"the pattern canary needs a {name}", detail={"setting": f"canary.{name}"})
        self._baseline = target_in(json_object(block.get("baseline")))
        self._candidate = target_in(json_object(block.get("candidate")))
        if self._baseline == self._candidate:
            raise InvalidRequest("the candidate is the baseline itself", detail={"setting": "canary.candidate"})
        self._share = number_or(block, "share", 0.1)
        self._worse_by = number_or(block, "worse_by", 0.1)
        self._least, self._window = whole(block, "least", 10), whole(block, "window", 50)
        named: list[Json] = [self._baseline, self._candidate]
        self._version = sha256(canonical_json(named)).hexdigest()[:16]

    async def run(self, task: Task, steps: Steps) -> Outcome:
        target, because = await self._chosen(task, steps)
        await steps.decided("version", target, because=because, detail={"share": self._share})
        result = await steps.call(Node(target=target, input=_given(task)))
        if result.error not in NOT_ITS_FAULT:
            await self._noted(target, task, result, steps)
        if result.ok:
            await steps.part(slug_of(target), result.answer, text=result.text)
        return _outcome(result)

    async def _chosen(self, task: Task, steps: Steps) -> tuple[str, str]:
        if await steps.recall(TOPIC, f"{self._version} {ROLLED_BACK}"):
            return self._baseline, "the candidate was rolled back"
        if place_of(task.context_id) >= self._share:
            return self._baseline, "the conversation belongs to the baseline's share"
        standing = Standing(await self._done(self._baseline, steps), await self._done(self._candidate, steps))
        if not standing.worse(least=self._least, worse_by=self._worse_by):
            return self._candidate, "the conversation belongs to the candidate's share"
        evidence: JsonObject = {
            "candidate_failed": round(failed(standing.candidate), 3),
            "baseline_failed": round(failed(standing.baseline), 3),
            "answers": len(standing.candidate),
        }
        await steps.note(
            Note(topic=TOPIC, key=f"{self._version} {ROLLED_BACK}", value=evidence, whose="workflow", ttl_s=FOREVER_S)
        )
        because = (
            f"it failed {failed(standing.candidate):.0%} of the time, the baseline {failed(standing.baseline):.0%}"
        )
        await steps.decided("roll-back", self._candidate, because=because, detail=evidence)
        return self._baseline, "the candidate has just been rolled back"

    async def _done(self, target: str, steps: Steps) -> tuple[bool, ...]:
        """Whether its latest answers were any, newest first."""
        kept = await steps.recall(TOPIC, f"{self._version} {target}", limit=self._window)
        return tuple(each is True for each in kept)

    async def _noted(self, target: str, task: Task, result: StepResult, steps: Steps) -> None:
        key = f"{self._version} {target}"
        await steps.note(Note(topic=TOPIC, key=key, value=result.ok, id=task.id, ttl_s=30 * 86_400.0))


def place_of(context_id: str) -> float:
    """Where a conversation stands between 0 and 1: always the same place, and all of them evenly spread."""
    return int.from_bytes(sha256(context_id.encode()).digest()[:8], "big") / 2**64


def failed(done: tuple[bool, ...]) -> float:
    """Share of answers that were none."""
    return 0.0 if not done else done.count(False) / len(done)


def _given(task: Task) -> JsonObject:
    message = task.message
    if message is None:
        return {}
    data = message.structured
    return {"message": message.text, **({} if data is None else {"data": data})}


def _outcome(result: StepResult) -> Outcome:
    """The version's answer as if it had been asked itself: of a workflow's answer its parts, not the whole in one."""
    if not result.ok:
        reason = result.because
        return Outcome(text=f"{result.target} failed: {reason}", error=reason)
    return Outcome(text=result.text, value=result.answer, gaps=gaps_in(result), notices=notices_in(result))
