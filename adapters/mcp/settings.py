"""The section `servers` of the configuration: MCP servers the gateway stands in front of."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from adapters.net.auth_settings import AuthSettings
from gateway.core.model import DEFAULT_TENANT
from gateway.core.ports.pinning import PinningMode

_REFERENCE = re.compile(r"(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|keyring:[^/]+/.+)")
_TAG = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_IDEMPOTENCY = re.compile(r"meta|argument:[^:]+|header:[A-Za-z0-9-]+")
# What the transport itself says; a configured value would contradict it.
_OWN_HEADERS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection", "accept"})

Seconds = Annotated[float, Field(gt=0, le=3600)]
Places = Annotated[int, Field(ge=1, le=100_000)]


def is_reference(value: str) -> bool:
    """Whether a configured value names a secret (`env:`, `file:` or `keyring:`) instead of being it."""
    return value.startswith(("env:", "file:", "keyring:"))


def _checked_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise ValueError(f"{tag!r} is not a tag: lower case letters, digits, '_', '.' and '-'")
    return tags


def _checked_references(values: dict[str, str]) -> dict[str, str]:
    for name, value in values.items():
        if is_reference(value) and not _REFERENCE.fullmatch(value):
            raise ValueError(f"{name}: write env:NAME, file:PATH or keyring:SERVICE/NAME")
    return values


class ToolSettings(BaseModel):
    """What is known of one tool beyond what its server says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tags: tuple[str, ...] = ()
    """Only the tag `read` here or on the server lets a tool be called without a durable record before it."""
    idempotency: str = ""
    """How the tool learns the idempotency key: `meta`, `argument:NAME`, `header:NAME` for an operation of an OpenAPI
    document, or not at all."""
    timeout_s: Seconds | None = None
    """Longest one call of it may take, seconds."""
    concurrency: Places | None = None
    """Calls of it in flight, of those to its server."""
    deterministic: bool = False
    """The same arguments always have the same answer: it is remembered. For reads only."""
    cache_ttl_s: Annotated[float, Field(gt=0)] = 86_400.0
    """How long an answer is remembered, seconds."""
    stale_on_error: bool = False
    """When it fails, its last answer to the same arguments is given, however old, and marked. For reads only."""

    _tags = field_validator("tags")(_checked_tags)

    @field_validator("idempotency")
    @classmethod
    def _names_a_way(cls, value: str) -> str:
        if value and not _IDEMPOTENCY.fullmatch(value):
            raise ValueError("write meta, argument:NAME or header:NAME for whatever takes the key")
        return value


