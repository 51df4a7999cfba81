"""Ask the first agent; if it fails or is not sure enough, the next; and so on up the ladder."""

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject, json_list, json_object
from gateway.core.ports.orchestration import Gap, Node, Outcome, Steps
from gateway.core.task import Task


class Ladder:
    """`agents` in order, cheapest first; `options: {sure: 0.8}` is how sure an agent has to be."""

    def __init__(self, settings: JsonObject) -> None:
        self._rungs = [f"agent:{slug}" for slug in json_list(settings.get("agents"))]
        sure = json_object(settings.get("options")).get("sure", 0.8)
        if not self._rungs or not isinstance(sure, int | float):
            raise InvalidRequest("the pattern ladder needs agents, and a number as options.sure")
        self._sure = sure

    async def run(self, task: Task, steps: Steps) -> Outcome:
        gaps: list[Gap] = []
        for rung in self._rungs:
            result = await steps.call(
                Node(target=rung, input={"instruction": task.message.text if task.message else ""})
            )
            sure = json_object(result.value).get("confidence")
            if result.ok and isinstance(sure, int | float) and sure >= self._sure:
                await steps.decided("answer", rung, because=f"it is sure enough ({sure} of {self._sure})")
                return Outcome(
                    text=result.text or result.summary, value=result.value, confidence=sure, gaps=tuple(gaps)
                )
            why = result.reason or f"not sure enough ({sure})"
            gaps.append(Gap(step=rung, target=rung, error=result.error or "failed", reason=why))
            await steps.decided("climb", rung, because=why)
        return Outcome(text="Nobody was sure enough.", gaps=tuple(gaps), error="nobody was sure enough")
