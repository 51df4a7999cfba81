"""What every MCP upstream is made with; one of each a process."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from adapters.mcp.client_seal import Seal
from adapters.mcp.settings import ServerSettings
from gateway.core.errors import InvalidRequest
from gateway.core.limits import Limits
from gateway.core.ports.credentials import UpstreamTokens
from gateway.core.ports.world import Clock, Secrets

TokensFor: TypeAlias = Callable[[str, ServerSettings], UpstreamTokens | None]


def no_tokens(slug: str, settings: ServerSettings) -> None:
    """For where nobody can be asked for a token. Raises: InvalidRequest: it asks for one."""
    if settings.auth is not None:
        raise InvalidRequest(f"{slug}: no access tokens are to be had here")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerParts:
    """Shared by all servers."""

    limits: Limits
    clock: Clock
    secrets: Secrets
    seal: Seal
    tls: ssl.SSLContext
    tokens: TokensFor = no_tokens
    """The access tokens a server asks for, by its name and `auth`."""
