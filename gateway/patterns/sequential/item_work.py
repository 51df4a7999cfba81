"""A stage for one item of a batch or for several at once, and what came of it for each of them."""

from collections.abc import Sequence
from dataclasses import replace

from gateway.core.ports.orchestration import Node
from gateway.patterns.sequential.handover import answers_of_list, node_of_list
from gateway.patterns.sequential.shares import StageShare
from gateway.patterns.sequential.stage_work import StageEnd, StageWays, staged
from gateway.patterns.sequential.stages import Stage
from gateway.patterns.shared.effects import Effect, effects_of
from gateway.patterns.shared.undoing import Undoing
from gateway.patterns.shared.verify import verified
from gateway.patterns.shared.work import Work, published


def staged_for(
    stage: Stage, nodes: list[Node], ways: StageWays, share: StageShare, undoing: Undoing
) -> Work[list[StageEnd]]:
    """The stage for the items of `nodes`: its end for each of them."""
    if not stage.takes_lists:
        return [(yield from staged(stage, nodes[0], ways, share, undoing))]
    # Whatever is looked up is looked up in each answer by itself.
    end = yield from staged(replace(stage, verify=()), node_of_list(stage, nodes), ways, share, undoing)
    shares = [effects_on(number, end.effects, len(nodes)) for number in range(len(nodes))]
    if not end.result.ok:
        return [replace(end, effects=effects) for effects in shares]
    ends: list[StageEnd] = []
    for answer, effects in zip(answers_of_list(end.result, len(nodes)), shares, strict=False):
        looked_up = yield from verified(stage.verify, stage.name, answer)
        effects = (*effects[:-1], *effects_of(answer, looked_up.result))
        ends.append(replace(end, result=looked_up.result, gaps=(*end.gaps, *looked_up.gaps), effects=effects))
    if stage.verify and all(each.result.ok for each in ends):
        written = yield from published(end.result)
        if not written.ok:
            because = written.because
            return [
                replace(each, result=written, effects=(*each.effects[:-1], Effect(result=each.result, because=because)))
                for each in ends
            ]
    return ends


def effects_on(number: int, effects: Sequence[Effect], count: int) -> tuple[Effect, ...]:
    """What attempts at a list of so many items brought about for one of them, counted from 0."""
    found: list[Effect] = []
    for effect in effects:
        # What nobody knows of the list nobody knows of each.
        answers = [effect.result] * count if effect.result.value is None else answers_of_list(effect.result, count)
        found += [replace(effect, result=each) for each in answers[number : number + 1]]
    return tuple(found)
