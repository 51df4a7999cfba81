"""Tells of a run's references that found nothing, each once for each stage."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.ports.orchestration import Steps
from gateway.patterns.sequential.handover import Before, lost_by
from gateway.patterns.sequential.stages import Stage
from gateway.patterns.shared.lost_references import lost_in


@dataclass(slots=True, kw_only=True)
class LostReferences:
    """Those of one run that have been told of."""

    _told: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    async def tell(self, stage: Stage, before: Before, steps: Steps) -> None:
        """Of what the stage begins with."""
        await self._tell(stage, lost_by(stage, before), steps)

    async def tell_of_condition(self, stage: Stage, before: Before, steps: Steps) -> None:
        """Of what decides whether it begins."""
        if stage.when is not None:
            await self._tell(stage, lost_in(stage.when.reference, before.known), steps)

    async def tell_of_undo(self, stage: Stage, before: Before, steps: Steps) -> None:
        """Of what it would be undone with; `before`: all there is, the stage itself included."""
        if stage.undo is not None:
            await self._tell(stage, lost_in(stage.undo[1], before.known), steps)

    async def _tell(self, stage: Stage, lost: Mapping[str, str], steps: Steps) -> None:
        for reference, said in lost.items():
            if (stage.name, reference) not in self._told:
                self._told.add((stage.name, reference))
                await steps.decided("reference", reference, because=said, detail={"stage": stage.name})
