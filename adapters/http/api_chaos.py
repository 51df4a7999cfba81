"""What became of faults that were injected, over REST."""

from dataclasses import replace
from itertools import islice

from starlette.responses import Response

from adapters.http.api_call import Call, answer
from adapters.http.api_ports import AuditQuery, AuditReader, RunExplainer
from gateway.core.errors import NotFound
from gateway.core.json import JsonObject
from gateway.core.spread import Spread, seq_of

_RECORDS_AT_ONCE = 500
_FROM_THE_FIRST = -1
"""Not the latest ones, as where nothing is said, but all, the oldest first."""
_RUNS_AT_MOST = 20


class ChaosReportEndpoints:
    def __init__(self, *, audit: AuditReader, explaining: RunExplainer) -> None:
        self._audit = audit
        self._explaining = explaining

    async def report_chaos(self, call: Call) -> Response:
        spread = Spread(injection=call.path("id"))
        # What it distorted carries its label; what it only kept from being done says so in the record. Both name it.
        query = AuditQuery(tenant=call.tenant, text=spread.injection, after=_FROM_THE_FIRST, limit=_RECORDS_AT_ONCE)
        while records := await self._audit.search(query):
            spread.add(records)
            query = replace(query, after=seq_of(records[-1]))
        ids = islice(spread.run_ids, _RUNS_AT_MOST)
        runs = [run for each in ids if (run := await self._explained(call, each)) is not None]
        return answer({"report": spread.to_json(runs)})

    async def _explained(self, call: Call, run_id: str) -> "JsonObject | None":
        try:
            return await self._explaining.explain(call.who, run_id)
        except NotFound:
            # It is erased, and its calls stand in the log all the same.
            return None
