"""Documents for tests, and an upstream over one of them."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.net.egress import EgressGuard
from adapters.net.settings import EgressSettings
from adapters.openapi.operations import Operations
from adapters.openapi.settings import ServiceSettings
from adapters.openapi.upstream import OpenApiUpstream, ServiceParts
from gateway.core.content import plain
from gateway.core.errors import InvalidRequest
from gateway.core.limits import Budget, Limits
from gateway.core.model import Complete, Request, ignore_event
from gateway.core.ports.credentials import UpstreamTokens
from gateway.core.ports.world import Secret
from tests.fakes import ANA
from tests.fakes_mcp_door import Ticking

TEXT: dict[str, Any] = {"type": "string"}


def parameter(name: str, where: str = "query", **more: Any) -> dict[str, Any]:
    return {"name": name, "in": where, "schema": TEXT, **({"required": True} if where == "path" else {}), **more}


def operation(*parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"parameters": [*parameters], "responses": {"200": {"description": "ok"}}, **more}


def document(paths: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "info": {"title": "CRM", "version": "2"}, "paths": paths, **more}


def read(paths: dict[str, Any], settings: ServiceSettings | None = None, **more: Any) -> Operations:
    operations = Operations(document(paths, **more), settings or ServiceSettings(document=Path("x")))
    operations.read()
    return operations


class Vault:
    """Secrets by reference."""

    def resolve(self, reference: str) -> Secret:
        if reference != "env:TOKEN":
            raise InvalidRequest(f"{reference} is not there")
        return Secret("t0ken")


@asynccontextmanager
async def service(
    folder: Path,
    said: Any,
    *,
    limits: Limits | None = None,
    allow: tuple[str, ...] = (),
    tokens: UpstreamTokens | None = None,
    **settings: Any,
) -> AsyncGenerator[OpenApiUpstream]:
    path = folder / "crm.json"
    path.write_text(said if isinstance(said, str) else json.dumps(said))
    parts = ServiceParts(
        limits=limits or Limits(),
        clock=Ticking(),
        secrets=Vault(),
        tls=None,
        guard=EgressGuard(EgressSettings(allow=allow, ports=())),
    )
    upstream = OpenApiUpstream("crm", ServiceSettings(document=path, **settings), parts, tokens)
    try:
        yield upstream
    finally:
        await upstream.aclose()


async def call(
    upstream: OpenApiUpstream, name: str, arguments: Any = None, *, key: str = "", credential: str = ""
) -> Complete:
    listing = await upstream.capabilities()
    capability = next(each for each in listing.capabilities if each.local == name)
    request = Request(
        id="req_1",
        principal=ANA,
        capability=capability.name,
        operation="call",
        budget=Budget(deadline_s=Ticking().monotonic_s() + 60),
        body=plain(arguments),
        idempotency_key=key,
        credential=credential,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    result = await upstream.call(request, capability, ignore_event)
    assert isinstance(result, Complete)
    return result
