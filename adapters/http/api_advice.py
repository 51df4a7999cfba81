"""Advice over REST: what the record of runs suggests."""

from collections.abc import Mapping

from starlette.responses import Response

from adapters.http.api_call import Call, answer
from adapters.http.api_ports import Advising, AuditQuery, AuditReader, Principals
from gateway.core.errors import InvalidRequest
from gateway.core.json import json_text
from gateway.core.model import CapabilityKind
from gateway.core.ports.gateway import Gateway

_RECORDS_AT_MOST = 1000
_TOOLS: frozenset[CapabilityKind] = frozenset({"tool"})


class AdviceEndpoints:
    def __init__(self, *, advising: Advising, audit: AuditReader, gateway: Gateway, principals: Principals) -> None:
        self._advising = advising
        self._audit = audit
        self._gateway = gateway
        self._principals = principals

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

        def granted(subject: str) -> frozenset[str]:
            who = self._principals.find(call.tenant, subject)
            return frozenset() if who is None else frozenset(each.name for each in self._gateway.visible(who, _TOOLS))

        advice = await self._advising.advise(call.who, tools, granted, run_id=run_id, workflow=workflow)
        return answer({"advice": advice})
