"""Approvals over REST: what waits for whom, and answers. Open to people with the role, not only to operators."""

from starlette.responses import Response

from adapters.http.api_call import LIST_LIMIT, Call, Recorder, answer
from adapters.http.api_ports import Approving
from adapters.http.api_views import rfc3339
from gateway.core.json import JsonObject, json_text
from gateway.core.ports.approvals import Approval, ApprovalState


class ApprovalEndpoints:
    def __init__(self, *, approving: Approving, recorder: Recorder) -> None:
        self._approving = approving
        self._recorder = recorder

    async def list_approvals(self, call: Call) -> Response:
        limit = max(1, call.number("limit", 100, LIST_LIMIT))
        found = await self._approving.list(call.who, state=call.text("state"), run_id=call.text("run"), limit=limit)
        return answer({"approvals": [approval_view(each) for each in found]})

    async def get_approval(self, call: Call) -> Response:
        return answer({"approval": approval_view(await self._approving.find(call.who, call.path("id")))})

    async def approve(self, call: Call) -> Response:
        return await self._answered(call, "approved")

    async def deny(self, call: Call) -> Response:
        return await self._answered(call, "denied")

    async def _answered(self, call: Call, state: ApprovalState) -> Response:
        asked = await self._approving.find(call.who, call.path("id"))
        detail: JsonObject = {"approval": asked.id, "run": asked.run_id, "answer": state}
        async with self._recorder.change(call, "approvals.answer", f"workflow:{asked.workflow}", detail):
            given = await self._approving.answer(
                call.who, asked.id, state, value=call.body.get("value"), comment=json_text(call.body.get("comment"))
            )
        return answer({"approval": approval_view(given)})


def approval_view(approval: Approval) -> JsonObject:
    shown: JsonObject = {
        "id": approval.id,
        "run": approval.run_id,
        "workflow": approval.workflow,
        "owner": approval.owner,
        "role": approval.role,
        "prompt": approval.prompt,
        "state": approval.state,
        "askedAt": rfc3339(approval.asked_at_us),
        "expiresAt": rfc3339(approval.expires_at_us),
    }
    if approval.schema:
        shown["schema"] = dict(approval.schema)
    if approval.answered_by:
        shown |= {
            "answeredBy": approval.answered_by,
            "answeredAt": rfc3339(approval.answered_at_us),
            "value": approval.value,
            "comment": approval.comment,
        }
    return shown
