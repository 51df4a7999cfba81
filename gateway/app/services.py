"""What the configuration says of a service with an OpenAPI document, as its adapter wants it."""

from pathlib import Path

from adapters.mcp.settings import ServerSettings, ToolSettings
from adapters.openapi.settings import OperationSettings, ServiceSettings


def service_settings(settings: ServerSettings, folder: Path) -> ServiceSettings:
    """Of a server with `openapi`; its path begins in `folder`."""
    return ServiceSettings(
        document=folder / settings.openapi,
        base_url=settings.base_url,
        credentials=settings.credentials,
        personal=settings.auth is not None and settings.auth.personal,
        headers=settings.headers,
        include=settings.include,
        exclude=settings.exclude,
        safe_reads=settings.safe_reads,
        tags=frozenset(settings.tags),
        operations={name: _operation(each) for name, each in settings.tools.items()},
        timeout_s=settings.timeout_s,
        concurrency=settings.concurrency,
        queue=settings.queue,
        tenant=settings.tenant,
        trusted=settings.trust == "trusted",
    )


def _operation(tool: ToolSettings) -> OperationSettings:
    return OperationSettings(
        tags=frozenset(tool.tags),
        timeout_s=tool.timeout_s,
        concurrency=tool.concurrency,
        deterministic=tool.deterministic,
        cache_ttl_s=tool.cache_ttl_s,
        stale_on_error=tool.stale_on_error,
        idempotency=tool.idempotency,
    )
