"""Callers are asked to open a page where an upstream needs their consent first; then the same call goes through."""

from dataclasses import dataclass

from adapters.mcp.client_pages import OPENED, asked_in, begun_anew, questions_of, takes_urls
from adapters.mcp.client_seal import Seal
from adapters.mcp.wire import Answer
from gateway.core.errors import Denied
from gateway.core.json import JsonObject, json_text
from gateway.core.model import Capability, Emit, InputRequired, Request, Result
from gateway.core.ports.upstream import Listing, Upstream


@dataclass(frozen=True, slots=True)
class Consent:
    """How its callers are asked for it."""

    seal: Seal

    def resumed(self, request: Request, capability: Capability) -> Request:
        """The request as it was before its caller was asked to open an address."""
        if not request.continuation or self.seal.open(request, capability) != OPENED:
            return request
        return begun_anew(request)

    def asked(self, error: Denied, request: Request, capability: Capability) -> InputRequired:
        """MCP 2026-07-28, elicitation, URL mode. Raises: the error: it names no address, or the caller opens none."""
        url = json_text(error.detail.get("url"))
        if not url or not takes_urls(request):
            raise error
        page: JsonObject = {"mode": "url", "message": f"{error.message}. Open this page to connect it.", "url": url}
        pages = {"connect": page}
        state = self.seal.close(OPENED, request, capability)
        return InputRequired(
            body=Answer(bytes(asked_in(pages)), era="modern"), state=state, questions=questions_of(pages)
        )


class ConsentedUpstream:
    """See `Upstream`. One that is no MCP server, and needs consent all the same."""

    def __init__(self, upstream: Upstream, seal: Seal) -> None:
        self._upstream = upstream
        self._consent = Consent(seal)

    @property
    def name(self) -> str:
        return self._upstream.name

    async def capabilities(self) -> Listing:
        return await self._upstream.capabilities()

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        request = self._consent.resumed(request, capability)
        try:
            return await self._upstream.call(request, capability, emit)
        except Denied as error:
            return self._consent.asked(error, request, capability)

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        await self._upstream.aclose()
