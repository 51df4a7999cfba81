"""One capability as it is offered: its name here, its definition as listed, and what a call of it is given besides."""

from collections.abc import Mapping
from dataclasses import dataclass

from adapters.mcp.fitting import fitted
from adapters.mcp.headers import Mirror, mirrors_of
from adapters.mcp.presets import Preset
from adapters.mcp.uris import Outward, rewritten_meta
from adapters.mcp.wire import Era, encode
from gateway.core.json import Json, JsonObject, json_from
from gateway.core.model import Capability

MESSAGE_SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "What is asked, in plain words."},
        "data": {"type": "object", "description": "Structured input, where there is any."},
    },
    "required": ["message"],
}
"""What an agent or a workflow takes where it declares nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One capability as it is offered."""

    capability: Capability
    exposed: str
    """Tool or prompt name, or the URI, or the URI template."""
    mirrors: tuple[Mirror, ...] = ()
    """The arguments `Mcp-Param-*` headers repeat."""
    preset: Preset | None = None
    """What its callers neither see nor say."""
    shown: Mapping[str, Json] | None = None
    """Its definition where a set tells it otherwise."""


def entry_of(exposed: str, capability: Capability) -> Entry:
    """A capability offered as it is, but for its name."""
    return Entry(capability=capability, exposed=exposed, mirrors=mirrors_of(capability.input_schema))


def definition_bytes(entry: Entry, era: Era, outward: Outward | None = None) -> bytes:
    """JSON of the definition as it is listed; `outward` where its server's URIs are said otherwise here."""
    capability = entry.capability
    definition = definition_of(capability) if entry.shown is None else entry.shown
    said = fitted(definition, capability.kind, entry.exposed, era)
    if capability.kind in ("resource", "template"):
        named = "uri" if capability.kind == "resource" else "uriTemplate"
        return encode({**said, named: entry.exposed})
    if outward is not None:
        said = rewritten_meta(said, outward)
    return encode({**said, "name": entry.exposed})


def definition_of(capability: Capability) -> Mapping[str, Json]:
    """The definition of a tool or prompt; made up for what was never a tool."""
    if capability.kind not in ("agent", "workflow"):
        return capability.definition
    tool: JsonObject = {"name": capability.local}
    if capability.title:
        tool["title"] = capability.title
    tool["description"] = capability.description or f"The {capability.kind} {capability.owner}."
    tool["inputSchema"] = json_from(capability.input_schema or MESSAGE_SCHEMA)
    if capability.output_schema is not None and capability.output_schema.get("type") == "object":
        tool["outputSchema"] = json_from(capability.output_schema)
    return tool
