"""How many runs may be under way: so many of one tenant, and more of all, so that no tenant keeps the others out."""

from collections.abc import Iterable, Mapping

from gateway.core.errors import Exhausted

SHARES = 2
"""How often what one tenant may have pending may be pending in all."""


class Pending:
    """Runs under way as far as one process knows, by their tenants."""

    def __init__(self) -> None:
        self._tenants: dict[str, str] = {}

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._tenants

    def __len__(self) -> int:
        return len(self._tenants)

    def fill(self, tenants: Mapping[str, str]) -> None:
        """These are under way already."""
        self._tenants.update(tenants)

    def add(self, run_id: str, tenant: str) -> None:
        self._tenants[run_id] = tenant

    def discard(self, run_id: str) -> None:
        self._tenants.pop(run_id, None)

    def of(self, tenant: str, among: Iterable[str] | None = None) -> int:
        """How many are the tenant's, of all or of these."""
        if among is None:
            return sum(each == tenant for each in self._tenants.values())
        return sum(self._tenants.get(run_id) == tenant for run_id in among)


def refuse_more(theirs: int, everybodys: int, limit: int) -> None:
    """`limit`: how many one tenant may have under way. Raises: Exhausted: it has, or all have together."""
    if theirs < limit and everybodys < limit * SHARES:
        return
    # How many others have is no tenant's business.
    said = f"{theirs} runs are under way" if theirs >= limit else "too many runs are under way"
    raise Exhausted(
        f"{said}, and no more are accepted until some have ended",
        detail={"limit": "pending runs"},
        retry_after_s=5.0,
    )
