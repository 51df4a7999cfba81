"""A stage that begins early, on what the stage before it is expected to answer, and counts only if that came true.

Until then it may only propose: sinks refuse it. On a wrong guess it is stopped and its work is thrown away. Of the
stage it waits for it is given the one field it speculates on, whether the guess is right or not: so the guess decides
how long a run takes, and not what it answers.
"""

from dataclasses import dataclass, replace

from gateway.core.json import Json, JsonObject, json_object
from gateway.core.ports.orchestration import Node, StepResult, Steps
from gateway.patterns.sequential.handover import Before, node_of
from gateway.patterns.sequential.stage_work import StageEnd, StageWays, staged
from gateway.patterns.sequential.stages import Speculation, Stage
from gateway.patterns.shared.references import resolved
from gateway.patterns.shared.sameness import same
from gateway.patterns.shared.settings import step_name
from gateway.patterns.shared.work import carried_out
from gateway.patterns.shared.writing import written


@dataclass(frozen=True, slots=True, kw_only=True)
class Early:
    """A stage that has begun before its turn."""

    stage: Stage
    guess: Speculation
    node: Node
    predicted: Json

    async def begin(self, steps: Steps) -> None:
        await steps.begin(step_name(self.stage.name), replace(self.node, phase="propose", publishes=False))

    async def taken(self, before: Before, ways: StageWays, steps: Steps, *, limit: int) -> StageEnd:
        """The stage's end, now that it is its turn."""
        ahead = await self._worth(before, steps)
        if ahead is None:
            work = staged(self.stage, node_for(self.stage, before), ways)
            return await carried_out(work, steps, limit=limit)
        work = staged(self.stage, self.node, ways)
        work.send(None)  # the call that has been made already
        return await carried_out(work, steps, limit=limit, told=await self._for_real(ahead, steps))

    async def dropped(self, steps: Steps, *, because: str, actual: Json = None) -> None:
        """Its work is thrown away."""
        await steps.drop(step_name(self.stage.name), reason=because)
        detail: JsonObject = {"stage": self.stage.name, "predicted": self.predicted, "actual": actual}
        await steps.decided("speculation", "dropped", because=because, detail=detail)

    async def _worth(self, before: Before, steps: Steps) -> StepResult | None:
        """What it has answered ahead of its turn; None where that is of no use."""
        guess = self.guess
        came = before.done.get(guess.stage)
        actual = None if came is None else json_object(came.value).get(guess.field)
        detail: JsonObject = {"stage": self.stage.name, "predicted": self.predicted, "actual": actual}
        if came is None or not same(actual, self.predicted):
            because = f"${guess.stage}.{guess.field} turned out to be something else"
            await self.dropped(steps, because=because, actual=actual)
            return None
        ended = await steps.finished()
        ahead = None if ended is None else ended[1]
        if ahead is None or not ahead.ok:
            because = f"it could not be done ahead of its turn: {ahead.reason if ahead else 'it did not begin'}"
            await steps.decided("speculation", "dropped", because=because, detail=detail)
            return None
        because = f"${guess.stage}.{guess.field} is what was predicted"
        await steps.decided("speculation", "kept", because=because, detail=detail)
        return ahead

    async def _for_real(self, ahead: StepResult, steps: Steps) -> StepResult:
        """What was only proposed is done; a stage that only reads has nothing to do."""
        if not self.stage.is_tool and ahead.commits and not self.guess.reads:
            given = {**json_object(self.node.input), "proposal": ahead.value}
            labels = self.node.labels.join(ahead.labels)
            return await steps.call(replace(self.node, input=given, labels=labels, phase="commit"))
        if self.stage.verify:
            return ahead  # written once it has been looked up
        return await written(ahead, steps)


def ahead_of(stage: Stage | None, running: Stage, before: Before) -> Early | None:
    """`stage` as it can begin beside `running`; None where it does not speculate, or has nothing to go by."""
    guess = None if stage is None else stage.speculate
    if stage is None or guess is None or guess.stage != running.name:
        return None
    predicted = resolved(guess.predict, before.known)
    if predicted is None:
        return None
    assumed = StepResult(id="", target=running.target, ok=True, value={guess.field: predicted})
    expected = replace(before, done={**before.done, running.name: assumed})
    if stage.when is not None and not stage.when.holds(expected.known):
        return None
    return Early(stage=stage, guess=guess, node=node_of(stage, expected), predicted=predicted)


def node_for(stage: Stage, before: Before) -> Node:
    """The step that a stage is when it is its turn."""
    guess = stage.speculate
    came = None if guess is None else before.done.get(guess.stage)
    if guess is None or came is None:
        return node_of(stage, before)
    field = {name: each for name, each in json_object(came.value).items() if name == guess.field}
    narrowed = replace(came, value=field, text="", summary="")
    return node_of(stage, replace(before, done={**before.done, guess.stage: narrowed}))
