"""Advice on workflows that have run. Reads what is kept, changes nothing."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from gateway.core.errors import NotFound
from gateway.core.json import JsonObject
from gateway.core.model import Principal
from gateway.orchestration.runs.advice.answers import agents_in, on_record
from gateway.orchestration.runs.seen import Runs, RunTree
from gateway.orchestration.wiring import Wiring

RUNS_AT_MOST = 50

ToolsOfRun: TypeAlias = Callable[[str], Awaitable[Mapping[str, frozenset[str]]]]
"""Run id -> which tools each agent called in it, by subject and capability name."""


ToolsGranted: TypeAlias = Callable[[str], frozenset[str]]
"""Subject of an agent -> capability names of all tools it may call."""


class Advising:
    """For whoever may see the runs."""

    def __init__(self, wiring: Wiring, runs: Runs) -> None:
        self._wiring = wiring
        self._runs = runs

    async def advise(
        self, who: Principal, tools: ToolsOfRun, granted: ToolsGranted, *, run_id: str = "", workflow: str = ""
    ) -> JsonObject:
        """See `advice.answers.on_record`: on one run, or on the latest of a workflow.

        Raises: NotFound: there is none, or it is another's.
        """
        trees = await self._trees(who, run_id, workflow)
        used: dict[str, frozenset[str]] = {}
        for tree in trees:
            for subject, called in (await tools(tree.run.id)).items():
                used[subject] = used.get(subject, frozenset()) | called
        return on_record(trees, used, {agent: granted(agent) for agent in agents_in(trees)})

    async def _trees(self, who: Principal, run_id: str, workflow: str) -> list[RunTree]:
        if run_id:
            return [await self._runs.tree(who, run_id)]
        owner = "" if who.kind == "operator" else who.subject
        listed = await self._wiring.runs.list(who.tenant, owner=owner, workflow=workflow, limit=RUNS_AT_MOST)
        if not listed:
            raise NotFound(f"no run of {workflow} is kept")
        return [await self._runs.tree(who, run.id) for run in listed]
