"""Several workers that do the same: which of them is given the next request. Every choice is journaled."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject, json_list, json_object, json_text
from gateway.core.ports.orchestration import Note, Steps
from gateway.patterns.shared.settings import slug_of, target_in

TURN = "turn"
"""Topic of the notes that say whose turn it was."""
WEEK_S = 604_800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """Who does the same as whom."""

    of: Mapping[str, tuple[str, ...]]
    """Capability name of a worker -> itself and all that do the same."""
    balance: str

    @classmethod
    def in_settings(cls, block: JsonObject, workers: tuple[str, ...]) -> "Replicas":
        """Raises: InvalidRequest: replicas of somebody who is no worker."""
        found: dict[str, tuple[str, ...]] = {}
        for name, others in json_object(block.get("replicas")).items():
            worker = next((each for each in workers if name in (each, slug_of(each))), "")
            if not worker:
                raise InvalidRequest(
                    f"there are replicas of {name}, which is no worker", detail={"setting": "router.replicas"}
                )
            named = (target_in(json_object(each)) for each in json_list(others))
            found[worker] = tuple(dict.fromkeys((worker, *named)))
        return cls(of=found, balance=json_text(block.get("balance"), "least_busy"))

    async def in_order(self, worker: str, steps: Steps) -> tuple[str, ...]:
        """The worker's replicas, the one whose turn it is first."""
        replicas = self.of.get(worker, (worker,))
        if len(replicas) == 1:
            return replicas
        busy: dict[str, int] = dict.fromkeys(replicas, 0)
        if self.balance == "least_busy":
            offers = await steps.offers(replicas)
            # Whoever cannot be called at all comes last.
            busy = {each: offers[each].busy if offers[each].found else 1_000_000 for each in replicas}
        least = [each for each in replicas if busy[each] == min(busy.values())]
        chosen = least[0]
        if len(least) > 1:
            last = next(iter(await steps.recall(TURN, worker)), "")
            start = replicas.index(last) + 1 if isinstance(last, str) and last in replicas else 0
            chosen = next(each for each in (*replicas[start:], *replicas[:start]) if each in least)
            await steps.note(Note(topic=TURN, key=worker, value=chosen, ttl_s=WEEK_S))
        shown: JsonObject = {slug_of(each): count for each, count in busy.items()}
        because = "it is its turn" if len(least) > 1 else "it is the least busy"
        await steps.decided("replica", slug_of(chosen), because=because, detail={"busy": shown})
        return (chosen, *sorted((each for each in replicas if each != chosen), key=lambda each: busy[each]))
