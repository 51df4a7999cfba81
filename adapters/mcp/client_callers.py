"""An MCP server that is called in each caller's own name: one connection for each, and nothing shared between them."""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from adapters.mcp.client_consent import Consent
from adapters.mcp.client_heirs import Asked, HeritableToken
from adapters.mcp.client_http import McpHttpUpstream
from adapters.mcp.client_parts import ServerParts
from adapters.mcp.settings import ServerSettings
from gateway.core.errors import Denied, GatewayError, Unavailable
from gateway.core.model import Capability, Emit, InputRequired, Request, Result
from gateway.core.ports.credentials import UpstreamTokens
from gateway.core.ports.upstream import Listing

_CLOSE_S = 5.0
_TIDY_S = 30.0
_MOST_LEAVING = 16


@dataclass(slots=True, kw_only=True)
class _Caller:
    """Somebody's own connection."""

    upstream: McpHttpUpstream
    token: HeritableToken
    calls: int = 0
    attending: anyio.Lock = field(default_factory=anyio.Lock)
    """Held by the one of those who follow a resource by it that hears what the server says unasked."""
    attended: bool = False


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
        self._consent = Consent(parts.seal)
        self._own = McpHttpUpstream(slug, settings, parts, on_changed, tokens.own)
        self._callers: OrderedDict[str, _Caller] = OrderedDict()
        self._asked = Asked()
        self._leaving: deque[McpHttpUpstream] = deque()
        """Connections that made room for others."""
        self._left = anyio.Event()

    @property
    def name(self) -> str:
        return self._slug

    async def capabilities(self) -> Listing:
        return await self._own.capabilities()

    async def watch(self) -> None:
        """See `McpHttpUpstream.watch`."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._see_off)
            try:
                await self._own.watch()
            finally:
                for caller in self._callers.values():
                    caller.upstream.desert()

    async def _see_off(self) -> None:
        """Close whoever made room for others, and end sessions that were forgotten, until canceled."""
        while True:
            while self._leaving:
                with anyio.move_on_after(_CLOSE_S, shield=True):
                    await self._leaving.popleft().aclose()
            for caller in tuple(self._callers.values()):
                await caller.upstream.say_goodbyes()
            self._left = anyio.Event()
            with anyio.move_on_after(_TIDY_S):
                await self._left.wait()

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        request = self._consent.resumed(request, capability)
        key = self._where_it_waits(request, self._tokens.key(request))
        try:
            result = await self._call(key, request, capability, emit)
        except Denied as error:
            return self._consent.asked(error, request, capability)
        if isinstance(result, InputRequired):
            self._asked.note(result.state, key)
        return result

    def _where_it_waits(self, request: Request, key: str) -> str:
        """The key of the connection the call is resumed by: its caller may have another token since it was asked.

        What it comes with has been found to be this caller's own.
        """
        waits = self._asked.take(request.continuation) if request.continuation else ""
        caller = self._callers.get(waits)
        if caller is None or waits == key:
            return key
        caller.token.heir = self._tokens.of(key)
        return waits

    async def _call(self, key: str, request: Request, capability: Capability, emit: Emit) -> Result:
        caller = self._callers.get(key)
        if caller is None:
            token = HeritableToken(self._tokens.of(key))
            upstream = McpHttpUpstream(self._slug, self._settings, self._parts, token=token)
            caller = self._callers[key] = _Caller(upstream=upstream, token=token)
        self._callers.move_to_end(key)
        caller.calls += 1
        try:
            await self._make_room()
            if request.operation == "subscribe":
                return await _follow(caller, request, capability, emit)
            return await caller.upstream.call(request, capability, emit)
        finally:
            caller.calls -= 1

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        everybody, self._callers = [*self._callers.values()], OrderedDict()
        with anyio.move_on_after(_CLOSE_S, shield=True):
            async with anyio.create_task_group() as closing:
                for upstream in (self._own, *(caller.upstream for caller in everybody), *self._leaving):
                    closing.start_soon(upstream.aclose)

    async def _make_room(self) -> None:
        """Let go of whoever called longest ago and is not calling now."""
        if len(self._callers) > self._parts.limits.sessions:
            for key in [key for key, caller in self._callers.items() if not caller.calls][:1]:
                self._leaving.append(self._callers.pop(key).upstream)
                self._left.set()
                if len(self._leaving) > _MOST_LEAVING:
                    await self._leaving.popleft().aclose()  # nobody watches, or they are too many


async def _follow(caller: _Caller, request: Request, capability: Capability, emit: Emit) -> Result:
    """Have a resource's changes told, by whoever follows one on the same connection and came first."""
    outcome: Result | GatewayError = Unavailable("nothing more is heard of it")
    async with anyio.create_task_group() as group:
        group.start_soon(_attend, caller)
        try:
            outcome = await caller.upstream.call(request, capability, emit)
        except GatewayError as error:
            outcome = error
        group.cancel_scope.cancel()
    if isinstance(outcome, GatewayError):
        raise outcome
    return outcome


async def _attend(caller: _Caller) -> None:
    async with caller.attending:
        again, caller.attended = caller.attended, True
        await caller.upstream.attend(again=again)
