"""Questions that wait for people, in memory."""

from collections.abc import Collection
from dataclasses import replace

from gateway.core.errors import Conflict, NotFound
from gateway.core.ports.approvals import Approval, ApprovalState


class MemoryApprovals:
    """See `Approvals`."""

    def __init__(self) -> None:
        self.kept: dict[str, Approval] = {}

    async def ask(self, approval: Approval) -> None:
        self.kept.setdefault(approval.id, approval)

    async def answer(self, answered: Approval) -> Approval:
        known = await self.find(answered.tenant, answered.id)
        if known is None:
            raise NotFound(f"there is no approval {answered.id}")
        if known.state == "pending":
            self.kept[answered.id] = known = replace(answered, settled=False)
            return known
        if replace(answered, answered_at_us=known.answered_at_us, settled=known.settled) != known:
            raise Conflict(f"approval {known.id} is {known.state}", detail={"state": known.state})
        return known

    async def settle(self, approval_id: str, state: ApprovalState) -> None:
        known = self.kept[approval_id]
        self.kept[approval_id] = replace(known, state=state if known.state == "pending" else known.state, settled=True)

    async def withdraw(self, run_id: str) -> None:
        for each in list(self.kept.values()):
            if each.run_id == run_id and each.state == "pending":
                self.kept[each.id] = replace(each, state="withdrawn")

    async def renew(self, run_id: str) -> None:
        for each in list(self.kept.values()):
            if each.run_id == run_id and each.state == "withdrawn":
                self.kept[each.id] = replace(each, state="pending")

    async def find(self, tenant: str, approval_id: str) -> Approval | None:
        known = self.kept.get(approval_id)
        return known if known is not None and known.tenant == tenant else None

    async def list(
        self,
        tenant: str,
        *,
        state: str = "",
        run_id: str = "",
        roles: Collection[str] | None = None,
        limit: int = 100,
    ) -> tuple[Approval, ...]:
        found = [
            each
            for each in self.kept.values()
            if each.tenant == tenant and state in ("", each.state) and run_id in ("", each.run_id)
            if roles is None or each.role in roles
        ]
        return tuple(sorted(found, key=lambda each: (each.asked_at_us, each.id), reverse=True)[:limit])

    async def undelivered(self) -> tuple[Approval, ...]:
        return tuple(each for each in self.kept.values() if each.state in ("approved", "denied") and not each.settled)
