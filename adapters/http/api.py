"""The REST API under /api/v1: what operators ask of a running gateway. Knows its parts only by `api_ports`."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import structlog
from jsonschema import Draft202012Validator
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from adapters.http.api_accounts import AccountEndpoints
from adapters.http.api_advice import AdviceEndpoints
from adapters.http.api_agents import AgentEndpoints
from adapters.http.api_approvals import ApprovalEndpoints
from adapters.http.api_audit import AuditEndpoints
from adapters.http.api_call import Call, Recorder, answer, body_of, error_answer
from adapters.http.api_catalog import CatalogEndpoints
from adapters.http.api_chaos import ChaosReportEndpoints
from adapters.http.api_configuration import Reload
from adapters.http.api_contract import ENDPOINTS, PREFIX, openapi_document
from adapters.http.api_costs import CostEndpoints
from adapters.http.api_dead_letters import DeadLetterEndpoints
from adapters.http.api_endpoint import Endpoint
from adapters.http.api_keys import KeyEndpoints
from adapters.http.api_load import LoadEndpoints
from adapters.http.api_memory import MemoryEndpoints
from adapters.http.api_pins import PinEndpoints
from adapters.http.api_ports import (
    AccountKeeper,
    Advising,
    AgentDirectory,
    Approving,
    AuditBodies,
    AuditReader,
    ChaosControl,
    Costs,
    DeadLetterQueue,
    Directory,
    Explainer,
    Keys,
    LoadReader,
    MemoryKeeper,
    PinKeeper,
    Principals,
    RunControl,
    RunExplainer,
    RunRetention,
)
from adapters.http.api_runs import RunEndpoints
from gateway.core.errors import Denied, GatewayError, Internal, InvalidRequest, NotFound, Unauthenticated
from gateway.core.model import Principal
from gateway.core.ports.gateway import Authenticator, Gateway
from gateway.core.ports.runs import RunStore
from gateway.core.ports.world import Clock, Ids

Handler: TypeAlias = Callable[[Call], Awaitable[Response]]

_logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    """Everything the API works with."""

    gateway: Gateway
    authenticator: Authenticator
    directory: Directory
    principals: Principals
    explainer: Explainer
    agents: AgentDirectory
    keys: Keys
    runs: RunStore
    control: RunControl
    approving: Approving
    explaining: RunExplainer
    advising: Advising
    retention: RunRetention
    dead_letters: DeadLetterQueue
    audit: AuditReader
    bodies: AuditBodies
    costs: Costs
    memories: MemoryKeeper
    pins: PinKeeper
    accounts: AccountKeeper
    load: LoadReader
    chaos: ChaosControl
    reload: Reload
    clock: Clock
    ids: Ids
    version: str
    """Of the product."""
    streams: int = 200
    """Runs followed at once in one tenant."""


class Api:
    """An ASGI application for every path below `/api/v1`, paths given in full."""

    def __init__(self, parts: ApiParts) -> None:
        self._authenticator = parts.authenticator
        self._recorder = Recorder(gateway=parts.gateway, clock=parts.clock, ids=parts.ids)
        self._document = openapi_document(parts.version)
        handlers = _handlers(parts, self._recorder)
        routes = [
            Route(PREFIX + each.path, self._endpoint(each, handlers.get(each.id)), methods=[each.method])
            for each in ENDPOINTS
        ]
        self._app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def _endpoint(self, endpoint: Endpoint, handler: Handler | None) -> Callable[[Request], Awaitable[Response]]:
        validator = Draft202012Validator(endpoint.body) if endpoint.body is not None else None

        async def serve(request: Request) -> Response:
            try:
                if handler is None:
                    return answer(self._document)
                who = await self._known(request, endpoint.id)
                if not endpoint.for_everybody:
                    self._refuse_all_but_operators(who, endpoint.id)
                body = await body_of(request, validator) if validator is not None else {}
                return await handler(Call(request=request, who=who, body=body))
            except GatewayError as error:
                return error_answer(error)
            except Exception:
                # The outermost edge: the caller learns nothing of what broke, the log everything.
                _logger.exception("api call failed", operation=endpoint.id)
                return error_answer(Internal("something went wrong inside the gateway; its log has the rest"))

        return serve

    async def _known(self, request: Request, operation: str) -> Principal:
        try:
            authorization = request.headers.get("authorization", "").encode("latin-1")
            return (await self._authenticator.authenticate(authorization, request.url.path)).principal
        except Unauthenticated as error:
            self._recorder.refused(f"api.{operation}", None, error)
            raise

    def _refuse_all_but_operators(self, who: Principal, operation: str) -> None:
        # An agent or workflow that acts for an operator is not the operator.
        if who.kind != "operator" or who.behind is not None:
            error = Denied("only an operator may do this", detail={"policy": "api", "rule": "operators-only"})
            self._recorder.refused(f"api.{operation}", who, error)
            raise error


def _handlers(parts: ApiParts, recorder: Recorder) -> Mapping[str, Handler]:
    """By operation id; the public document has none."""
    catalog = CatalogEndpoints(
        gateway=parts.gateway,
        directory=parts.directory,
        principals=parts.principals,
        explainer=parts.explainer,
        reload=parts.reload,
        recorder=recorder,
        clock=parts.clock,
        version=parts.version,
    )
    runs = RunEndpoints(
        runs=parts.runs,
        control=parts.control,
        explaining=parts.explaining,
        retention=parts.retention,
        recorder=recorder,
        authenticator=parts.authenticator,
        streams=parts.streams,
    )
    keys = KeyEndpoints(keys=parts.keys, recorder=recorder, clock=parts.clock)
    agents = AgentEndpoints(agents=parts.agents, recorder=recorder)
    audit = AuditEndpoints(audit=parts.audit, bodies=parts.bodies, recorder=recorder)
    dead = DeadLetterEndpoints(letters=parts.dead_letters, recorder=recorder)
    approvals = ApprovalEndpoints(approving=parts.approving, recorder=recorder)
    costs = CostEndpoints(costs=parts.costs, runs=parts.runs, clock=parts.clock)
    memory = MemoryEndpoints(memories=parts.memories, recorder=recorder)
    advice = AdviceEndpoints(
        advising=parts.advising, audit=parts.audit, gateway=parts.gateway, principals=parts.principals
    )
    load = LoadEndpoints(load=parts.load, chaos=parts.chaos, recorder=recorder)
    chaos = ChaosReportEndpoints(audit=parts.audit, explaining=parts.explaining)
    accounts = AccountEndpoints(accounts=parts.accounts, recorder=recorder)
    pins = PinEndpoints(pins=parts.pins, recorder=recorder)
    rooms = (catalog, agents, runs, dead, approvals, advice, keys, costs, audit, load, chaos, memory, pins, accounts)
    found = {each.id: getattr(room, each.id) for each in ENDPOINTS for room in rooms if hasattr(room, each.id)}
    missing = [each.id for each in ENDPOINTS if not each.public and each.id not in found]
    if missing:
        raise ValueError(f"endpoints without a handler: {missing}")
    return found


async def _http_error(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: an unknown path, a method the path does not have."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        response = error_answer(InvalidRequest("this path does not have that method"))
        response.status_code = error.status_code
        response.headers.update(error.headers or {})
        return response
    return error_answer(NotFound("no such path in this API"))
