"""What agents hear while they work on a step: its labels become the step's, and so those of all they do and say after.

An agent may be trusted, and what it reads on the way not be: without this its answer would be as clean as itself.
"""

from gateway.core.labels import Labels
from gateway.core.model import Request
from gateway.core.ports.storage import OpenSteps

AGENT = "agent:"


class Hearing:
    """Of all agents at work on steps."""

    def __init__(self, steps: OpenSteps) -> None:
        self._steps = steps

    async def hear(self, request: Request, labels: Labels) -> None:
        """Note of what kind is what the caller is about to be told; on disk when this returns. Raises: Unavailable."""
        who = request.principal
        if who.kind != "agent" or not labels:
            return
        if request.step_id:
            await self._steps.learn(request.run_id, request.step_id, labels)
            return
        # By its bare key nobody can say for which of its steps it calls.
        for step in self._steps.of_agent(who.tenant, who.subject.removeprefix(AGENT)):
            await self._steps.learn(step.run_id, step.step_id, labels)
