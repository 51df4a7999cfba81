"""The REST API's contract as data: every endpoint once. Routes and the OpenAPI document are both made from it."""

from http import HTTPStatus

from adapters.http.api_accounts import ACCOUNTS
from adapters.http.api_audit import AUDIT
from adapters.http.api_endpoint import Endpoint, Query
from adapters.http.api_endpoint import object_of as _object
from gateway.core.errors import ERRORS
from gateway.core.json import Json, JsonObject
from gateway.core.slugs import SLUG

PREFIX = "/api/v1"


_AGENT = _object(
    {
        "url": {"type": "string", "maxLength": 2000, "description": "Address of the agent's card, or of the agent"},
        "slug": {"type": "string", "pattern": f"^{SLUG}$"},
    },
    "url",
)
_KEY = _object(
    {
        "subject": {"type": "string", "minLength": 1, "maxLength": 128},
        "roles": {"type": "array", "items": {"type": "string"}, "maxItems": 64},
        "kind": {"enum": ["client", "agent", "operator"]},
        "expires_in_s": {"type": "integer", "minimum": 1},
        "note": {"type": "string", "maxLength": 200},
    },
    "subject",
)
_FORGET = _object(
    {
        "ids": {"type": "array", "items": {"type": "string", "maxLength": 100}, "minItems": 1, "maxItems": 1000},
        "older_than_s": {"type": "number", "minimum": 0, "maximum": 1_000_000_000, "description": "0 for all"},
    }
)
_ANSWER = _object({"value": {}, "comment": {"type": "string", "maxLength": 2000}})
_CHAOS = _object(
    {
        "target": {
            "type": "string",
            "minLength": 1,
            "maxLength": 300,
            "description": "A name, or a glob over names",
        },
        "fault": {"type": "string", "minLength": 1, "maxLength": 4000, "description": "Such as delay=2s, or kill"},
        "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "for_s": {"type": "number", "exclusiveMinimum": 0, "maximum": 86400},
        "seed": {"type": "integer"},
    },
    "target",
    "fault",
)
_PINS = _object(
    {
        "pins": {
            "type": "array",
            "minItems": 1,
            "maxItems": 500,
            "items": _object(
                {
                    "name": {"type": "string", "minLength": 1, "maxLength": 2100},
                    "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "Of what was looked at"},
                },
                "name",
                "digest",
            ),
        }
    },
    "pins",
)
_FORK = _object(
    {"from": {"type": "string", "minLength": 1, "maxLength": 400, "description": "Step id, or what follows the run"}},
    "from",
)
_WITH_MEMORIES: JsonObject = {"type": "boolean", "description": "What agents remembered in these runs as well"}
_PRUNE = _object({"before": {"type": "string", "description": "RFC 3339 time"}, "memories": _WITH_MEMORIES}, "before")
ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(id="status", method="GET", path="/status", summary="Version, uptime, snapshot and state of each upstream"),
    Endpoint(
        id="list_tools",
        method="GET",
        path="/tools",
        summary="What can be called; with `as`, what one principal sees and why the rest is hidden",
        query=(
            Query(name="as", description="Subject to look through the eyes of"),
            Query(name="name", description="Only this capability, with its full definition"),
        ),
    ),
    Endpoint(
        id="list_pins",
        method="GET",
        path="/pins",
        summary="What servers say of their tools, prompts and themselves, compared with what is trusted",
        query=(
            Query(name="state", description="approved, changed or new; `waiting` for the last two"),
            Query(name="server", description="Slug of a server"),
            Query(name="name", description="Only this one, with its definition"),
        ),
    ),
    Endpoint(
        id="approve_pins",
        method="POST",
        path="/pins/approve",
        summary="Trust definitions as they were last seen, if they still have these digests",
        body=_PINS,
    ),
    *ACCOUNTS,
    Endpoint(id="list_principals", method="GET", path="/principals", summary="Everybody known, and how much they see"),
    Endpoint(id="list_agents", method="GET", path="/agents", summary="Agents, configured and registered"),
    Endpoint(
        id="add_agent",
        method="POST",
        path="/agents",
        summary="Register an agent by its card's address",
        body=_AGENT,
        status=201,
    ),
    Endpoint(id="get_agent", method="GET", path="/agents/{slug}", summary="One agent with its card"),
    Endpoint(
        id="remove_agent", method="DELETE", path="/agents/{slug}", summary="Remove a registered agent", status=204
    ),
    *AUDIT,
    Endpoint(
        id="list_runs",
        method="GET",
        path="/runs",
        summary="Runs, newest first",
        query=(Query(name="workflow"), Query(name="owner"), Query(name="limit", type="integer")),
    ),
    Endpoint(id="get_run", method="GET", path="/runs/{id}", summary="One run with its tree of steps"),
    Endpoint(
        id="explain_run",
        method="GET",
        path="/runs/{id}/explanation",
        summary="Who was called in what order, given what, how long, at what price, where it failed, and why",
    ),
    Endpoint(
        id="watch_run",
        method="GET",
        path="/runs/{id}/events",
        summary="The run's events as server-sent events; resumes behind Last-Event-ID or `after`",
        query=(Query(name="after", type="integer"),),
        media_type="text/event-stream",
    ),
    Endpoint(
        id="advise",
        method="GET",
        path="/advice",
        summary="What the record suggests of one run, or of a workflow's latest ones",
        query=(Query(name="run"), Query(name="workflow")),
    ),
    Endpoint(id="cancel_run", method="POST", path="/runs/{id}/cancel", summary="Cancel a run", status=202),
    Endpoint(id="pause_run", method="POST", path="/runs/{id}/pause", summary="Let no further step begin", status=202),
    Endpoint(
        id="resume_run",
        method="POST",
        path="/runs/{id}/resume",
        summary="Let a paused or stopped run go on",
        status=202,
    ),
    Endpoint(
        id="fork_run",
        method="POST",
        path="/runs/{id}/fork",
        summary="A new run that has done everything before a step, and does the rest anew",
        body=_FORK,
        status=201,
    ),
    Endpoint(
        id="prune_runs",
        method="POST",
        path="/runs/prune",
        summary="Forget runs that ended before a time, whatever the configuration keeps",
        body=_PRUNE,
    ),
    Endpoint(
        id="list_dead_letters",
        method="GET",
        path="/dead-letters",
        summary="Runs that failed for good, died or were rejected, newest first",
        query=(
            Query(name="workflow"),
            Query(name="settled", description="`true`: those that were retried or dropped as well"),
            Query(name="limit", type="integer"),
        ),
    ),
    Endpoint(id="get_dead_letter", method="GET", path="/dead-letters/{id}", summary="One dead letter, by its run"),
    Endpoint(
        id="retry_dead_letter",
        method="POST",
        path="/dead-letters/{id}/retry",
        summary="Let the run go on, or a new one in its place",
        status=202,
    ),
    Endpoint(id="drop_dead_letter", method="POST", path="/dead-letters/{id}/drop", summary="Let it go"),
    Endpoint(
        id="list_approvals",
        method="GET",
        path="/approvals",
        summary="Questions that wait for one of the asker's roles; all of them for operators",
        query=(
            Query(name="state", description="pending, approved, denied, expired or withdrawn"),
            Query(name="run", description="Run id"),
            Query(name="limit", type="integer"),
        ),
        for_everybody=True,
    ),
    Endpoint(id="get_approval", method="GET", path="/approvals/{id}", summary="One question", for_everybody=True),
    Endpoint(
        id="approve",
        method="POST",
        path="/approvals/{id}/approve",
        summary="Agree, with a value where the question wants one",
        body=_ANSWER,
        for_everybody=True,
    ),
    Endpoint(
        id="deny",
        method="POST",
        path="/approvals/{id}/deny",
        summary="Disagree",
        body=_ANSWER,
        for_everybody=True,
    ),
    Endpoint(
        id="list_costs",
        method="GET",
        path="/costs",
        summary="What was spent, the dearest first, and how much of the budgets that is",
        query=(
            Query(name="by", description="agent, tool, workflow, tenant, day or run"),
            Query(name="since", description="First day, such as 2026-11-28; by default 30 days back"),
            Query(name="until", description="Last day; by default today"),
        ),
    ),
    Endpoint(id="list_memories", method="GET", path="/memory", summary="Memories, and how much they hold"),
    Endpoint(
        id="search_memory",
        method="GET",
        path="/memory/{name}",
        summary="Entries of a memory: those that fit the words, the best first, or the newest",
        query=(Query(name="query", description="Words to look for"), Query(name="limit", type="integer")),
    ),
    Endpoint(
        id="forget_memory",
        method="POST",
        path="/memory/{name}/forget",
        summary="Take entries away: by their ids, or those that are older",
        body=_FORGET,
    ),
    Endpoint(id="list_keys", method="GET", path="/keys", summary="Keys, without their values"),
    Endpoint(id="mint_key", method="POST", path="/keys", summary="Mint a key; shown this once", body=_KEY, status=201),
    Endpoint(id="revoke_key", method="DELETE", path="/keys/{id}", summary="Revoke a key", status=204),
    Endpoint(
        id="explain",
        method="GET",
        path="/explain",
        summary="Which rule decides a call, and what would have to change",
        query=(
            Query(name="as", required=True),
            Query(name="call", required=True),
            Query(name="args", description="Arguments as a JSON object"),
        ),
    ),
    Endpoint(
        id="load",
        method="GET",
        path="/load",
        summary="Calls in flight and waiting by server and agent, breakers, and what is answered from memory",
    ),
    Endpoint(id="list_chaos", method="GET", path="/chaos", summary="Faults that are injected now"),
    Endpoint(
        id="add_chaos",
        method="POST",
        path="/chaos",
        summary="Inject a fault into calls of your tenant, for a while; only where gateway.chaos allows it",
        body=_CHAOS,
        status=201,
    ),
    Endpoint(id="remove_chaos", method="DELETE", path="/chaos/{id}", summary="End an injection", status=204),
    Endpoint(
        id="report_chaos",
        method="GET",
        path="/chaos/{id}/report",
        summary="Which calls an injection struck, how far that spread, and what stopped it; also once it has ended",
    ),
    Endpoint(id="reload", method="POST", path="/reload", summary="Read the configuration again, as a whole or not"),
    Endpoint(id="openapi", method="GET", path="/openapi.json", summary="This document", public=True),
)