class ServerSettings(BaseModel):
    """One MCP server: behind a URL (Streamable HTTP, HTTP+SSE), or a command that speaks on its standard streams."""

    # A literal credential in `headers` or `env` must not be repeated by an error about its neighbour.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str = ""
    """Of a server on Streamable HTTP, or on HTTP+SSE."""
    transport: Literal["auto", "http", "sse"] = "auto"
    """How a url is spoken to: Streamable HTTP, HTTP+SSE (MCP 2024-11-05), or whichever of the two is found there."""
    openapi: str = ""
    """Instead: path of an OpenAPI document, 3.0 or 3.1, beside the configuration; its operations become tools."""
    base_url: str = ""
    """Where the service of the document is; by default the first of its `servers`, which the egress guard vets."""
    credentials: dict[str, str] = Field(default_factory=dict)
    """By security scheme of the document: the credential, `user:password` for HTTP Basic; values may be references."""
    include: tuple[str, ...] = ()
    """Which operations of the document: patterns over tool names, `tag:NAME`, or `GET /path*`; by default all."""
    exclude: tuple[str, ...] = ()
    """Which of them not."""
    safe_reads: bool = False
    """GET and HEAD of the document's service are taken at their word: reads, as if tagged."""
    command: tuple[str, ...] = ()
    """The program and its arguments. Commands come from the configuration only; no API takes one."""
    env: dict[str, str] = Field(default_factory=dict)
    """Added to a minimal environment (PATH, HOME, LANG); values may be secret references."""
    cwd: str = ""
    """Working directory of the command; by default the one the gateway was started in."""
    processes: Annotated[int, Field(ge=0, le=1000)] = 16
    """Most processes of a command for callers that it may ask something, each with one of its own, where it speaks a
    revision before 2026-07-28; one more serves everybody else. 0: it serves everybody, and can ask nobody."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Sent with each request, for example the server's credential; values may be secret references."""
    auth: AuthSettings | None = None
    """How the gateway gets the access token the server asks for."""
    tags: tuple[str, ...] = ()
    """Of all its tools."""
    tools: dict[str, ToolSettings] = Field(default_factory=dict[str, ToolSettings])
    """What is known of single tools, by the names the server gives them."""
    timeout_s: Seconds | None = None
    """Longest one call may take, seconds."""
    concurrency: Places | None = None
    """Calls in flight to it; by default `limits.upstream_concurrency`."""
    queue: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Calls waiting for it; by default `limits.upstream_queue`."""
    tenant: str = DEFAULT_TENANT
    """Whose it is; `*` for every tenant's."""
    trust: Literal["trusted", "untrusted"] = "untrusted"
    """Whether what it says may be followed; what an untrusted server says taints what comes of it."""
    pinning: PinningMode = "first_use"
    """Whether its tools, prompts and instructions are held to what they were when they were first seen, when they were
    approved, or not at all. What an OpenAPI document says is yours, and pinned only where this is set."""

    @property
    def pins_itself(self) -> bool:
        """Whether `pinning` was set rather than left as it is."""
        return "pinning" in self.model_fields_set

    _tags = field_validator("tags")(_checked_tags)
    _references = field_validator("env", "headers", "credentials")(_checked_references)

    @field_validator("url", "base_url")
    @classmethod
    def _is_a_web_address(cls, url: str) -> str:
        if url:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("write an http:// or https:// address")
            if "@" in parts.netloc:
                raise ValueError("a credential does not belong into the address; put it into headers, by reference")
        return url

    @field_validator("headers")
    @classmethod
    def _are_free_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER.fullmatch(name) or any(character in value for character in "\r\n\0"):
                raise ValueError(f"{name!r} is not a header that can be sent")
            if name.lower() in _OWN_HEADERS or name.lower().startswith("mcp-"):
                raise ValueError(f"{name} belongs to the transport and cannot be set")
        return headers

    @model_validator(mode="after")
    def _is_one_kind(self) -> "ServerSettings":
        if sum(map(bool, (self.url, self.command, self.openapi))) != 1:
            raise ValueError("give either url (HTTP), command (a program on stdio) or openapi (a document)")
        if not self.url and self.transport != "auto":
            raise ValueError("transport belongs to a url")
        if not self.command and (self.env or self.cwd or "processes" in self.model_fields_set):
            raise ValueError("env, cwd and processes belong to a command, not to a url")
        if self.command and (self.headers or self.auth):
            raise ValueError("headers and auth belong to a url or a document, not to a command")
        if self.auth and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("give either auth or a header Authorization")
        return self

    @model_validator(mode="after")
    def _keeps_to_its_kind(self) -> "ServerSettings":
        of_documents = self.base_url or self.credentials or self.include or self.exclude or self.safe_reads
        if of_documents and not self.openapi:
            raise ValueError("base_url, credentials, include, exclude and safe_reads belong to an OpenAPI document")
        if self.openapi and self.auth and not self.base_url:
            # The document would say to whom the token is shown.
            raise ValueError("auth needs the base_url the token is for")
        if self.auth and self.credentials:
            raise ValueError("give either auth or credentials; a key that goes with the token goes into headers")
        for name, tool in self.tools.items():
            if tool.idempotency.startswith("header:") and not self.openapi:
                raise ValueError(f"tools.{name}: an MCP server takes the key by meta or argument:NAME, not by a header")
            if tool.idempotency == "meta" and self.openapi:
                raise ValueError(f"tools.{name}: an HTTP service takes the key by header:NAME or argument:NAME")
        return self

    @model_validator(mode="after")
    def _remembers_reads_only(self) -> "ServerSettings":
        for name, tool in self.tools.items():
            tagged = "read" in (*tool.tags, *self.tags) or self.safe_reads
            if (tool.deterministic or tool.stale_on_error) and not tagged:
                raise ValueError(f"tools.{name}: only answers of reads are remembered; tag it read if it is one")
        return self
