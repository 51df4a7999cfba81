"""What a run makes undone when it fails or is canceled, and who has to be told that it can be."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.ports.orchestration import Node, StepResult, Steps
from gateway.core.ports.runs import RunEvent

CANCELED = "the run was canceled"
"""Why it is undone, and why its steps end, when it was."""
COMPENSATES = "compensates"
"""Event of a run that has something to undo of which its settings say nothing."""
_TRIED_AT_MOST = 3
_FINAL = ("denied", "in_doubt", "canceled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """What became of undoing one thing."""

    because: str
    """Why it was undone where that is not only that the run failed; else empty."""
    result: StepResult

    def to_json(self) -> JsonObject:
        result = self.result
        shown: JsonObject = {"target": result.target, "ok": result.ok, "reason": result.reason}
        return {**shown, "because": self.because} if self.because else shown


async def undone(nodes: Iterable[Node], steps: Steps, because: str) -> list[Undone]:
    """Call each, last first, until it is done or has been tried three times. `because`: why the run is undone; kept as
    a decision beside each call, with the call's own reason where it has one."""
    ended: list[Undone] = []
    for given in reversed([*nodes]):
        why = f"{because}; {given.undoes}" if given.undoes else because
        node = replace(given, undoes=why)
        await steps.decided("undo", given.target, because=why)
        result = await steps.call(node)
        for _ in range(_TRIED_AT_MOST - 1):
            if result.ok or result.error in _FINAL or node.lacks:
                break
            result = await steps.call(replace(node, again=result.id))
        ended.append(Undone(because=given.undoes, result=result))
    return ended


def may_undo(settings: JsonObject) -> bool:
    """Whether runs with these settings may have something to undo."""
    parts = (*json_list(settings.get("stages")), *json_list(settings.get("plan")))
    return any(json_object(each).get("undo") for each in parts)


def says_that_it_undoes(events: Iterable[RunEvent]) -> bool:
    details: Iterable[Json] = (each.body.get("detail") for each in events)
    return any(json_object(each).get("event") == COMPENSATES for each in details)
