"""The resources and templates of one endpoint: how each is listed, and whose a URI is. Pure."""

from collections.abc import Callable, Collection, Iterable

from adapters.mcp.entries import Entry, entry_of
from adapters.mcp.template_index import Effort, TemplateIndex
from adapters.mcp.templates import template_from
from adapters.mcp.uris import MayHave, Outward, Uris, nothing_more
from gateway.core.model import Capability

STEPS_A_URI = 1_000_000
"""Effort that finding the template of one URI is worth."""


class Places:
    """Worked out once for a view."""

    def __init__(
        self,
        resources: Iterable[Capability],
        templates: Iterable[Capability],
        apps: Iterable[Capability] = (),
        readers: Collection[str] = (),
        may_have: MayHave = nothing_more,
        find: Callable[[str], Capability | None] = lambda name: None,
    ) -> None:
        """`apps`: resources that are there to be read, and not in the list. `readers`: owners that may have more, which
        `find` finds by its gateway-wide name."""
        resources, templates, apps = tuple(resources), tuple(templates), tuple(apps)
        owners = frozenset({*readers, *(each.owner for each in (*resources, *templates, *apps))})
        self._only = next(iter(owners)) if len(owners) == 1 else ""
        self._may_have = may_have
        self._find = find
        self._uris = Uris((*resources, *apps), templates, owners, may_have)
        self.resources = self._entries(resources)
        """By URI."""
        self.templates = self._entries(templates)
        """By URI template."""
        readable = (*self.resources.values(), *self._entries(apps).values())
        self._exposed = {each.exposed: each for each in readable}
        self._own = {(each.capability.owner, each.capability.local): each for each in readable}
        self._made_by = {(each.capability.owner, each.capability.local): each for each in self.templates.values()}
        made_from = [(template_from(each.capability.local), each) for each in self.templates.values()]
        self._bare_index = TemplateIndex((own, each) for own, each in made_from if _is_bare(each))
        self._index = {
            owner: TemplateIndex((own, each) for own, each in made_from if each.capability.owner == owner)
            for owner in {each.capability.owner for each in self.templates.values()}
        }

    def find(self, uri: str) -> tuple[Entry | None, str]:
        """The resource at a URI or the template it was made from, and the URI as its server says it."""
        owner, own = self._uris.unmarked(uri)
        effort = Effort(STEPS_A_URI)
        if owner:
            index = self._index.get(owner)
            found = self._own.get((owner, own)) or (None if index is None else index.find(own, effort))
        else:
            found = self._exposed.get(uri) or self._bare_index.find(uri, effort)
            owner = self._only
        if found is None and owner:
            found = self._found(owner, own)
        return found, uri if found is None else own

    def sees(self, uri: str) -> bool:
        """Whether `find` finds what is here; what its server lists, and is not here, its caller no longer sees."""
        entry = self.find(uri)[0]
        if entry is None:
            return False
        whose = (entry.capability.owner, entry.capability.local)
        return whose in self._own or whose in self._made_by or not entry.capability.definition

    def lists(self, uri: str) -> bool:
        """Whether it is one of those here, and not only made from one or found at its server: then it may be read."""
        entry = self.find(uri)[0]
        return entry is not None and (entry.capability.owner, entry.capability.local) in self._own

    def find_template(self, text: str) -> tuple[Entry | None, str]:
        """The template with this text, or whatever `find` finds."""
        owner, own = self._uris.unmarked(text)
        entry = self._made_by.get((owner, own)) if owner else self.templates.get(text)
        return self.find(text) if entry is None else (entry, entry.capability.local)

    def outward(self, owner: str) -> Outward | None:
        """See `Uris.outward`."""
        return self._uris.outward(owner)

    def _found(self, owner: str, own: str) -> Entry | None:
        """What an owner has without listing it."""
        capability = self._find(f"resource:{owner}/{own}") if self._may_have(owner, own) else None
        return None if capability is None else entry_of(own, capability)

    def _entries(self, capabilities: tuple[Capability, ...]) -> dict[str, Entry]:
        exposed = {self._uris.exposed(each): each for each in capabilities}
        return {uri: entry_of(uri, each) for uri, each in sorted(exposed.items())}


def _is_bare(entry: Entry) -> bool:
    return entry.exposed == entry.capability.local
