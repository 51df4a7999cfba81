"""What became of faults that were injected, over REST."""

from starlette.responses import Response

from adapters.http.api_call import Call, answer
from adapters.http.api_ports import AuditQuery, AuditReader, RunExplainer
from gateway.core.errors import NotFound
from gateway.core.json import JsonObject
from gateway.core.spread import Spread, runs_to_ask

_RECORDS_AT_MOST = 1000
_RUNS_AT_MOST = 20


class ChaosReportEndpoints:
    def __init__(self, *, audit: AuditReader, explaining: RunExplainer) -> None:
        self._audit = audit
        self._explaining = explaining

    async def report_chaos(self, call: Call) -> Response:
        injection = call.path("id")
        # What it distorted carries its label; what it only kept from being done says so in the record.
        labelled = AuditQuery(tenant=call.tenant, label=f"chaos:{injection}", limit=_RECORDS_AT_MOST)
        named = AuditQuery(tenant=call.tenant, text=injection, limit=_RECORDS_AT_MOST)
        records = [*await self._audit.search(labelled), *await self._audit.search(named)]
        ids = runs_to_ask(records)
        runs = [run for each in ids[:_RUNS_AT_MOST] if (run := await self._explained(call, each)) is not None]
        spread = Spread(injection=injection, records=records, runs=runs, left_out=max(0, len(ids) - _RUNS_AT_MOST))
        return answer({"report": spread.to_json()})

    async def _explained(self, call: Call, run_id: str) -> "JsonObject | None":
        try:
            return await self._explaining.explain(call.who, run_id)
        except NotFound:
            # It is erased, and its calls stand in the log all the same.
            return None
