"""A service described by an OpenAPI document as an `Upstream`: one request for each call, on pooled connections."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from anyio import to_thread

from adapters.net.address import Address, address_from_url
from adapters.net.authorized import Authorized, Send, check_secure
from adapters.net.configured import revealed
from adapters.net.egress import EgressGuard
from adapters.net.http1 import Pool, PoolLimits, header_lines
from adapters.net.response import Response
from adapters.openapi.answers import result_of
from adapters.openapi.document import read_document
from adapters.openapi.operations import SAFE, ApiOperation, Operations
from adapters.openapi.places import service_url
from adapters.openapi.requests import Credentials, credentials_for, request_for
from adapters.openapi.settings import OperationSettings, ServiceSettings
from gateway.core.errors import InvalidRequest, NotFound, Unavailable, UpstreamFailed
from gateway.core.json import JsonObject, canonical_json, json_object, json_text
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Bounds, Limits
from gateway.core.model import Capability, Complete, Effect, Emit, Remembering, Request, Result
from gateway.core.ports.credentials import UpstreamTokens
from gateway.core.ports.upstream import Listing
from gateway.core.ports.world import Clock, Secrets

_BUSY = frozenset({429, 503})
_PLAIN = OperationSettings()
_MOST_REPORTED = 50
_LITTLE = 4096
"""Bytes of an answer that are held against a schema without making others wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceParts:
    """What every service needs of the gateway."""

    limits: Limits
    clock: Clock
    secrets: Secrets
    tls: ssl.SSLContext | None
    guard: EgressGuard
    """Vets the address a document names; one from the configuration is not vetted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """A document as it was last read, and where it leads."""

    operations: Mapping[str, ApiOperation]
    schemes: JsonObject = field(repr=False)
    base_path: str
    pool: Pool = field(repr=False)
    address: Address
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    secrets: Mapping[str, str] = field(repr=False)


class OpenApiUpstream:
    """See `Upstream`. Owns its pool."""

    def __init__(
        self, slug: str, settings: ServiceSettings, parts: ServiceParts, tokens: UpstreamTokens | None = None
    ) -> None:
        """`tokens`: those it asks for. Raises: InvalidRequest: `base_url` cannot be used, or not for them."""
        if tokens is not None:
            check_secure(address_from_url(settings.base_url), slug)
        elif settings.base_url:
            address_from_url(settings.base_url)
        self._tokens = tokens
        self._slug = slug
        self._settings = settings
        self._parts = parts
        self._labels = CLEAN if settings.trusted else Labels(untrusted=frozenset({f"server:{slug}"}))
        self._service: _Service | None = None

    @property
    def name(self) -> str:
        return self._slug

    async def capabilities(self) -> Listing:
        """See `Upstream.capabilities`. Reads the document again; whether somebody answers is found out by calls."""
        document = await to_thread.run_sync(read_document, self._settings.document)
        operations = Operations(document, self._settings)
        await to_thread.run_sync(operations.read)
        self._service = await self._connected(document, operations.found)
        info = json_object(document.get("info"))
        about: JsonObject = {
            "serverInfo": {"name": json_text(info.get("title")), "version": json_text(info.get("version"))},
            "capabilities": {"tools": {}},
        }
        if operations.dropped:
            about |= {"dropped": operations.dropped[:_MOST_REPORTED], "dropped_count": len(operations.dropped)}
        return Listing(capabilities=tuple(self._capability(each) for each in operations.found.values()), about=about)

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        """See `Upstream.call`."""
        service = self._service
        if service is None:
            raise Unavailable(f"{self._slug} is closed", detail={"sent": False})
        operation = service.operations.get(capability.local)
        if operation is None or request.operation != "call":
            raise NotFound(f"{self._slug} has no operation {capability.local}")
        sent = request_for(
            operation,
            self._arguments(request, capability),
            self._credentials(service, operation),
            service.base_path if operation.base_path is None else operation.base_path,
        )
        deadline_s = request.budget.deadline_s
        if capability.timeout_s is not None:
            deadline_s = min(deadline_s, self._parts.clock.monotonic_s() + capability.timeout_s)
        lines = header_lines((*service.headers, *sent.headers, *self._key(request, operation), *_trace(request)))
        response = await self._sending(service.pool, request)(
            sent.method, sent.target.encode(), lines, sent.body, deadline_s=deadline_s, replay=operation.method in SAFE
        )
        return await self._answered(response, operation)

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        service, self._service = self._service, None
        if service is not None:
            await service.pool.aclose()

    def _sending(self, pool: Pool, request: Request) -> Send:
        """How a request goes out: in its caller's name, where the service wants to know it."""
        if self._tokens is None:
            return pool.send
        return Authorized(pool.send, self._tokens.of(self._tokens.key(request))).send

    async def _answered(self, response: Response, operation: ApiOperation) -> Complete:
        status = response.status
        if status in _BUSY:
            after = response.header(b"retry-after")
            response.close()
            raise Unavailable(
                f"{self._slug} answered with HTTP status {status}",
                detail={"sent": False, "status": status},
                retry_after_s=float(after) if after.isdigit() and len(after) < 6 else None,
            )
        body = b"" if operation.method == "head" else await response.read(self._parts.limits.result_bytes)
        content_type = response.header(b"content-type").decode("latin-1")
        if operation.method == "head":
            response.close()
        if operation.outcome is None or len(body) < _LITTLE:
            return result_of(status, content_type, body, self._labels, operation.outcome)
        return await to_thread.run_sync(result_of, status, content_type, body, self._labels, operation.outcome)

    async def _connected(self, document: JsonObject, found: Mapping[str, ApiOperation]) -> _Service:
        """The document with a pool to where it leads; the present one is kept where that is the same."""
        url = service_url(document, self._settings.base_url)
        if not url:
            raise InvalidRequest(f"{self._slug}: the document names no server to call; set base_url")
        address = address_from_url(url)
        before = self._service
        pool = before.pool if before is not None and before.address == address else self._pool(address)
        if before is not None and before.pool is not pool:
            await before.pool.aclose()
        return _Service(
            operations=dict(found),
            schemes=json_object(json_object(document.get("components")).get("securitySchemes")),
            base_path=address.target.partition("?")[0],
            pool=pool,
            address=address,
            headers=tuple(self._revealed(self._settings.headers).items()),
            secrets=self._revealed(self._settings.credentials),
        )

    def _pool(self, address: Address) -> Pool:
        limits = self._parts.limits
        return Pool(
            address,
            name=self._slug,
            tls=self._parts.tls,
            limits=PoolLimits(
                connections=self._settings.concurrency or limits.upstream_concurrency,
                queue=limits.upstream_queue,
                connect_timeout_s=limits.connect_timeout_s,
            ),
            guard=None if self._settings.base_url else self._parts.guard,
        )

    def _revealed(self, values: Mapping[str, str]) -> dict[str, str]:
        return revealed(self._slug, values, self._parts.secrets)

    def _credentials(self, service: _Service, operation: ApiOperation) -> Credentials:
        found = credentials_for(service.schemes, operation.security, service.secrets)
        if found is None:
            if service.headers or self._tokens is not None:
                return Credentials()  # what is configured as a header may well be the credential
            wanted = " or ".join(" and ".join(each) for each in operation.security)
            raise UpstreamFailed(f"{self._slug} has no credential for {wanted}: set servers.{self._slug}.credentials")
        return found

    def _arguments(self, request: Request, capability: Capability) -> JsonObject:
        value = request.body.content().structured
        if value is not None and not isinstance(value, dict):
            raise InvalidRequest("the input must be an object")
        arguments = json_object(value)
        way, _, name = self._operation(capability.local).idempotency.partition(":")
        if request.idempotency_key and way == "argument":
            arguments = {**arguments, name: request.idempotency_key}
        return arguments

    def _key(self, request: Request, operation: ApiOperation) -> tuple[tuple[str, str], ...]:
        way, _, name = self._operation(operation.name).idempotency.partition(":")
        return ((name, request.idempotency_key),) if way == "header" and request.idempotency_key else ()

    def _operation(self, name: str) -> OperationSettings:
        return self._settings.operations.get(name, _PLAIN)

    def _capability(self, operation: ApiOperation) -> Capability:
        settings, own = self._settings, self._operation(operation.name)
        tags = settings.tags | own.tags
        if operation.method == "delete":
            tags |= {"destructive"}
        effect = self._effect(operation, own, tags)
        kept = own.deterministic or own.stale_on_error
        return Capability(
            name=f"tool:{self._slug}/{operation.name}",
            kind="tool",
            owner=self._slug,
            local=operation.name,
            tenant=settings.tenant,
            title=json_text(operation.definition.get("title")),
            description=json_text(operation.definition.get("description")),
            definition=operation.definition,
            input_schema=json_object(operation.definition["inputSchema"]),
            output_schema=None if operation.outcome is None else operation.outcome.schema,
            tags=tags,
            effect=effect,
            # A header is `meta` to whoever asks whether the key reaches its target.
            idempotency="meta" if own.idempotency.startswith("header:") else own.idempotency,
            timeout_s=own.timeout_s or settings.timeout_s,
            bounds=Bounds(
                owner_concurrency=settings.concurrency, owner_queue=settings.queue, concurrency=own.concurrency
            ),
            remembering=Remembering(
                ttl_s=own.cache_ttl_s,
                fresh=own.deterministic,
                stale=own.stale_on_error,
                personal=settings.personal,
            )
            if kept and effect == "read"
            else None,
            digest=_digest(operation.definition),
        )

    def _effect(self, operation: ApiOperation, own: OperationSettings, tags: frozenset[str]) -> Effect:
        if "read" in own.tags or (self._settings.safe_reads and operation.method in SAFE):
            return "read"
        return "read" if "read" in tags and "destructive" not in tags else "sink"


def _trace(request: Request) -> tuple[tuple[str, str], ...]:
    value = request.traceparent
    return (("traceparent", value),) if value and value.isascii() and value.isprintable() else ()


def _digest(definition: JsonObject) -> str:
    try:
        canonical = canonical_json(definition)
    except ValueError:
        canonical = repr(definition).encode()
    return sha256(canonical).hexdigest()
