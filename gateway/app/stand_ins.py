"""Mock upstreams for what a configuration names, offered as the real ones would be: same names, tags and bounds."""

from collections.abc import Collection, Mapping

from adapters.a2a.compose import INPUT_SCHEMA
from adapters.a2a.settings import AgentSettings
from adapters.events.upstream import BusUpstream
from adapters.mcp.client_listing import read_listing
from adapters.mcp.settings import ServerSettings
from gateway.app.buses import bus_from
from gateway.app.sections import Sections
from gateway.core.json import Json, JsonObject
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Bounds
from gateway.core.model import Capability, Remembering
from gateway.core.ports.bus import BusLimits
from gateway.testing.scenarios.mocks import MockSettings
from gateway.testing.scenarios.upstreams import Cast, MockUpstream, digest_of

MEMORY = "memory:"
ANYTHING: JsonObject = {"type": "object"}


async def stand_ins(
    sections: Sections, mocks: Mapping[str, MockSettings], cast: Cast, *, real: Collection[str] = ()
) -> list[tuple[MockUpstream, str]]:
    """An upstream for everybody who is mocked, with its tenant; `real`: owners who are not, even in part."""
    found: list[tuple[MockUpstream, str]] = []
    for slug, agent in sections.agents.items():
        mock = mocks.get(f"agent:{slug}")
        if mock is not None and slug not in real:
            said = _labels(f"agent:{slug}", agent.trust)
            found.append((MockUpstream(slug, (_agent(slug, agent, mock),), cast, said), agent.tenant))
    for slug, server in sections.servers.items():
        tools = tools_of(slug, mocks)
        if tools and slug not in real:
            said = _labels(f"server:{slug}", server.trust)
            found.append((MockUpstream(slug, await _tools(slug, server, tools), cast, said), server.tenant))
    for slug, bus in sections.buses.items():
        tools = tools_of(slug, mocks)
        if tools and slug not in real:
            listing = await BusUpstream(slug, bus, bus_from(MEMORY, BusLimits())).capabilities()
            topics = tuple(each for each in listing.capabilities if each.local in tools)
            said = _labels(f"bus:{slug}", bus.trust)
            found.append((MockUpstream(slug, topics, cast, said), bus.tenant))
    return found


def _labels(whose: str, trust: str) -> Labels:
    """What stands on whatever it says."""
    return CLEAN if trust == "trusted" else Labels(untrusted=frozenset({whose}))


def tools_of(slug: str, mocks: Mapping[str, MockSettings]) -> dict[str, MockSettings]:
    """Tools of a server that are mocked, by the names it gives them."""
    prefix = f"tool:{slug}/"
    return {target.removeprefix(prefix): mock for target, mock in mocks.items() if target.startswith(prefix)}


def _agent(slug: str, settings: AgentSettings, mock: MockSettings) -> Capability:
    definition: JsonObject = {"name": slug, "description": mock.description, "skills": [*mock.skills]}
    remembering = None
    if settings.deterministic or settings.stale_on_error:
        remembering = Remembering(
            ttl_s=settings.cache_ttl_s, fresh=settings.deterministic, stale=settings.stale_on_error, personal=True
        )
    return Capability(
        name=f"agent:{slug}",
        kind="agent",
        owner=slug,
        local=slug,
        tenant=settings.tenant,
        title=mock.title or slug,
        description=mock.description,
        definition=definition,
        input_schema=INPUT_SCHEMA,
        tags=frozenset({*settings.tags, *(f"skill:{tag}" for tag in mock.skills)}),
        effect="sink",
        idempotency="meta" if settings.idempotent else "",
        timeout_s=settings.timeout_s,
        bounds=Bounds(owner_concurrency=settings.concurrency, owner_queue=settings.queue),
        remembering=remembering,
        digest=digest_of(definition),
    )


async def _tools(slug: str, settings: ServerSettings, tools: Mapping[str, MockSettings]) -> tuple[Capability, ...]:
    """As the server's own list would be read."""
    listed: list[Json] = [_definition(name, mock) for name, mock in tools.items()]

    async def ask(method: str, params: JsonObject) -> JsonObject:
        return {"tools": listed}

    listing = await read_listing(slug, settings, {"capabilities": {"tools": {}}}, ask)
    return listing.capabilities


def _definition(name: str, mock: MockSettings) -> JsonObject:
    said: JsonObject = {"name": name, "title": mock.title, "description": mock.description}
    said["inputSchema"] = ANYTHING if mock.input_schema is None else {**mock.input_schema}
    if mock.output_schema is not None:
        said["outputSchema"] = {**mock.output_schema}
    return said
