"""What every MCP upstream is made with; one of each a process."""

import ssl
from dataclasses import dataclass

from adapters.mcp.client_seal import Seal
from gateway.core.limits import Limits
from gateway.core.ports.world import Clock, Secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerParts:
    """Shared by all servers."""

    limits: Limits
    clock: Clock
    secrets: Secrets
    seal: Seal
    tls: ssl.SSLContext
