"""A scenario file, read and checked, every problem with its place; and the configuration its scenarios run against."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, TypeAdapter

from gateway.config.document import Document, child
from gateway.config.load import Check, Configuration, configured, load
from gateway.config.problems import ConfigurationError, Problem
from gateway.config.schema import Section, json_schema
from gateway.core.json import Json, JsonObject, json_object
from gateway.testing.scenarios.mocks import MockSettings, Target
from gateway.testing.scenarios.settings import ScenarioSettings

CONFIGURATION = "gateway.yaml"
"""What scenarios run against where they do not say: the file beside theirs."""
NOWHERE = "https://{}.invalid"
"""Address of what is not written in an inline configuration, because a mock stands in for it anyway."""
TESTER = "tester"
"""Role, and name, of who asks where nobody is named; may call every workflow where the configuration has no roles."""


class GatewaySource(BaseModel):
    """Sections of a configuration, as in `gateway.yaml`, or over those of a file."""

    model_config = ConfigDict(frozen=True, extra="allow")

    file: str = ""
    """A configuration file, relative to this one, whose sections those beside it replace."""


def _file_alone(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


SCENARIO_SECTIONS: Mapping[str, Section] = MappingProxyType(
    {
        "gateway": TypeAdapter[Any](
            Annotated[GatewaySource, BeforeValidator(_file_alone, json_schema_input_type=str | GatewaySource)]
        ),
        "mocks": TypeAdapter(dict[Target, MockSettings]),
        "scenarios": TypeAdapter(Annotated[dict[str, ScenarioSettings], Field(max_length=1000)]),
    }
)
"""What a scenario file may say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One scenario, ready to be run."""

    name: str
    file: Path
    line: int
    settings: ScenarioSettings
    mocks: Mapping[str, MockSettings]
    """Those of the file, and over them its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioFile:
    """Everything a file says."""

    configuration: Configuration
    scenarios: tuple[Scenario, ...]


def scenario_schema() -> JsonObject:
    """The JSON Schema of a scenario file, for editors."""
    title = {
        "title": "Drawbridge scenarios",
        "description": "Requests to an orchestration, and what has to come of them.",
    }
    return {**json_schema(SCENARIO_SECTIONS), **title}


def read_scenarios(
    path: Path, sections: Mapping[str, Section], checks: Sequence[Check] = (), *, instead: Path | None = None
) -> ScenarioFile:
    """The scenarios in a file, and the configuration they run against: `instead`, or what the file says.

    Raises: ConfigurationError: says everything that is wrong, in this file or in that of the configuration.
    """
    said = load(path, SCENARIO_SECTIONS, checks=(_asks_something, _targets_exist))
    shared: dict[str, MockSettings] = said.section("mocks", dict[str, MockSettings])
    scenarios = tuple(
        Scenario(
            name=name,
            file=path,
            line=said.line_of(child("scenarios", name)),
            settings=settings,
            mocks={**shared, **settings.mocks},
        )
        for name, settings in said.section("scenarios", dict[str, ScenarioSettings]).items()
    )
    mocked = {target for scenario in scenarios for target in scenario.mocks} | set(shared)
    configuration = (
        load(instead, sections, checks=checks)
        if instead is not None
        else _configuration(said, mocked, sections, checks)
    )
    return ScenarioFile(configuration=configuration, scenarios=scenarios)


def _asks_something(said: Configuration) -> Iterator[Problem]:
    if not said.section("scenarios", dict[str, ScenarioSettings]):
        yield said.problem("", "there is no scenario", expected="write for example `scenarios: {refund: {say: …}}`")


def _targets_exist(said: Configuration) -> Iterator[Problem]:
    """Faults of targets nobody mocks are legal, since real ones may be struck; two seeds of one name are not."""
    for name, settings in said.section("scenarios", dict[str, ScenarioSettings]).items():
        if not name.strip():
            yield said.problem(child("scenarios", name), "a scenario needs a name")
        if settings.side_by_side and len(settings.turns) < 2:
            yield said.problem(child("scenarios", name), "`side_by_side` needs at least two turns")


def _configuration(
    said: Configuration, mocked: set[str], sections: Mapping[str, Section], checks: Sequence[Check]
) -> Configuration:
    source = said.section("gateway", GatewaySource)
    inline = dict(json_object(_plain(source.__pydantic_extra__)))
    named = said.source.parent / (source.file or CONFIGURATION)
    if not inline:
        return load(named, sections, checks=checks)
    under = load(named, sections).document if source.file else Document({}, {})
    places = {
        path.removeprefix("gateway.") if path.startswith("gateway.") else path: place
        for path, place in said.document.places.items()
        if path.startswith("gateway.")
    }
    data = {**under.data, **inline}
    if not source.file:
        data = _completed(data, mocked)
    document = Document(data, {**under.places, **places})
    digest = hashlib.sha256(f"{said.digest}\n{sorted(data)}".encode()).hexdigest()
    try:
        return configured(document, sections, digest=digest, source=said.source, checks=checks)
    except ConfigurationError as error:
        raise ConfigurationError([_under_gateway(each) for each in error.problems]) from error


def _under_gateway(problem: Problem) -> Problem:
    return replace(problem, path=f"gateway.{problem.path}" if problem.path else "gateway")


def _completed(data: dict[str, Json], mocked: set[str]) -> dict[str, Json]:
    """An inline configuration need not say where agents and servers are that are mocked, nor who may ask."""
    agents, servers = dict(json_object(data.get("agents"))), dict(json_object(data.get("servers")))
    for target in mocked:
        kind, _, name = target.partition(":")
        owner = name.partition("/")[0]
        if owner not in json_object(data.get("buses")):
            (agents if kind == "agent" else servers).setdefault(owner, {})
    for slug, entry in agents.items():
        agents[slug] = {"card": NOWHERE.format(slug), **json_object(entry)}
    for slug, entry in servers.items():
        known = json_object(entry)
        servers[slug] = known if "command" in known else {"url": NOWHERE.format(slug), **known}
    roles = json_object(data.get("roles")) or {TESTER: {"allow": ["workflow:*"]}}
    return {**data, "agents": agents, "servers": servers, "roles": roles}


def _plain(value: Any) -> JsonValue:
    return value or {}
