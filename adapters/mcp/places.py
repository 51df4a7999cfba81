"""The resources and templates of one endpoint: how each is listed, and whose a URI is. Pure."""

from collections.abc import Iterable

from adapters.mcp.entries import Entry, entry_of
from adapters.mcp.templates import template_from
from adapters.mcp.uris import Outward, Uris
from gateway.core.model import Capability


class Places:
    """Worked out once for a view."""

    def __init__(
        self, resources: Iterable[Capability], templates: Iterable[Capability], unlisted: Iterable[Capability] = ()
    ) -> None:
        """`unlisted`: resources that are there to be read, and not in the list."""
        resources, templates, unlisted = tuple(resources), tuple(templates), tuple(unlisted)
        self._uris = Uris((*resources, *unlisted), templates)
        self.resources = self._entries(resources)
        """By URI."""
        self.templates = self._entries(templates)
        """By URI template."""
        self._unlisted = self._entries(unlisted)
        self._made_from = tuple((template_from(each.capability.local), each) for each in self.templates.values())

    def find(self, uri: str) -> tuple[Entry | None, str]:
        """The resource at a URI or the template it was made from, and the URI as its server says it."""
        entry = self.resources.get(uri) or self._unlisted.get(uri)
        if entry is not None:
            return entry, entry.capability.local
        owner, own = self._uris.unmarked(uri)
        for template, entry in self._made_from:
            marked = entry.exposed != entry.capability.local
            if (entry.capability.owner == owner if owner else not marked) and template.matches(own):
                return entry, own
        return None, uri

    def find_template(self, text: str) -> tuple[Entry | None, str]:
        """The template with this text, or whatever `find` finds."""
        entry = self.templates.get(text)
        return self.find(text) if entry is None else (entry, entry.capability.local)

    def outward(self, owner: str) -> Outward | None:
        """What turns URIs as a server says them into those that are said here; None where they are the same."""
        return self._uris.outward(owner)

    def _entries(self, capabilities: tuple[Capability, ...]) -> dict[str, Entry]:
        exposed = {self._uris.exposed(each): each for each in capabilities}
        return {uri: entry_of(uri, each) for uri, each in sorted(exposed.items())}
