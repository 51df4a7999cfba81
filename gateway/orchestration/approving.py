"""Answers of people to questions of runs: who may give them, and how they reach the run."""

from dataclasses import replace

from gateway.core.contracts import violation
from gateway.core.errors import Conflict, Denied, InvalidRequest, NotFound
from gateway.core.json import Json, JsonObject
from gateway.core.model import Principal
from gateway.core.ports.approvals import Approval, ApprovalState
from gateway.orchestration.questions import topic_of
from gateway.orchestration.wiring import Wiring


class Approving:
    """Acts for whoever has been identified; checks here whether they may."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    async def list(self, who: Principal, *, state: str = "", run_id: str = "", limit: int = 100) -> list[Approval]:
        """Of the tenant, newest first: all for operators, else those that wait for one of the asker's roles."""
        found = await self._wiring.approvals.list(who.tenant, state=state, run_id=run_id, limit=limit)
        return [each for each in found if _concerns(who, each)]

    async def find(self, who: Principal, approval_id: str) -> Approval:
        """Raises: NotFound: also where it is none of the asker's business."""
        found = await self._wiring.approvals.find(who.tenant, approval_id)
        if found is None or not _concerns(who, found):
            raise NotFound(f"there is no approval {approval_id}")
        return found

    async def answer(
        self, who: Principal, approval_id: str, state: ApprovalState, *, value: Json = None, comment: str = ""
    ) -> Approval:
        """The answer, on its way to the run. The same answer again is no failure.

        Raises: NotFound; Denied: it is the asker's own run; Conflict: answered or over; InvalidRequest: the value
            breaks the question's contract.
        """
        asked = await self.find(who, approval_id)
        if who.subject == asked.owner or who.behind is not None:
            raise Denied(
                f"{asked.owner} started this run: somebody else has to answer", detail={"rule": "approvals.four-eyes"}
            )
        now_us = self._wiring.clock.now_us()
        if asked.state == "pending" and asked.expires_at_us <= now_us:
            raise Conflict(f"approval {approval_id} is over: nobody answered in time", detail={"state": "expired"})
        if state == "approved" and asked.schema and (broken := violation(asked.schema, value)):
            raise InvalidRequest(f"value: {broken}")
        answered = replace(
            asked, state=state, answered_by=who.subject, answered_at_us=now_us, value=value, comment=comment
        )
        stored = await self._wiring.approvals.answer(answered)
        await self._deliver(stored)
        return stored

    async def deliver_rest(self) -> None:
        """Deliver what was answered before a crash, of this gateway or another, and may not have arrived."""
        for each in await self._wiring.approvals.undelivered():
            if await self._wiring.journal.state(each.run_id) == "pending":
                await self._deliver(each)

    async def _deliver(self, answered: Approval) -> None:
        message: JsonObject = {
            "approved": answered.state == "approved",
            "by": answered.answered_by,
            "value": answered.value,
            "comment": answered.comment,
        }
        # One key per question: what arrives first counts, and the row has seen to it that there is only one.
        await self._wiring.journal.send(answered.run_id, topic_of(answered.number), message, answered.id)


def _concerns(who: Principal, approval: Approval) -> bool:
    return who.kind == "operator" or approval.role in who.roles
