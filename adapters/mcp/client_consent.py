"""Callers are asked to open a page where an upstream needs their consent first; then the same call goes through."""

from dataclasses import dataclass

from msgspec import structs

from adapters.mcp.client_params import client_capabilities
from adapters.mcp.client_seal import Seal
from adapters.mcp.wire import Answer, Params, encode
from gateway.core.errors import Denied
from gateway.core.json import JsonObject, json_object, json_text
from gateway.core.model import Capability, Emit, InputRequired, Request, Result
from gateway.core.ports.upstream import Listing, Upstream

_OPENED = "drawbridge:connect"
_ANSWERED = ("inputResponses", "requestState")


@dataclass(frozen=True, slots=True)
class Consent:
    """How its callers are asked for it."""

    seal: Seal

    def resumed(self, request: Request, capability: Capability) -> Request:
        """The request as it was before its caller was asked to open an address."""
        if not request.continuation or self.seal.open(request, capability) != _OPENED:
            return request
        body = request.body
        if isinstance(body, Params):
            body = body.with_members({name: raw for name, raw in body.members.items() if name not in _ANSWERED})
        return structs.replace(request, continuation="", body=body)

    def asked(self, error: Denied, request: Request, capability: Capability) -> InputRequired:
        """MCP 2026-07-28, elicitation, URL mode. Raises: the error: it names no address, or the caller opens none."""
        url = json_text(error.detail.get("url"))
        if not url or not _takes_urls(request):
            raise error
        params: JsonObject = {"mode": "url", "message": f"{error.message}. Open this page to connect it.", "url": url}
        asked: JsonObject = {"connect": {"method": "elicitation/create", "params": params}}
        body = Answer(encode({"resultType": "input_required", "inputRequests": asked}), era="modern")
        return InputRequired(body=body, state=self.seal.close(_OPENED, request, capability), questions=asked)


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


def _takes_urls(request: Request) -> bool:
    """Whether the caller's client opens addresses for its user."""
    said = client_capabilities(request)
    return isinstance(json_object(said.get("elicitation")).get("url"), dict)
