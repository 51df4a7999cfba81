"""How deep agents may call each other: an agent at work on a call has what is left of that call's depth, and no more.

A call by a pattern's step says its depth itself. One that an agent makes by the way, under a step's token or its own
key, says nothing; so the calls it is at work on are looked at. With a token it is its step's that counts. Otherwise
nobody can say for which of them it calls, and the least depth counts, as the labels of all of them do: what would be
refused too much is refused only while somebody is deep in a chain. Chains end because every link is under way at once.

Kept in memory, for the calls of this process: a call that was accepted and goes on by itself is not seen here.
"""

from msgspec import structs

from gateway.core.errors import Exhausted
from gateway.core.limits import Budget
from gateway.core.model import Request

_AGENT = "agent:"
_NESTS = (_AGENT, "workflow:")


class Hops:
    """The calls that agents are at work on. Belongs to the event loop."""

    __slots__ = ("_at_work",)

    def __init__(self) -> None:
        self._at_work: dict[str, list[Request]] = {}
        """By the agent's capability name."""

    def began(self, request: Request) -> None:
        """An agent is at work on this call from now on."""
        self._at_work.setdefault(request.capability, []).append(request)

    def ended(self, request: Request) -> None:
        """It is no longer."""
        left = [each for each in self._at_work[request.capability] if each is not request]
        if left:
            self._at_work[request.capability] = left
        else:
            del self._at_work[request.capability]

    def bounded(self, request: Request) -> Request:
        """The call with no more depth than its caller has left. Raises: Exhausted: the caller has none left."""
        who = request.principal
        if who.kind != "agent" or request.operation != "call" or not request.capability.startswith(_NESTS):
            return request
        depth = self._depth_of(who.subject, request.step_id)
        if depth is None:
            return request
        if depth <= 0:
            raise Exhausted(
                f"{who.subject} may not hand on any further: {request.capability} would be one level too deep",
                detail={"limit": "depth"},
            )
        budget: Budget = structs.replace(request.budget, depth=min(request.budget.depth, depth - 1))
        return structs.replace(request, budget=budget)

    def _depth_of(self, agent: str, step_id: str) -> int | None:
        """What an agent has left; None where it is at work on nothing."""
        at_work = self._at_work.get(agent)
        if not at_work:
            return None
        own = [each for each in at_work if step_id and each.step_id == step_id]
        return min(each.budget.depth for each in own or at_work)
