"""What was spent, in memory."""

from gateway.core.limits import Usage
from gateway.core.ports.costs import Spent


class MemoryCostLedger:
    """See `CostLedger`."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str, str, str], Usage] = {}

    def note(self, spent: Spent) -> None:
        place = (spent.day, spent.tenant, spent.target, spent.workflow)
        self.sums[place] = self.sums.get(place, Usage()) + spent.usage

    async def rows(self, tenant: str, *, since: str, until: str = "") -> tuple[Spent, ...]:
        return tuple(
            Spent(day=day, tenant=whose, target=target, workflow=workflow, usage=usage)
            for (day, whose, target, workflow), usage in self.sums.items()
            if tenant in ("*", whose) and since <= day and (not until or day <= until)
        )
