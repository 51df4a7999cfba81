"""What is wanted of one service described by an OpenAPI document. Who configures it is not known here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.core.model import DEFAULT_TENANT


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationSettings:
    """What is known of one operation beyond what the document says."""

    tags: frozenset[str] = frozenset()
    timeout_s: float | None = None
    concurrency: int | None = None
    deterministic: bool = False
    cache_ttl_s: float = 86_400.0
    stale_on_error: bool = False
    idempotency: str = ""
    """`header:NAME` or `argument:NAME`, for whatever takes the idempotency key; empty for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """One service."""

    document: Path
    base_url: str = ""
    """Where the service is; by default what the document's first server says."""
    credentials: Mapping[str, str] = field(default_factory=dict[str, str])
    """By security scheme of the document: the credential, or a reference to it."""
    personal: bool = False
    """It is called in each caller's own name, so that no answer is another's."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Sent with each request; values may be references."""
    include: tuple[str, ...] = ()
    """Patterns over tool names, `tag:NAME`, or `GET /path`; without any, every operation."""
    exclude: tuple[str, ...] = ()
    """As `include`; what fits is left out."""
    safe_reads: bool = False
    """GET and HEAD are taken at their word: they change nothing."""
    tags: frozenset[str] = frozenset()
    operations: Mapping[str, OperationSettings] = field(default_factory=dict[str, OperationSettings])
    """By tool name."""
    timeout_s: float | None = None
    concurrency: int | None = None
    queue: int | None = None
    tenant: str = DEFAULT_TENANT
    trusted: bool = False
