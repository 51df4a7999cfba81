"""What one class of callers sees at one MCP endpoint: names, definitions, and which capability stands behind each.

A view is worked out once per (class, endpoint, version) and shared by every call of that class.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from adapters.mcp import meta_tools
from adapters.mcp.entries import Entry, definition_bytes, entry_of
from adapters.mcp.names import AGENTS, WORKFLOWS, NamesMode, contested, exposed_names, guessed_capability, unprefixed
from adapters.mcp.offers import Choice, Offers, chosen, included, owners_of, taker_of
from adapters.mcp.places import Places
from adapters.mcp.set_settings import SetSettings
from adapters.mcp.uris import Outward, apps_of
from adapters.mcp.wire import Era
from gateway.core.json import json_from, json_object
from gateway.core.model import AgentClass, Capability, CapabilityKind, Principal
from gateway.core.ports.gateway import Gateway
from gateway.core.ports.tool_search import ToolIndex

ListKind = Literal["tools", "prompts", "resources", "resourceTemplates"]

_KINDS: Mapping[ListKind, frozenset[CapabilityKind]] = {
    "tools": frozenset({"tool", "agent", "workflow"}),
    "prompts": frozenset({"prompt"}),
    "resources": frozenset({"resource"}),
    "resourceTemplates": frozenset({"template"}),
}

VIEWS = 256
"""Views kept at once."""
MOST_TOLD = 10
"""Names told in place of one that is not there, and reasons why something is not."""


class View:
    """What is offered, each kind worked out when first asked for."""

    __slots__ = (
        "_digests",
        "_gateway",
        "_kinds",
        "_missing",
        "_needs",
        "_places",
        "_principal",
        "_rendered",
        "index",
        "names",
        "scope",
        "set",
        "version",
    )

    def __init__(self, gateway: Gateway, principal: Principal, scope: str, offers: Offers) -> None:
        self.version = gateway.version
        self.scope = scope
        self.set: SetSettings | None = offers.at(scope, principal.tenant)
        """The set this is the endpoint of; None at every other endpoint."""
        self.names: NamesMode = offers.names
        """How tools and prompts of several owners are told apart."""
        self.index: ToolIndex | None = None
        """Of its tools, once somebody searched for one."""
        self._gateway = gateway
        self._missing: dict[str, list[str]] = {}
        self._needs: frozenset[str] | None = None
        self._principal = principal
        self._kinds: dict[ListKind, dict[str, Entry]] = {}
        self._rendered: dict[tuple[ListKind, Era], tuple[bytes, ...]] = {}
        self._places: Places | None = None
        self._digests: dict[ListKind, bytes] = {}

    def entries(self, kind: ListKind) -> dict[str, Entry]:
        """By exposed name or URI, sorted by it."""
        if kind == "resources":
            return self.places.resources
        if kind == "resourceTemplates":
            return self.places.templates
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = dict(sorted(self._named(kind).items()))
        return known

    def definitions(self, kind: ListKind, era: Era) -> tuple[bytes, ...]:
        """JSON of each definition, in the order of `entries`: as the upstream gave it but for the name, and for what
        the era's clients could not read. Of the tools of a set that is searched only the three that stand for them.
        """
        if kind == "tools" and self.set is not None and self.set.search:
            return meta_tools.DEFINITIONS
        rendered = self._rendered.get((kind, era))
        if rendered is None:
            entries = self.entries(kind).values()
            rendered = tuple(definition_bytes(each, era, self.outward(each.capability.owner)) for each in entries)
            self._rendered[kind, era] = rendered
        return rendered

    def relevant(self, able: frozenset[str]) -> frozenset[str]:
        """What of a client's abilities makes a difference to what it is shown here."""
        return able & self._needed()

    def shown(self, kind: ListKind, era: Era, able: frozenset[str]) -> tuple[bytes, ...]:
        """Those of `definitions` that a client of these abilities is shown."""
        definitions = self.definitions(kind, era)
        searched = self.set is not None and self.set.search
        if kind != "tools" or searched or not self._needed():
            return definitions
        needed = (each.capability.needs for each in self.entries(kind).values())
        return tuple(each for each, needs in zip(definitions, needed, strict=True) if not needs or needs & able)

    def digest(self, kind: ListKind) -> bytes:
        """Changes when the list of this kind does."""
        known = self._digests.get(kind)
        if known is None:
            known = self._digests[kind] = hashlib.sha256(b"\n".join(self.definitions(kind, "modern"))).digest()
        return known

    def capability(self, kind: Literal["tools", "prompts"], exposed: str) -> tuple[str, Entry | None]:
        """The gateway-wide name behind an exposed one, listed or not."""
        entry = self.entries(kind).get(exposed)
        if entry is not None:
            return entry.capability.name, entry
        named: CapabilityKind = "tool" if kind == "tools" else "prompt"
        if self.set is None:
            return guessed_capability(exposed, self.scope, named), None
        choice = self.set.tools.get(exposed) if kind == "tools" else self.set.prompts.get(exposed)
        found = None if choice is None else self._gateway.find(self._principal, choice.capability)
        if choice is None or found is None:
            # Beside what it chose a set leads nowhere, whatever else there is behind the gateway.
            return f"{named}:{self.scope}/{exposed}", None
        return found.name, chosen(exposed, choice, found)[0]

    def instead(self, kind: Literal["tools", "prompts"], exposed: str) -> str:
        """What there is in place of a name that is not offered, in words; empty where there is nothing."""
        offered = self.entries(kind)
        found = [name for name, each in offered.items() if _is_alike(each, exposed)]
        if exposed in offered:
            return ""
        if found:
            return f"there is {', '.join(found[:MOST_TOLD])}"
        others = contested(self._visible(kind)) if self.names == "refuse" and not self.alone else {}
        return next((said for name, said in others.items() if name.partition("/")[2] == exposed), "")

    def resource(self, uri: str) -> tuple[str, Entry | None, str]:
        """What is at a URI, and the URI as its server says it."""
        return self._located(*self.places.find(uri))

    def template(self, text: str) -> tuple[str, Entry | None, str]:
        """The template with this text, or whatever `resource` finds."""
        return self._located(*self.places.find_template(text))

    def outward(self, owner: str) -> Outward | None:
        """See `Uris.outward`."""
        return self.places.outward(owner)

    @property
    def places(self) -> Places:
        if self._places is None:
            listed, templates = self._visible("resources"), self._visible("resourceTemplates")
            readers = self._readers()
            takes = taker_of(SetSettings() if self.set is None else self.set)
            self._places = Places(
                *(listed, templates, self._apps(listed), readers),
                may_have=lambda owner, uri: owner in readers and takes(f"resource:{owner}/{uri}"),
                find=lambda name: self._gateway.find(self._principal, name),
            )
        return self._places

    @property
    def conflicts(self) -> Mapping[str, str]:
        """Owners, and the set itself, of which something is not offered, each with the reasons."""
        kinds: tuple[ListKind, ...] = ("tools", "prompts")
        for kind in kinds:
            self.entries(kind)
        return {owner: _told(reasons) for owner, reasons in sorted(self._missing.items())}

    @property
    def empty(self) -> bool:
        return not any(self.entries(kind) for kind in _KINDS)

    @property
    def owners(self) -> frozenset[str] | None:
        """Whose gaps are this endpoint's; None for everybody's."""
        if self.set is not None:
            return owners_of(self.set)
        return frozenset({self.scope}) if self.scope else None

    def _needed(self) -> frozenset[str]:
        if self._needs is None:
            needed = [each.capability.needs for each in self.entries("tools").values()]
            self._needs = frozenset[str]().union(*needed)
        return self._needs

    def _located(self, entry: Entry | None, uri: str) -> tuple[str, Entry | None, str]:
        if entry is None:
            # What has no scheme must not be taken for an owner and a URI of its.
            where = f"{self.scope}/" if self.scope else "" if ":" in uri.partition("/")[0] else "/"
            return f"resource:{where}{uri}", None, uri
        return entry.capability.name, entry, uri

    def _named(self, kind: ListKind) -> dict[str, Entry]:
        visible = self._visible(kind)
        bare = unprefixed(visible) if self.names != "prefix" and not self.alone else frozenset[str]()
        if self.names == "refuse" and not self.alone:
            several = contested(visible)
            for each in visible:
                if each.name in several:
                    self._missing.setdefault(each.owner, []).append(several[each.name])
            visible = tuple(each for each in visible if each.name not in several)
        named = exposed_names(visible, self.scope if self.alone else "", bare)
        entries = {name: entry_of(name, each) for name, each in named.items()}
        return entries if self.set is None else entries | self._chosen(kind, self.set)

    def _apps(self, listed: Iterable[Capability]) -> list[Capability]:
        """Resources its tools show themselves with and that are not listed: servers need not list them, a set that
        has a tool may lack them."""
        named = {
            f"resource:{entry.capability.owner}/{uri}"
            for entry in self.entries("tools").values()
            if entry.capability.kind == "tool"
            for uri in apps_of(entry.capability.definition)
        }
        missing = sorted(named - {each.name for each in listed})
        return [each for name in missing if (each := self._gateway.find(self._principal, name)) is not None]

    def _readers(self) -> frozenset[str]:
        """Whoever of those whose results are told here may have resources it does not list."""
        kinds: tuple[ListKind, ...] = ("tools", "prompts", "resources", "resourceTemplates")
        owners = {each.owner for kind in kinds for each in self._visible(kind)}
        owners |= {each.capability.owner for kind in kinds[:2] for each in self.entries(kind).values()}
        if self.alone:
            owners.add(self.scope)
        declared = {owner: json_object(json_from(self._gateway.about(owner)).get("capabilities")) for owner in owners}
        return frozenset(owner for owner, each in declared.items() if "resources" in each)

    def _chosen(self, kind: ListKind, settings: SetSettings) -> dict[str, Entry]:
        """What the set names itself, as far as the caller may use it."""
        choices: Mapping[str, Choice] = settings.tools if kind == "tools" else settings.prompts
        found: dict[str, Entry] = {}
        usable = {each.name: each for each in self._gateway.visible(self._principal, _KINDS[kind])}
        for name, choice in choices.items():
            capability = usable.get(choice.capability)
            if capability is not None:
                entry, problem = chosen(name, choice, capability)
                if entry is not None:
                    found[name] = entry
                else:
                    self._missing.setdefault(self.scope, []).append(f"{name}: {problem}")
        return found

    @property
    def alone(self) -> bool:
        """Whether this is one owner's endpoint, so that names need no prefix."""
        return bool(self.scope) and self.set is None

    def _visible(self, kind: ListKind) -> tuple[Capability, ...]:
        kinds = _KINDS[kind]
        if self.set is not None:
            return tuple(included(self.set, self._gateway.visible(self._principal, kinds)))
        if self.scope == AGENTS:
            return self._gateway.visible(self._principal, kinds & {"agent"})
        if self.scope == WORKFLOWS:
            return self._gateway.visible(self._principal, kinds & {"workflow"})
        return self._gateway.visible(self._principal, kinds, self.scope)


def _told(reasons: Sequence[str]) -> str:
    more = len(reasons) - MOST_TOLD
    return "; ".join((*reasons[:MOST_TOLD], *([f"and {more} more"] if more > 0 else [])))


def _is_alike(entry: Entry, exposed: str) -> bool:
    """Whether its server calls it so, and nobody renamed it."""
    return entry.shown is None and entry.capability.local == exposed


class Views:
    """The views in use, the oldest forgotten first."""

    def __init__(self, gateway: Gateway, forgotten: Callable[[View], None], offers: Callable[[], Offers]) -> None:
        self._gateway = gateway
        self._offers = offers
        self._forgotten = forgotten
        self._views: OrderedDict[tuple[AgentClass, str], View] = OrderedDict()

    def of(self, principal: Principal, scope: str) -> View:
        """The current view of the principal's class at `/mcp/{scope}`."""
        key = (principal.agent_class, scope)
        view = self._views.get(key)
        if view is not None and view.version == self._gateway.version:
            return view
        fresh = self._views[key] = View(self._gateway, principal, scope, self._offers())
        self._views.move_to_end(key)
        if view is not None:
            self._forgotten(view)
        if len(self._views) > VIEWS:
            self._forgotten(self._views.popitem(last=False)[1])
        return fresh
