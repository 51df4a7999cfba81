"""Pages a person has to open before a call can go on. Pure.

They are put to the caller in the words of 2026-07-28, and then the call begins anew: nothing waits for it meanwhile.
"""

from collections.abc import Mapping

from msgspec import Raw, structs

from adapters.mcp.client_params import client_capabilities
from adapters.mcp.wire import Params, encode
from gateway.core.errors import GatewayError, UpstreamFailed
from gateway.core.json import JsonObject, json_list, json_object
from gateway.core.model import Request

OPENED = "drawbridge:connect"
"""The state of a call that begins anew once a page has been opened."""
COMPLETE = "notifications/elicitation/complete"
"""Until 2025-11-25: what was to be done on a page is done."""
_PAGE_NEEDED = -32042
"""MCP 2025-11-25, elicitation, "URL elicitation required"; later a server asks as it asks for anything else."""
_MISSING_CAPABILITY = -32021
_MOST_PAGES = 16
_ANSWERED = ("inputResponses", "requestState")
_ONLY_LEGACY = "elicitationId"


def takes_urls(request: Request) -> bool:
    """Whether the caller's client opens addresses for its user."""
    said = client_capabilities(request)
    return isinstance(json_object(said.get("elicitation")).get("url"), dict)


def questions_of(pages: Mapping[str, JsonObject]) -> JsonObject:
    """MCP 2026-07-28, elicitation, URL mode. `pages` are the parameters of each question, by its key."""
    return {key: {"method": "elicitation/create", "params": params} for key, params in pages.items()}


def asked_in(pages: Mapping[str, JsonObject]) -> Raw:
    """The result that asks for pages to be opened, as a server would give it."""
    return Raw(encode({"resultType": "input_required", "inputRequests": questions_of(pages), "requestState": OPENED}))


def begun_anew(request: Request) -> Request:
    """The request as it was before its caller was asked to open a page."""
    body = request.body
    if isinstance(body, Params):
        body = body.with_members({name: raw for name, raw in body.members.items() if name not in _ANSWERED})
    return structs.replace(request, continuation="", body=body)


def pages_asked(error: GatewayError, request: Request) -> Mapping[str, JsonObject]:
    """The pages a legacy server wants opened that refuses a call for it; none where that is to be relayed as it is.

    Raises: UpstreamFailed: the caller's client opens no pages, in the words of its era.
    """
    refused = json_object(error.detail.get("upstream"))
    body = request.body
    if refused.get("code") != _PAGE_NEEDED or (isinstance(body, Params) and body.era == "legacy"):
        return {}
    wanted = map(json_object, json_list(json_object(refused.get("data")).get("elicitations"))[:_MOST_PAGES])
    pages = [
        {name: value for name, value in each.items() if name != _ONLY_LEGACY} | {"mode": "url"}
        for each in wanted
        if isinstance(each.get("url"), str)
    ]
    if pages and not takes_urls(request):
        needed: JsonObject = {"requiredCapabilities": {"elicitation": {"url": {}}}}
        said: JsonObject = {"code": _MISSING_CAPABILITY, "message": error.message, "data": needed}
        raise UpstreamFailed(error.message, detail={"upstream": said}, sources=error.sources) from error
    return {f"page-{number}": page for number, page in enumerate(pages, 1)}
