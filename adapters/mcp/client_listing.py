"""What an MCP server offers, read page by page. One bad definition costs itself, never the list. No transport."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import TypeAlias

import msgspec

from adapters.mcp.abilities import ABILITIES, ALL_ABILITIES, EVERY_ABILITY
from adapters.mcp.client_wire import METHOD_NOT_FOUND
from adapters.mcp.extensions import beginnings
from adapters.mcp.fitting import takes_an_object
from adapters.mcp.settings import ServerSettings, ToolSettings
from adapters.mcp.template_index import Effort, TemplateIndex
from adapters.mcp.templates import template_from
from gateway.core.errors import GatewayError, UpstreamFailed
from gateway.core.json import Json, JsonObject, canonical_json, json_list, json_object, json_text
from gateway.core.limits import Bounds
from gateway.core.model import Capability, CapabilityKind, Effect, Remembering
from gateway.core.ports.upstream import Listing

Ask: TypeAlias = Callable[[str, JsonObject], Awaitable[JsonObject]]
"""Method and parameters to result; raises GatewayError."""

AskAs: TypeAlias = Callable[[JsonObject], Ask]
"""By what a client declares that it can be asked for."""

MOST_PAGES = 100
MOST_ENTRIES = 10_000
_MOST_NAME = 2048
_MOST_REPORTED = 50
_NO_TOOL = ToolSettings()
_STEPS_A_URI = 1_000_000
"""Effort it is worth to tell from which templates one URI may have been made."""
_ordered = msgspec.json.Encoder(order="sorted").encode

# kind, method, member of the result, member that names an entry, server capability that declares it
_LISTS: tuple[tuple[CapabilityKind, str, str, str, str], ...] = (
    ("tool", "tools/list", "tools", "name", "tools"),
    ("resource", "resources/list", "resources", "uri", "resources"),
    ("template", "resources/templates/list", "resourceTemplates", "uriTemplate", "resources"),
    ("prompt", "prompts/list", "prompts", "name", "prompts"),
)


async def read_listing(
    slug: str, settings: ServerSettings, about: JsonObject, ask: Ask, ask_as: AskAs | None = None
) -> Listing:
    """Every list the server declares in `about["capabilities"]`; what was dropped is named in `about["dropped"]`.

    `ask_as` asks as a client that can be asked for something: a server may have tools that it shows to no other.

    Raises: what `ask` raises, and UpstreamFailed for a list without end.
    """
    declared = json_object(about.get("capabilities"))
    reader = _Reader(slug, settings)
    for kind, method, member, named, capability in _LISTS:
        if capability in declared:
            for entry in await _pages(slug, method, member, ask):
                reader.add(kind, entry, named)
    if ask_as is not None and "tools" in declared:
        with suppress(GatewayError):  # what everybody is shown is known
            await _add_shown_to_some(slug, reader, ask_as)
    said: JsonObject = dict(about)
    if reader.dropped:
        said["dropped"] = [*reader.dropped[:_MOST_REPORTED]]
        said["dropped_count"] = len(reader.dropped)
    return Listing(
        capabilities=tuple(reader.found.values()),
        about=said,
        unlisted=reader.unlisted() if "resources" in declared else None,
        templates_of=reader.templates_of(),
        methods=tuple(map(reader.method, beginnings(declared))),
    )


async def _add_shown_to_some(slug: str, reader: "_Reader", ask_as: AskAs) -> None:
    """Tools only some clients are shown, each with what those can be asked for. Most servers have none."""
    every = {_name_in(each): each for each in await _pages(slug, "tools/list", "tools", ask_as(EVERY_ABILITY))}
    more = {name: each for name, each in every.items() if not reader.knows("tool", name)}
    if not more:
        return
    needs: dict[str, set[str]] = {name: set() for name in more}
    for ability, declared in ABILITIES.items():
        for entry in await _pages(slug, "tools/list", "tools", ask_as(declared)):
            needs.get(_name_in(entry), set[str]()).add(ability)
    # What everybody is shown by now has only come meanwhile.
    new = {_name_in(each) for each in await _pages(slug, "tools/list", "tools", ask_as({}))}
    for name, entry in more.items():
        some = frozenset(needs[name]) or frozenset({ALL_ABILITIES})
        reader.add("tool", entry, "name", frozenset() if name in new else some)


def _name_in(entry: Json) -> str:
    return json_text(json_object(entry).get("name"))


async def _pages(slug: str, method: str, member: str, ask: Ask) -> list[Json]:
    entries: list[Json] = []
    params: JsonObject = {}
    seen: set[str] = set()
    for _ in range(MOST_PAGES):
        try:
            page = await ask(method, params)
        except GatewayError as error:
            if json_object(error.detail.get("upstream")).get("code") == METHOD_NOT_FOUND:
                return entries  # declared, but not implemented: common for templates
            raise
        entries += json_list(page.get(member))
        cursor = json_text(page.get("nextCursor"))
        if not cursor:
            return entries
        if cursor in seen or len(entries) > MOST_ENTRIES:
            break
        seen.add(cursor)
        params = {"cursor": cursor}
    raise UpstreamFailed(f"{slug} gives a list without end for {method}")


class _Reader:
    """Collects capabilities and what was wrong with the others."""

    def __init__(self, slug: str, settings: ServerSettings) -> None:
        self.found: dict[str, Capability] = {}
        self.dropped: list[Json] = []
        self._slug = slug
        self._settings = settings

    def knows(self, kind: CapabilityKind, local: str) -> bool:
        """Whether it is among those found."""
        return self._full(kind, local) in self.found

    def add(self, kind: CapabilityKind, entry: Json, named: str, needs: frozenset[str] = frozenset()) -> None:
        """Add one definition as the server gave it; `needs` as in `Capability.needs`."""
        definition = json_object(entry)
        local = json_text(definition.get(named))
        name = self._full(kind, local)
        for problem in _problems(kind, definition, local, known=name in self.found):
            self.dropped.append({"kind": kind, "name": local[:100], "reason": problem})
            return
        found = self._capability(kind, name, local, definition)
        self.found[name] = replace(found, needs=needs) if needs else found

    def _full(self, kind: CapabilityKind, local: str) -> str:
        return f"{'resource' if kind == 'template' else kind}:{self._slug}/{local}"

    def unlisted(self) -> Capability:
        """See `Listing`."""
        return self._capability("resource", f"resource:{self._slug}/", "", {})

    def templates_of(self) -> Callable[[str], tuple[str, ...] | None]:
        """See `Listing`."""
        templates = [each for each in self.found.values() if each.kind == "template"]
        index = TemplateIndex((template_from(each.local), each.name) for each in templates)

        def found(uri: str) -> tuple[str, ...] | None:
            names = index.find_all(uri, Effort(_STEPS_A_URI))
            return None if names is None else tuple(names)

        return found

    def method(self, beginning: str) -> Capability:
        """See `Listing.methods`. What tags grant are entries that somebody could look at; of these nothing is known."""
        found = self._capability("method", self._full("method", beginning), beginning, {})
        return replace(found, tags=found.tags - {"read"})

    def _capability(self, kind: CapabilityKind, name: str, local: str, definition: JsonObject) -> Capability:
        settings = self._settings
        tool = settings.tools.get(local, _NO_TOOL) if kind == "tool" else _NO_TOOL
        tags = frozenset((*settings.tags, *tool.tags))
        if kind == "tool" and json_object(definition.get("annotations")).get("destructiveHint") is True:
            tags |= {"destructive"}
        effect = _effect(kind, tool, tags)
        return Capability(
            name=name,
            kind=kind,
            owner=self._slug,
            local=local,
            tenant=settings.tenant,
            title=json_text(definition.get("title")),
            description=json_text(definition.get("description")),
            definition=definition,
            input_schema=_schema(definition.get("inputSchema")),
            output_schema=_schema(definition.get("outputSchema")),
            tags=tags,
            effect=effect,
            idempotency=tool.idempotency,
            timeout_s=tool.timeout_s or settings.timeout_s,
            bounds=Bounds(
                owner_concurrency=settings.concurrency, owner_queue=settings.queue, concurrency=tool.concurrency
            ),
            remembering=_remembering(settings, tool) if effect == "read" else None,
            digest=_digest(definition),
        )


def _effect(kind: CapabilityKind, tool: ToolSettings, tags: frozenset[str]) -> Effect:
    if kind == "method":
        return "sink"
    if kind != "tool" or "read" in tool.tags:
        return "read"
    # A tag on the whole server is a coarse statement: what calls itself destructive is not covered by it.
    return "read" if "read" in tags and "destructive" not in tags else "sink"


def _remembering(settings: ServerSettings, tool: ToolSettings) -> Remembering | None:
    if not tool.deterministic and not tool.stale_on_error:
        return None
    return Remembering(
        ttl_s=tool.cache_ttl_s,
        fresh=tool.deterministic,
        stale=tool.stale_on_error,
        personal=settings.auth is not None and settings.auth.personal,
    )


def _problems(kind: CapabilityKind, definition: JsonObject, local: str, *, known: bool) -> Iterator[str]:
    if not definition:
        yield "not an object"
    elif not local:
        yield "it has no name"
    elif len(local) > _MOST_NAME or not local.isprintable():
        yield "its name is too long or holds control characters"
    elif known:
        yield "another one has the same name"
    elif kind == "tool" and not takes_an_object(definition.get("inputSchema")):
        yield "its inputSchema is not that of an object"


def _schema(value: Json) -> "JsonObject | None":
    return value if isinstance(value, dict) else None


def _digest(definition: JsonObject) -> str:
    try:
        canonical = canonical_json(definition)
    except ValueError:
        # Generated schemas bound integers by 2**63-1, which RFC 8785 cannot express.
        canonical = _ordered(definition)
    return sha256(canonical).hexdigest()
