"""Mock upstreams for what a configuration names, offered as the real ones would be: same names, tags and bounds."""

from collections.abc import Iterable, Mapping

from adapters.a2a.compose import INPUT_SCHEMA
from adapters.a2a.settings import AgentSettings
from adapters.mcp.client_listing import read_listing
from adapters.mcp.settings import ServerSettings
from gateway.app.sections import Sections
from gateway.core.json import Json, JsonObject
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Bounds
from gateway.core.model import Capability, Remembering
from gateway.testing.scenarios.mocks import MockSettings
from gateway.testing.scenarios.upstreams import Cast, MockUpstream, digest_of

ANYTHING: JsonObject = {"type": "object"}


async def stand_ins(
    sections: Sections, mocks: Mapping[str, MockSettings], cast: Cast
) -> list[tuple[MockUpstream, str]]:
    """An upstream for every agent and server that is mocked, with its tenant. Servers that are real in part are not."""
    found: list[tuple[MockUpstream, str]] = []
    for slug, settings in sections.agents.items():
        mock = mocks.get(f"agent:{slug}")
        if mock is not None and not mock.real:
            said = CLEAN if settings.trust == "trusted" else Labels(untrusted=frozenset({f"agent:{slug}"}))
            found.append((MockUpstream(slug, (_agent(slug, settings, mock),), cast, said), settings.tenant))
    for slug, settings in sections.servers.items():
        tools = {name: mock for name, mock in tools_of(slug, mocks) if not mock.real}
        if tools:
            said = CLEAN if settings.trust == "trusted" else Labels(untrusted=frozenset({f"server:{slug}"}))
            offered = await _tools(slug, settings, tools)
            found.append((MockUpstream(slug, offered, cast, said), settings.tenant))
    return found


def tools_of(slug: str, mocks: Mapping[str, MockSettings]) -> Iterable[tuple[str, MockSettings]]:
    """Tools of a server that are mocked, by the names it gives them."""
    prefix = f"tool:{slug}/"
    return [(target.removeprefix(prefix), mock) for target, mock in mocks.items() if target.startswith(prefix)]


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
