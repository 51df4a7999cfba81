"""The audit log over REST: what was recorded, and erasing what is kept of what was said. Records are never erased."""

from starlette.responses import Response

from adapters.http.api_call import LIST_LIMIT, Call, Recorder, answer
from adapters.http.api_endpoint import Endpoint, Query, object_of
from adapters.http.api_ports import AuditBodies, AuditQuery, AuditReader
from adapters.http.api_views import record_view, us_from_rfc3339
from gateway.core.errors import InvalidRequest, NotFound
from gateway.core.json import Json, JsonObject, json_text

_FILTERS = (
    Query(name="subject", description="Who called"),
    Query(name="call", description="Glob over capability names, such as tool:orders/*"),
    Query(name="outcome", description="ok, error, denied, canceled, input_required or accepted"),
    Query(name="run", description="Run id"),
    Query(name="label", description="Glob over labels, such as server:web or chaos:*"),
    Query(name="since", description="RFC 3339 time"),
    Query(name="until", description="RFC 3339 time"),
    Query(name="text", description="Words to look for"),
)
_PAGING = (
    Query(name="after", type="integer", description="Sequence number of the last record already seen"),
    Query(name="limit", type="integer", description="At most 1000"),
)
_FILTER_TEXTS: dict[str, Json] = {
    each.name: {"type": "string", "maxLength": 300, "description": each.description} for each in _FILTERS
}
_COUNT_ONLY: JsonObject = {"type": "boolean", "description": "Say how many bodies are kept, and erase none"}
AUDIT: tuple[Endpoint, ...] = (
    Endpoint(id="search_audit", method="GET", path="/audit", summary="Audit records", query=(*_FILTERS, *_PAGING)),
    Endpoint(id="get_record", method="GET", path="/audit/{record}", summary="One call's intent and outcome"),
    Endpoint(
        id="erase_audit",
        method="POST",
        path="/audit/erase",
        summary="Erase the bodies kept of the records that fit; the records stay, and their chain",
        body=object_of({**_FILTER_TEXTS, "count_only": _COUNT_ONLY}),
    ),
)


class AuditEndpoints:
    def __init__(self, *, audit: AuditReader, bodies: AuditBodies, recorder: Recorder) -> None:
        self._audit = audit
        self._bodies = bodies
        self._recorder = recorder

    async def search_audit(self, call: Call) -> Response:
        query = _query(
            call.tenant,
            {each.name: call.text(each.name) for each in _FILTERS},
            after=call.number("after", 0, 2**62) if call.text("after") else None,
            limit=max(1, call.number("limit", 50, LIST_LIMIT)),
        )
        return answer({"records": [record_view(each) for each in await self._audit.search(query)]})

    async def get_record(self, call: Call) -> Response:
        records = await self._audit.find(call.tenant, call.path("record"))
        if not records:
            raise NotFound("no such record")
        return answer({"records": [record_view(each) for each in records]})

    async def erase_audit(self, call: Call) -> Response:
        said = {name: text for name in _FILTER_TEXTS if (text := json_text(call.body.get(name)))}
        if not said:
            raise InvalidRequest(f"say what was said in which records: at least one of {', '.join(_FILTER_TEXTS)}")
        query = _query(call.tenant, said)
        kept = await self._bodies.count(query)
        if call.body.get("count_only") is True:
            return answer({"kept": kept})
        detail: JsonObject = {**said, "kept": kept}
        if "text" in said:
            # It may be what is to be forgotten, and the record of this is not.
            detail["text"] = "not kept"
        async with self._recorder.change(call, "audit.erase", detail=detail):
            erased = await self._bodies.erase(query)
        return answer({"erased": erased})


def _query(tenant: str, said: dict[str, str], *, after: int | None = None, limit: int = LIST_LIMIT) -> AuditQuery:
    """Raises: InvalidRequest: a time is none."""
    since, until = said.get("since", ""), said.get("until", "")
    return AuditQuery(
        tenant=tenant,
        subject=said.get("subject", ""),
        capability=said.get("call", ""),
        outcome=said.get("outcome", ""),
        run_id=said.get("run", ""),
        label=said.get("label", ""),
        since_us=us_from_rfc3339(since, "since") if since else 0,
        until_us=us_from_rfc3339(until, "until") if until else 0,
        after=after,
        text=said.get("text", ""),
        limit=limit,
    )
