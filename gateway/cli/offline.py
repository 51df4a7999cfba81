"""What the configuration alone tells, without a running gateway."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from adapters.mcp.offers import WORDS
from adapters.openapi.document import read_document
from adapters.openapi.operations import Operations
from gateway.app.contract_versions import version_of
from gateway.app.sections import Sections, configuration_folder, configuration_schema, load_configuration
from gateway.app.services import service_settings
from gateway.cli.offline_offers import offers_that_fail
from gateway.cli.offline_workflows import workflows_that_fail
from gateway.cli.options import Place
from gateway.cli.place_contents import sections_of
from gateway.config.document import child
from gateway.config.problems import ConfigurationError, Problem
from gateway.core.errors import GatewayError, InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.model import Capability, Principal
from gateway.orchestration.messages.memories import BUILT_IN
from gateway.plugins import load_memory, load_tool_search
from gateway.testing.contracts.breaks import breaks
from policies.access.explain import capability_named, explain
from policies.access.policy import AccessPolicy

_MOST_DROPPED = 20


def problems_of(at: Place, against: Path | None = None) -> tuple[Problem, ...]:
    """Everything wrong with the configuration, warnings included; empty for one a gateway would start with. `against`:
    a former one, whose consumers a change of schemas may break.

    Raises: ConfigurationError: the former one is wrong itself.
    """
    former = None if against is None else Sections(load_configuration(against))
    try:
        sections = sections_of(at)
    except ConfigurationError as error:
        return error.problems
    services: dict[str, Operations] = {}
    found = [*sections.configuration.warnings, *_engines_missing(sections), *_documents(sections, services)]
    found += offers_that_fail(sections, services)
    try:
        found += _starts_denied(sections, access_of(sections))
    except GatewayError as error:
        found.append(Problem(message=error.message, file=str(at.config)))
    found += workflows_that_fail(sections)
    if former is not None:
        found += [
            sections.configuration.problem(each.at, str(each), severity="warning")
            for each in breaks(version_of(former), version_of(sections))
        ]
    return tuple(found)


def _engines_missing(sections: Sections) -> Iterator[Problem]:
    for name, settings in sections.memory.items():
        try:
            if settings.engine != BUILT_IN:
                load_memory(settings.engine)
        except InvalidRequest as error:
            yield sections.configuration.problem(f"memory.{name}.engine", error.message)
    for name, settings in sections.sets.items():
        try:
            if settings.search and settings.engine != WORDS:
                load_tool_search(settings.engine)
        except InvalidRequest as error:
            yield sections.configuration.problem(f"sets.{name}.engine", error.message)


def _starts_denied(sections: Sections, access: AccessPolicy) -> Iterator[Problem]:
    """Messages that start workflows as somebody who may not call them: each would be a dead letter."""
    configuration, known = sections.configuration, {each.subject: each for each in sections.known_principals()}
    for slug, workflow in sections.workflows.items():
        for index, start in enumerate(workflow.started_by):
            who = known.get(start.principal)
            if who is None:
                continue  # said already
            said = explain(
                access, who.agent_class, replace(capability_named(f"workflow:{slug}", who.tenant), effect="sink")
            )
            if said.decision == "deny":
                path = child(child(child(child("workflows", slug), "started_by"), index), "principal")
                message = f"{start.principal!r} may not call workflow {slug!r}, which {start.bus}/{start.topic} starts"
                expected = said.change[0] if said.change else ""
                yield configuration.problem(path, f"{message}: {said.reason}", expected=expected, severity="warning")


def _documents(sections: Sections, services: dict[str, Operations]) -> Iterator[Problem]:
    """OpenAPI documents that cannot be read, and operations in them; `services` receives, by server, the others."""
    folder = configuration_folder(sections)
    for slug, server in sections.servers.items():
        if not server.openapi:
            continue
        settings = service_settings(server, folder)
        path = f"servers.{slug}.openapi"
        try:
            operations = Operations(read_document(settings.document), settings)
        except InvalidRequest as error:
            yield sections.configuration.problem(path, error.message, severity="warning")
            continue
        operations.read()
        services[slug] = operations
        for each in map(json_object, operations.dropped[:_MOST_DROPPED]):
            said = f"{json_text(each.get('name'))} is left out: {json_text(each.get('reason'))}"
            yield sections.configuration.problem(path, said, severity="warning")


def access_of(sections: Sections) -> AccessPolicy:
    """The access policy a gateway with these sections has. Raises: InvalidRequest."""
    return AccessPolicy(roles=sections.roles, lines=sections.configuration.line_of, grants=sections.grants)


def principal_of(sections: Sections, subject: str) -> Principal:
    """The principal of that name; an agent by its slug alone, too. Raises: InvalidRequest: there is none."""
    known = {each.subject: each for each in sections.known_principals()}
    found = known.get(subject) or known.get(f"agent:{subject}")
    if found is None:
        raise InvalidRequest(
            f"the configuration names no principal {subject}; it has {', '.join(sorted(known)) or 'none'}"
        )
    return found


def explain_offline(at: Place, subject: str, call: str, arguments: "JsonObject | None") -> JsonObject:
    """The judgement on a call nobody made, by the file alone: an `Explanation` with the `file` its lines are of.

    Raises: InvalidRequest: there is no such principal, or nothing can be called that.
    """
    sections = sections_of(at)
    who = principal_of(sections, subject)
    try:
        named = capability_named(call, who.tenant)
        target = _with_tags(sections, named)
        said = explain(access_of(sections), who.agent_class, target or call, arguments)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    notes: list[Json] = [*said.notes]
    if target is not None and any(match.pattern.startswith("tag:") for match in said.matches):
        notes.append("tags are those the file gives; a server may say of a tool that it is destructive")
    return {**said.to_json(), "notes": notes, "file": str(at.config)}


def _with_tags(sections: Sections, named: Capability) -> Capability | None:
    """The capability with the tags its owner's entry gives it; None where only the running gateway knows them."""
    bus = sections.buses.get(named.owner)
    if bus is not None and named.kind == "tool":
        topic = bus.topics.get(named.local)
        return replace(named, tags=frozenset(topic.tags if topic is not None else ()))
    server = sections.servers.get(named.owner)
    if server is None or named.kind in ("agent", "workflow"):
        return None
    tool = server.tools.get(named.local) if named.kind == "tool" else None
    return replace(named, tags=frozenset((*server.tags, *(tool.tags if tool is not None else ()))))


def schema_of_configuration() -> JsonObject:
    """The JSON Schema of gateway.yaml."""
    return configuration_schema()
