"""Which sections the configuration has, and whose they are."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from adapters.a2a.settings import AgentSettings
from adapters.events.settings import BusSettings
from adapters.http.settings import ListenSettings
from adapters.identity.oauth_settings import OAuthSettings
from adapters.identity.secrets import SecretResolver
from adapters.identity.settings import PrincipalSettings
from adapters.mcp.set_settings import SetSettings
from adapters.mcp.settings import ServerSettings
from adapters.net.settings import EgressSettings
from adapters.storage.directory import DataDirectory
from adapters.storage.registered_slugs import registered_slugs, registered_slugs_in_postgres
from adapters.storage.settings import AuditSettings, StorageSettings
from gateway.app.oauth import oauth_problems
from gateway.app.storage_url import postgres_url
from gateway.config.checks import standard_checks
from gateway.config.load import Configuration, load
from gateway.config.problems import Problem
from gateway.config.schema import Section, json_schema
from gateway.core.errors import GatewayError
from gateway.core.json import JsonObject
from gateway.core.limits import Limits
from gateway.core.model import Principal, principal
from gateway.orchestration.messages.memories import MemorySettings
from gateway.orchestration.runs.retention import RetentionSettings
from gateway.orchestration.settings.workflow import Glossary, WorkflowSettings, with_buses, with_glossary
from policies.access.settings import RoleSettings
from policies.budgets.settings import BudgetsSettings, PriceSettings

T = TypeVar("T")

SECTIONS: Mapping[str, Section] = {
    "gateway": TypeAdapter(ListenSettings),
    "servers": TypeAdapter(dict[str, ServerSettings]),
    "sets": TypeAdapter(dict[str, SetSettings]),
    "buses": TypeAdapter(dict[str, BusSettings]),
    "agents": TypeAdapter(dict[str, AgentSettings]),
    "roles": TypeAdapter(dict[str, RoleSettings]),
    "principals": TypeAdapter(dict[str, PrincipalSettings]),
    "oauth": TypeAdapter(OAuthSettings),
    "workflows": TypeAdapter(dict[str, WorkflowSettings]),
    "glossary": TypeAdapter(Glossary),
    "memory": TypeAdapter(dict[str, MemorySettings]),
    "prices": TypeAdapter(PriceSettings),
    "budgets": TypeAdapter(BudgetsSettings),
    "limits": TypeAdapter(Limits),
    "retention": TypeAdapter(RetentionSettings),
    "storage": TypeAdapter(StorageSettings),
    "audit": TypeAdapter(AuditSettings),
    "egress": TypeAdapter(EgressSettings),
}


def load_configuration(path: Path, data: DataDirectory | None = None) -> Configuration:
    """The configuration in a file, checked as a whole. Raises: ConfigurationError.

    With a data directory, agents added at run time may be named in it as well.
    """

    def check(configuration: Configuration) -> Iterator[Problem]:
        registered = frozenset[str]()
        if data is not None:
            try:
                registered = _registered(configuration, data)
            except GatewayError as error:
                message = f"agents added at run time are not known here: {error.message}"
                yield configuration.problem("storage", message, severity="warning")
        for each in standard_checks({"agents": registered}):
            yield from each(configuration)
        yield from oauth_problems(configuration)

    return load(path, SECTIONS, checks=(check,))


def configuration_folder(sections: "Sections") -> Path:
    """Where relative paths in the configuration begin."""
    return sections.configuration.source.absolute().parent


def _registered(configuration: Configuration, data: DataDirectory) -> frozenset[str]:
    storage = configuration.section("storage", StorageSettings)
    url = postgres_url(storage, SecretResolver(configuration.source.absolute().parent))
    return registered_slugs(data.gateway_db) if url is None else registered_slugs_in_postgres(url)


def configuration_schema() -> JsonObject:
    """The JSON Schema of the configuration file, for editors."""
    return json_schema(SECTIONS)


class Sections:
    """The configuration's sections, each as its own type."""

    def __init__(self, configuration: Configuration) -> None:
        said = configuration.sections
        self.configuration = configuration
        self.listen = _as(said["gateway"], ListenSettings)
        self.servers = _each(said["servers"], ServerSettings)
        self.sets = _each(said["sets"], SetSettings)
        self.buses = _each(said["buses"], BusSettings)
        self.agents = _each(said["agents"], AgentSettings)
        self.roles = _each(said["roles"], RoleSettings)
        self.principals = _each(said["principals"], PrincipalSettings)
        self.oauth = _as(said["oauth"], OAuthSettings)
        self.glossary = _each(said["glossary"], str)
        workflows = with_glossary(_each(said["workflows"], WorkflowSettings), self.glossary)
        self.workflows = with_buses(workflows, {slug: bus.topics for slug, bus in self.buses.items()})
        self.memory = _each(said["memory"], MemorySettings)
        self.prices = _as(said["prices"], PriceSettings)
        self.budgets = _as(said["budgets"], BudgetsSettings)
        self.limits = _as(said["limits"], Limits)
        self.retention = _as(said["retention"], RetentionSettings)
        self.storage = _as(said["storage"], StorageSettings)
        self.audit = _as(said["audit"], AuditSettings)
        self.egress = _as(said["egress"], EgressSettings)

    @property
    def slugs(self) -> frozenset[str]:
        """Every name that is taken: servers, buses, agents and workflows share one namespace."""
        return frozenset({*self.servers, *self.buses, *self.agents, *self.workflows})

    def known_principals(self) -> list[Principal]:
        """Everybody the configuration names: principals, and agents as `agent:SLUG`."""
        people = [
            principal(name, kind=each.kind, tenant=each.tenant, roles=frozenset(each.roles))
            for name, each in self.principals.items()
        ]
        agents = [
            principal(f"agent:{slug}", kind="agent", tenant=each.tenant, roles=frozenset(each.roles))
            for slug, each in self.agents.items()
        ]
        return [*people, *agents]

    @property
    def remembering(self) -> dict[str, str]:
        """Which memory each workflow has, of those that have one."""
        return {slug: each.memory for slug, each in self.workflows.items() if each.memory}

    @property
    def patterns(self) -> frozenset[str]:
        """Names of those its workflows follow."""
        return frozenset(each.pattern for each in self.workflows.values())

    @property
    def grants(self) -> dict[str, tuple[str, ...]]:
        """What each workflow's own role is granted: exactly the targets its configuration names."""
        return {f"workflow:{slug}": tuple(sorted(each.targets)) for slug, each in self.workflows.items()}


def _as(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"a section is no {kind.__name__}")
    return value


def _each(value: object, kind: type[T]) -> dict[str, T]:
    if not isinstance(value, dict):
        raise TypeError("a section is no mapping")
    return {str(name): _as(each, kind) for name, each in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - pydantic made it
