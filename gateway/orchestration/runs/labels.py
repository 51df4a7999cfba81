"""What is known of what a run says to whoever looks at it: of its request, its steps, their questions, its answer."""

from collections.abc import Iterable

from gateway.core.json import json_object
from gateway.core.labels import CLEAN, Labels, join_all, labels_from_json
from gateway.core.model import Principal
from gateway.core.ports.runs import Run, RunStep, RunStore

_LEVELS = 8


async def labels_told(store: RunStore, who: Principal, runs: Iterable[Run]) -> Labels:
    """Of all these runs say. Only of agents is it asked: what they hear becomes part of what they do."""
    if who.kind != "agent":
        return CLEAN
    return join_all([await _labels_of(store, run, _LEVELS) for run in runs])


async def _labels_of(store: RunStore, run: Run, levels: int) -> Labels:
    answer = json_object(run.output)
    if answer:
        # It has the request's, and every step's.
        return labels_from_json(answer.get("labels"))
    steps = await store.steps(run.id)
    asked = [json_object(each.body.get("detail")).get("labels") for each in await store.events(run.id)]
    return join_all(
        (
            labels_from_json(run.spec.get("labels")),
            *(labels_from_json(each) for each in asked),
            *[await _labels_of_step(store, run, step, levels) for step in steps],
        )
    )


async def _labels_of_step(store: RunStore, run: Run, step: RunStep, levels: int) -> Labels:
    """With those of the run it is, while that goes on: what that asks, this one asks."""
    nests = levels and step.remote_task and step.target.startswith("workflow:")
    inner = await store.find(run.tenant, step.remote_task) if nests else None
    return step.labels if inner is None else step.labels.join(await _labels_of(store, inner, levels - 1))
