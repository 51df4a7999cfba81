"""Answers of people to questions of runs: who may give them, and how they reach the run."""

from dataclasses import replace

import anyio
import structlog

from gateway.core.contracts import violation
from gateway.core.errors import Conflict, Denied, GatewayError, InvalidRequest, NotFound
from gateway.core.json import Json
from gateway.core.model import Principal
from gateway.core.ports.approvals import Approval, ApprovalState
from gateway.orchestration.step.questions import topic_of
from gateway.orchestration.wiring import Wiring

log = structlog.get_logger(__name__)

DELIVER_EVERY_S = 10.0
"""How soon a run goes on with an answer whose gateway has died."""
_NEVER_AGAIN = frozenset({"done", "failed"})
"""States of runs that nobody can have go on."""

_PEOPLE = ("client", "operator")


class Approving:
    """Acts for whoever has been identified; checks here whether they may."""

    def __init__(self, wiring: Wiring, *, deliver_every_s: float = DELIVER_EVERY_S) -> None:
        self._wiring = wiring
        self._deliver_every_s = deliver_every_s

    async def list(self, who: Principal, *, state: str = "", run_id: str = "", limit: int = 100) -> list[Approval]:
        """Of the tenant, newest first: all for operators, else those that wait for one of the asker's roles."""
        # Narrowed before it is cut off: or whoever asks much of one role would hide what waits for another.
        roles = None if who.kind == "operator" else who.roles
        return [
            *await self._wiring.approvals.list(who.tenant, state=state, run_id=run_id, roles=roles, limit=limit),
        ]

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

        Raises: NotFound; Denied: it is the asker's own run, or the asker is no person; Conflict: answered or over;
            InvalidRequest: the value breaks the question's contract.
        """
        asked = await self.find(who, approval_id)
        if who.kind not in _PEOPLE:
            # Agents have roles for what they may call; one that can be talked into anything agrees to anything.
            raise Denied("a person has to answer this, and no agent", detail={"rule": "approvals.people"})
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

    async def keep_delivering(self) -> None:
        """Deliver what other gateways took and did not live to deliver, until canceled."""
        while True:
            await anyio.sleep(self._deliver_every_s)
            try:
                await self.deliver_rest()
            except GatewayError as error:
                log.info("answers of people are not delivered for now", reason=error.message)

    async def deliver_rest(self) -> None:
        """Deliver what was answered before a crash, of this gateway or another, and may not have arrived."""
        for each in await self._wiring.approvals.undelivered():
            state = await self._wiring.journal.state(each.run_id)
            if state == "pending":
                await self._deliver(each)
            elif state in _NEVER_AGAIN:
                await self._wiring.approvals.settle(each.id, each.state)

    async def _deliver(self, answered: Approval) -> None:
        # One key per question: what arrives first counts, and the row has seen to it that there is only one.
        await self._wiring.journal.send(answered.run_id, topic_of(answered.number), answered.answer, answered.id)


def _concerns(who: Principal, approval: Approval) -> bool:
    return who.kind == "operator" or approval.role in who.roles
