"""Explains runs to whoever may see them. Reads what is kept, changes nothing."""

from gateway.core.json import JsonObject
from gateway.core.model import Principal
from gateway.orchestration.runs.explanation import explained, runs_in
from gateway.orchestration.runs.seen import Runs
from gateway.orchestration.wiring import Wiring


class Explaining:
    """For any number of runs."""

    def __init__(self, wiring: Wiring, runs: Runs) -> None:
        self._wiring = wiring
        self._runs = runs

    async def explain(self, who: Principal, run_id: str) -> JsonObject:
        """See `explanation.explained`. Raises: NotFound: also if it is another's."""
        tree = await self._runs.tree(who, run_id)
        events = {each.run.id: await self._wiring.runs.events(each.run.id) for each in runs_in(tree)}
        return explained(tree, events)
