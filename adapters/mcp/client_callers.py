"""An MCP server that is called in each caller's own name: one connection for each, and nothing shared between them."""

from collections import OrderedDict
from collections.abc import Callable

import anyio

from adapters.mcp.client_http import McpHttpUpstream
from adapters.mcp.client_parts import ServerParts
from adapters.mcp.settings import ServerSettings
from gateway.core.model import Capability, Emit, Request, Result
from gateway.core.ports.credentials import UpstreamTokens
from gateway.core.ports.upstream import Listing

_CLOSE_S = 5.0


class McpCallersUpstream:
    """See `Upstream`. Lists are read in the gateway's own name."""

    def __init__(
        self,
        slug: str,
        settings: ServerSettings,
        parts: ServerParts,
        on_changed: Callable[[], None],
        tokens: UpstreamTokens,
    ) -> None:
        """Raises: InvalidRequest: the URL cannot be used."""
        self._slug = slug
        self._settings = settings
        self._parts = parts
        self._tokens = tokens
        self._own = McpHttpUpstream(slug, settings, parts, on_changed, tokens.own)
        self._callers: OrderedDict[str, McpHttpUpstream] = OrderedDict()
        self._calls: dict[str, int] = {}

    @property
    def name(self) -> str:
        return self._slug

    async def capabilities(self) -> Listing:
        return await self._own.capabilities()

    async def watch(self) -> None:
        """See `McpHttpUpstream.watch`."""
        await self._own.watch()

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        key = self._tokens.key(request)
        upstream = self._callers.get(key)
        if upstream is None:
            upstream = McpHttpUpstream(self._slug, self._settings, self._parts, token=self._tokens.of(key))
            self._callers[key] = upstream
        self._callers.move_to_end(key)
        self._calls[key] = self._calls.get(key, 0) + 1
        try:
            await self._make_room()
            return await upstream.call(request, capability, emit)
        finally:
            self._calls[key] -= 1
            if not self._calls[key]:
                del self._calls[key]

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        everybody, self._callers = [*self._callers.values()], OrderedDict()
        with anyio.move_on_after(_CLOSE_S, shield=True):
            async with anyio.create_task_group() as closing:
                for upstream in (self._own, *everybody):
                    closing.start_soon(upstream.aclose)

    async def _make_room(self) -> None:
        """Let go of whoever called longest ago and is not calling now."""
        if len(self._callers) > self._parts.limits.sessions:
            for key in [key for key in self._callers if key not in self._calls][:1]:
                await self._callers.pop(key).aclose()
