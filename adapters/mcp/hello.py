"""What the gateway says of itself to an MCP client: the results of `server/discover` and `initialize`. Pure."""

from collections.abc import Mapping

from adapters.mcp import meta_tools
from adapters.mcp.extensions import own_capabilities
from adapters.mcp.lists import TTL_MS
from adapters.mcp.names import NamesMode
from adapters.mcp.render import SERVER_INFO_KEY
from adapters.mcp.tasks import EXTENSION
from adapters.mcp.views import ListKind, View
from adapters.mcp.wire import MODERN, Era, encode
from gateway import __version__
from gateway.core.json import Json, JsonObject, json_from, json_object, json_text
from gateway.core.ports.gateway import Gateway

SERVER_INFO: JsonObject = {"name": "drawbridge", "title": "Drawbridge", "version": __version__}
_KINDS: tuple[ListKind, ...] = ("tools", "prompts", "resources", "resourceTemplates")
_NAMED: Mapping[NamesMode, str] = {
    "prefix": "Tools and prompts are named OWNER__NAME after the server they belong to",
    "conflict": "Tools and prompts are named as by their server, or OWNER__NAME where several have one of that name",
    "refuse": "Tools and prompts are named as by their server; what several have under one name is not offered",
}
_BESIDE = (
    "; agents__NAME and workflows__NAME hand a task to an agent or a workflow. A refusal names the rule that decided"
    " and what can be done about it."
)


def discovered(gateway: Gateway, view: View) -> bytes:
    """The result of `server/discover` (MCP 2026-07-28)."""
    said: JsonObject = {
        "resultType": "complete",
        "supportedVersions": [MODERN],
        "capabilities": _capabilities(gateway, view, "modern"),
        **_instructions(gateway, view),
        "ttlMs": TTL_MS,
        "cacheScope": "private",
        "_meta": {SERVER_INFO_KEY: SERVER_INFO},
    }
    return encode(said)


def initialized(gateway: Gateway, view: View, protocol_version: str) -> bytes:
    """The result of `initialize` (MCP until 2025-11-25)."""
    said: JsonObject = {
        "protocolVersion": protocol_version,
        "capabilities": _capabilities(gateway, view, "legacy"),
        "serverInfo": SERVER_INFO,
        **_instructions(gateway, view),
    }
    return encode(said)


def _capabilities(gateway: Gateway, view: View, era: Era) -> JsonObject:
    changes: Json = {"listChanged": True}
    said: JsonObject = {"tools": changes, "prompts": changes, "resources": changes, "logging": {}}
    owners = {entry.capability.owner for kind in _KINDS for entry in view.entries(kind).values()}
    declared = [json_object(json_from(gateway.about(owner)).get("capabilities")) for owner in sorted(owners)]
    if any(json_object(each.get("resources")).get("subscribe") is True for each in declared):
        said["resources"] = {"listChanged": True, "subscribe": True}
    if any("completions" in each for each in declared):
        said["completions"] = {}
    if view.alone:
        for each in declared:
            said |= own_capabilities(each)
    for name in ("extensions", "experimental"):
        more: JsonObject = {}
        for each in declared:
            more |= json_object(each.get(name))
        if era == "legacy":
            more.pop(EXTENSION, None)
        if more:
            said[name] = more
    return said


def _instructions(gateway: Gateway, view: View) -> JsonObject:
    """One server's own words at its own endpoint; where several meet, none of them speaks for the gateway."""
    if view.set is not None:
        said = " ".join(filter(None, (view.set.instructions, meta_tools.INSTRUCTIONS if view.set.search else "")))
        return {"instructions": said} if said else {}
    if not view.scope:
        return {"instructions": f"{_NAMED[view.names]}{_BESIDE}"}
    own = json_text(json_from(gateway.about(view.scope)).get("instructions"))
    return {"instructions": own} if own else {}
