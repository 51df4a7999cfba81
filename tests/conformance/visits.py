"""The client side of the conformance suite: every scenario has a server of its own, which somebody has to visit."""

import json
import logging
import shlex
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import httpx2
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.conformance.suite import NEWEST

_KNOCK = Path(__file__).with_name("knock.py")
log = logging.getLogger(__name__)
LATEST_RELEASED = "2025-11-25"
"""What the suite means that names no version."""
_MOST_TOLD = 1 << 20
WITHIN_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One scenario's server, and how it is reached."""

    scenario: str
    version: str
    url: str
    """As the client is to use it: the server's own, or a gateway's before it."""
    context: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the scenario gives its client to begin with."""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    auth: httpx2.Auth | None = None
    opens: Callable[[str], Awaitable[None]] | None = None
    """Opens a page for the client's user, where they can be asked to."""
    negotiates: bool = False
    """Whether a modern client has to find out first whom it talks to."""

    @property
    def mode(self) -> Any:
        """How the SDK's client connects."""
        if self.version != NEWEST:
            return "legacy"
        return "auto" if self.negotiates else NEWEST

    @asynccontextmanager
    async def client(self, **able: Any) -> AsyncGenerator[Client]:
        """A client that is connected; `able` as the SDK's own takes it."""
        async with plain_http(headers=self.headers, auth=self.auth) as http:
            link = streamable_http_client(self.url, http_client=http)
            async with Client(link, mode=self.mode, read_timeout_seconds=WITHIN_S, **able) as client:
                yield client


def plain_http(**more: Any) -> httpx2.AsyncClient:
    """An HTTP client for this machine, which needs no certificates."""
    return httpx2.AsyncClient(verify=False, trust_env=False, timeout=WITHIN_S, **more)


Visitor: TypeAlias = Callable[[Visit], Awaitable[None]]


@asynccontextmanager
async def visited_by(visitor: Visitor) -> AsyncGenerator[str]:
    """The command that the suite starts as its client."""

    async def serve(link: ByteStream) -> None:
        async with link:
            told = json.loads(await BufferedByteReceiveStream(link).receive_until(b"\n", _MOST_TOLD))
            visit = Visit(
                scenario=told["scenario"],
                version=told.get("protocol_version", LATEST_RELEASED),
                url=told["url"],
                context=json.loads(told.get("context", "{}")),
            )
            answer = b"y"
            try:
                with anyio.fail_after(WITHIN_S):
                    await visitor(visit)
            except Exception as error:  # noqa: BLE001 - whatever it is, the suite is told that its client failed
                log.info("visiting %s: %s", visit.scenario, _said_of(error))
                answer = b"n"
            await link.send(answer)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield shlex.join([sys.executable, "-I", "-S", str(_KNOCK), str(port)])
        group.cancel_scope.cancel()


def _said_of(error: BaseException) -> str:
    causes: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return "; ".join(map(_said_of, causes)) or f"{type(error).__name__}: {error}"[:300]
