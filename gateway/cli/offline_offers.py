"""What the configuration alone tells of names and sets: as far as tools are known without asking any server."""

from collections.abc import Iterable, Iterator, Mapping

from adapters.mcp.not_offered import NotOffered, not_offered
from adapters.mcp.offers import SCOPE, Offers
from adapters.openapi.operations import Operations
from gateway.app.sections import Sections
from gateway.config.document import child
from gateway.config.problems import Problem
from gateway.core.catalog import EVERY_TENANT
from gateway.core.json import json_object
from gateway.core.model import DEFAULT_TENANT, Capability
from gateway.orchestration.orchestrator import INPUT_SCHEMA


def offers_that_fail(sections: Sections, services: Mapping[str, Operations]) -> Iterator[Problem]:
    """Tools that could not be offered as they are named and chosen. `services`: by server, what its document has."""
    known = [*_operations(sections, services), *_workflows(sections)]
    offers = Offers(sets=sections.sets, names=sections.listen.names)
    tenants = {DEFAULT_TENANT, *(each.tenant for each in (*known, *sections.sets.values()))} - {EVERY_TENANT}
    found: dict[NotOffered, None] = {}
    for tenant in sorted(tenants):
        theirs = [each for each in known if each.tenant in (tenant, EVERY_TENANT)]
        found |= dict.fromkeys(not_offered(offers, theirs, tenant))
    for each in found:
        said = f"{each.name} would not be offered: {each.reason}"
        yield sections.configuration.problem(_path(sections, each), said, severity="warning")
    names = {each.name for each in known}
    for slug, settings in sections.sets.items():
        for name, choice in settings.tools.items():
            server, _, operation = choice.tool.partition("/")
            if server in services and choice.capability not in names:
                path = _path(sections, NotOffered(scope=f"{SCOPE}{slug}", name=name, reason=""))
                said = f"the document of {server} has no operation {operation}"
                yield sections.configuration.problem(path, said, severity="warning")


def _path(sections: Sections, missing: NotOffered) -> str:
    slug = missing.scope.removeprefix(SCOPE)
    if not slug:
        return "gateway.names"
    path = child("sets", slug)
    return child(child(path, "tools"), missing.name) if missing.name in sections.sets[slug].tools else path


def _operations(sections: Sections, services: Mapping[str, Operations]) -> Iterable[Capability]:
    for slug, operations in services.items():
        for name, operation in operations.found.items():
            yield Capability(
                name=f"tool:{slug}/{name}",
                kind="tool",
                owner=slug,
                local=name,
                tenant=sections.servers[slug].tenant,
                definition=operation.definition,
                input_schema=json_object(operation.definition["inputSchema"]),
            )


def _workflows(sections: Sections) -> Iterable[Capability]:
    for slug, settings in sections.workflows.items():
        yield Capability(
            name=f"workflow:{slug}",
            kind="workflow",
            owner=slug,
            local=slug,
            tenant=settings.tenant,
            input_schema=INPUT_SCHEMA,
        )
