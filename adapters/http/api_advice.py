"""Advice over REST: what the record of runs suggests."""

from collections.abc import Mapping

from starlette.responses import Response

from adapters.http.api_call import Call, answer
from adapters.http.api_ports import Advising, AuditQuery, AuditReader
from gateway.core.errors import InvalidRequest
from gateway.core.json import json_text

_RECORDS_AT_MOST = 1000


class AdviceEndpoints:
    def __init__(self, *, advising: Advising, audit: AuditReader) -> None:
        self._advising = advising
        self._audit = audit

    async def advise(self, call: Call) -> Response:
        run_id, workflow = call.text("run"), call.text("workflow")
        if bool(run_id) == bool(workflow):
            raise InvalidRequest("give either run or workflow")

        async def tools(of_run: str) -> Mapping[str, frozenset[str]]:
            query = AuditQuery(tenant=call.tenant, run_id=of_run, capability="tool:*", limit=_RECORDS_AT_MOST)
            called: dict[str, set[str]] = {}
            for record in await self._audit.search(query):
                called.setdefault(json_text(record.get("subject")), set()).add(json_text(record.get("capability")))
            return {subject: frozenset(names) for subject, names in called.items()}

        advice = await self._advising.advise(call.who, tools, run_id=run_id, workflow=workflow)
        return answer({"advice": advice})
