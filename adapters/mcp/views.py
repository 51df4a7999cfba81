"""What one class of callers sees at one MCP endpoint: names, definitions, and which capability stands behind each.

A view is worked out once per (class, endpoint, version) and shared by every call of that class.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from adapters.mcp.headers import Mirror, mirrors_of
from adapters.mcp.names import AGENTS, WORKFLOWS, exposed_names, guessed_capability
from adapters.mcp.templates import Template, template_from
from adapters.mcp.wire import encode
from gateway.core.json import JsonObject, json_from
from gateway.core.model import AgentClass, Capability, CapabilityKind, Principal
from gateway.core.ports.gateway import Gateway

ListKind = Literal["tools", "prompts", "resources", "resourceTemplates"]

_KINDS: Mapping[ListKind, frozenset[CapabilityKind]] = {
    "tools": frozenset({"tool", "agent", "workflow"}),
    "prompts": frozenset({"prompt"}),
    "resources": frozenset({"resource"}),
    "resourceTemplates": frozenset({"template"}),
}

VIEWS = 256
"""Views kept at once."""

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


class View:
    """What is offered, each kind worked out when first asked for."""

    __slots__ = (
        "_digests",
        "_gateway",
        "_kinds",
        "_principal",
        "_rendered",
        "_templates",
        "conflicts",
        "scope",
        "version",
    )

    def __init__(self, gateway: Gateway, principal: Principal, scope: str) -> None:
        self.version = gateway.version
        self.scope = scope
        self.conflicts: dict[str, str] = {}
        """Owners some of whose resources another owner's hide, each with the reason."""
        self._gateway = gateway
        self._principal = principal
        self._kinds: dict[ListKind, dict[str, Entry]] = {}
        self._rendered: dict[ListKind, tuple[bytes, ...]] = {}
        self._templates: tuple[tuple[Template, Entry], ...] | None = None
        self._digests: dict[ListKind, bytes] = {}

    def entries(self, kind: ListKind) -> dict[str, Entry]:
        """By exposed name or URI, sorted by it."""
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = dict(sorted(self._entries(kind).items()))
        return known

    def definitions(self, kind: ListKind) -> tuple[bytes, ...]:
        """JSON of each definition, in the order of `entries`: as the upstream gave it but for the name."""
        rendered = self._rendered.get(kind)
        if rendered is None:
            rendered = self._rendered[kind] = tuple(_definition(each) for each in self.entries(kind).values())
        return rendered

    def digest(self, kind: ListKind) -> bytes:
        """Changes when the list of this kind does."""
        known = self._digests.get(kind)
        if known is None:
            known = self._digests[kind] = hashlib.sha256(b"\n".join(self.definitions(kind))).digest()
        return known

    def capability(self, kind: Literal["tools", "prompts"], exposed: str) -> tuple[str, Entry | None]:
        """The gateway-wide name behind an exposed one, listed or not."""
        entry = self.entries(kind).get(exposed)
        if entry is not None:
            return entry.capability.name, entry
        return guessed_capability(exposed, self.scope, "tool" if kind == "tools" else "prompt"), None

    def resource(self, uri: str) -> tuple[str, Entry | None]:
        """The resource at a URI, or the template it was made from."""
        entry = self.entries("resources").get(uri) or self._matching(uri)
        return (
            (f"resource:{f'{self.scope}/' if self.scope else ''}{uri}", None)
            if entry is None
            else (entry.capability.name, entry)
        )

    def template(self, text: str) -> tuple[str, Entry | None]:
        """The template with this text, or whatever `resource` finds."""
        entry = self.entries("resourceTemplates").get(text)
        return self.resource(text) if entry is None else (entry.capability.name, entry)

    @property
    def empty(self) -> bool:
        return not any(self.entries(kind) for kind in _KINDS)

    def _matching(self, uri: str) -> Entry | None:
        if self._templates is None:
            entries = self.entries("resourceTemplates").values()
            self._templates = tuple((template_from(each.capability.local), each) for each in entries)
        return next((entry for template, entry in self._templates if template.matches(uri)), None)

    def _entries(self, kind: ListKind) -> dict[str, Entry]:
        visible = self._visible(kind)
        if kind in ("tools", "prompts"):
            named = exposed_names(visible, self.scope)
            return {name: _entry(name, each) for name, each in named.items()}
        found: dict[str, Entry] = {}
        for each in sorted(visible, key=lambda each: each.owner):
            first = found.setdefault(each.local, Entry(capability=each, exposed=each.local)).capability
            if first.owner != each.owner:
                self.conflicts[each.owner] = f"{each.local} is offered by {first.owner} as well, whose own is listed"
        return found

    def _visible(self, kind: ListKind) -> tuple[Capability, ...]:
        kinds = _KINDS[kind]
        if self.scope == AGENTS:
            return self._gateway.visible(self._principal, kinds & {"agent"})
        if self.scope == WORKFLOWS:
            return self._gateway.visible(self._principal, kinds & {"workflow"})
        return self._gateway.visible(self._principal, kinds, self.scope)


class Views:
    """The views in use, the oldest forgotten first."""

    def __init__(self, gateway: Gateway, forgotten: Callable[[View], None]) -> None:
        self._gateway = gateway
        self._forgotten = forgotten
        self._views: OrderedDict[tuple[AgentClass, str], View] = OrderedDict()

    def of(self, principal: Principal, scope: str) -> View:
        """The current view of the principal's class at `/mcp/{scope}`."""
        key = (principal.agent_class, scope)
        view = self._views.get(key)
        if view is not None and view.version == self._gateway.version:
            return view
        fresh = self._views[key] = View(self._gateway, principal, scope)
        self._views.move_to_end(key)
        if view is not None:
            self._forgotten(view)
        if len(self._views) > VIEWS:
            self._forgotten(self._views.popitem(last=False)[1])
        return fresh


def _entry(name: str, capability: Capability) -> Entry:
    return Entry(capability=capability, exposed=name, mirrors=mirrors_of(capability.input_schema))


def _definition(entry: Entry) -> bytes:
    capability = entry.capability
    if capability.kind in ("agent", "workflow"):
        return encode(_tool_for(entry))
    if capability.kind in ("resource", "template"):
        return encode(capability.definition)
    return encode({**capability.definition, "name": entry.exposed})


def _tool_for(entry: Entry) -> JsonObject:
    """A tool definition for what was never a tool."""
    capability = entry.capability
    tool: JsonObject = {"name": entry.exposed}
    if capability.title:
        tool["title"] = capability.title
    tool["description"] = capability.description or f"The {capability.kind} {capability.owner}."
    tool["inputSchema"] = json_from(capability.input_schema or MESSAGE_SCHEMA)
    if capability.output_schema is not None and capability.output_schema.get("type") == "object":
        tool["outputSchema"] = json_from(capability.output_schema)
    return tool