def openapi_document(version: str) -> JsonObject:
    """The OpenAPI 3.1 description of the API."""
    paths: dict[str, Json] = {}
    for endpoint in ENDPOINTS:
        path = paths.setdefault(PREFIX + endpoint.path, {})
        if isinstance(path, dict):
            path[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Drawbridge", "version": version, "summary": "What operators ask of a running gateway."},
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "An operator's key."}},
            "responses": {"Error": _error_response()},
        },
    }


def _operation(endpoint: Endpoint) -> JsonObject:
    answer: dict[str, Json] = {"description": HTTPStatus(endpoint.status).phrase}
    if endpoint.status != HTTPStatus.NO_CONTENT:
        kind = "string" if endpoint.media_type == "text/event-stream" else "object"
        answer["content"] = {endpoint.media_type: {"schema": {"type": kind}}}
    operation: dict[str, Json] = {
        "operationId": endpoint.id,
        "summary": endpoint.summary,
        "parameters": [*_path_parameters(endpoint.path), *(_query_parameter(query) for query in endpoint.query)],
        "responses": {str(endpoint.status): answer, "default": {"$ref": "#/components/responses/Error"}},
    }
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": endpoint.body}}}
    if endpoint.public:
        operation["security"] = []
    return operation


def _path_parameters(path: str) -> list[Json]:
    names = (part[1:-1] for part in path.split("/") if part.startswith("{"))
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameter(query: Query) -> Json:
    return {
        "name": query.name,
        "in": "query",
        "required": query.required,
        "description": query.description,
        "schema": {"type": query.type},
    }


def _error_response() -> Json:
    reasons: list[Json] = [*dict.fromkeys(error.wire.reason for error in ERRORS)]
    detail: JsonObject = {
        "type": "object",
        "required": ["code", "reason", "message", "retryable"],
        "properties": {
            "code": {"type": "integer"},
            "reason": {"enum": reasons},
            "message": {"type": "string"},
            "retryable": {"type": "boolean"},
            "record": {"type": "string", "description": "Id of the audit record"},
        },
    }
    schema: JsonObject = {"type": "object", "required": ["error"], "properties": {"error": detail}}
    return {"description": "What went wrong", "content": {"application/json": {"schema": schema}}}
