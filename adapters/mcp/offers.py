"""What a set makes of what its caller may use: chosen, renamed, told otherwise, some arguments settled. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import TypeAlias

from adapters.mcp.entries import Entry, definition_of
from adapters.mcp.headers import mirrors_of
from adapters.mcp.names import NamesMode
from adapters.mcp.presets import Preset, problems, with_descriptions, without_arguments
from adapters.mcp.set_settings import ArgumentChoice, PromptChoice, SetSettings, ToolChoice
from adapters.mcp.word_index import WordSearch
from gateway.core.catalog import EVERY_TENANT
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_from, json_list, json_object, json_text
from gateway.core.model import Capability
from gateway.core.ports.tool_search import ToolSearchType

Choice: TypeAlias = ToolChoice | PromptChoice

SCOPE = "sets/"
"""What scopes of sets begin with."""
WORDS = "text"
"""The engine that is always there."""
NO_SET = SetSettings(include=("-",))
"""What is at the endpoint of a set there is not: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """How the door offers what there is."""

    sets: Mapping[str, SetSettings] = field(default_factory=dict[str, SetSettings])
    names: NamesMode = "prefix"
    engines: Mapping[str, ToolSearchType] = field(default_factory=dict[str, ToolSearchType])
    """What finds tools, by the name a set gives; words are always there."""

    def engine(self, name: str) -> ToolSearchType:
        """Raises: InvalidRequest: there is none of that name."""
        found = WordSearch if name == WORDS else self.engines.get(name)
        if found is None:
            raise InvalidRequest(f"there is no engine {name} to search tools with")
        return found

    def at(self, scope: str, tenant: str) -> SetSettings | None:
        """The set behind an endpoint, an empty one where the tenant has none there; None at any other endpoint."""
        if not scope.startswith(SCOPE):
            return None
        found = self.sets.get(scope.removeprefix(SCOPE))
        return found if found is not None and found.tenant in (tenant, EVERY_TENANT) else NO_SET


def included(settings: SetSettings, capabilities: Iterable[Capability]) -> list[Capability]:
    """What the set takes as it is: by its patterns, and not what it offers under a name of its own."""
    if settings.everything:
        return list(capabilities)
    chosen = {each.capability for each in (*settings.tools.values(), *settings.prompts.values())}
    takes = taker_of(settings)
    return [each for each in capabilities if each.name not in chosen and takes(each.name)]


def taker_of(settings: SetSettings) -> Callable[[str], bool]:
    """Whether the set's patterns take what has a name."""
    if settings.everything:
        return lambda name: True
    patterns = [translate(pattern.replace("[", "[[]")) for pattern in settings.include]
    if not patterns:
        return lambda name: False
    match = re.compile("|".join(patterns)).match
    return lambda name: match(name) is not None


def owners_of(settings: SetSettings) -> frozenset[str] | None:
    """Whose tools the set has; None for everybody's."""
    names = [each.capability for each in (*settings.tools.values(), *settings.prompts.values())]
    owners = frozenset(name.partition(":")[2].partition("/")[0] for name in (*names, *settings.include))
    wild = settings.everything or any("*" in each or "?" in each or not each for each in owners)
    return None if wild else owners


def chosen(name: str, choice: Choice, capability: Capability) -> tuple[Entry | None, str]:
    """A tool or prompt as the set has it; or None, and what is wrong with what the set says of it."""
    if isinstance(choice, PromptChoice):
        return _chosen_prompt(name, choice, capability)
    return _chosen_tool(name, choice, capability)


def _chosen_tool(name: str, choice: ToolChoice, capability: Capability) -> tuple[Entry | None, str]:
    schema = json_from(capability.input_schema or {})
    fixed: JsonObject = {argument: each.value for argument, each in choice.arguments.items() if each.fixed}
    hidden = frozenset(argument for argument, each in choice.arguments.items() if each.fixed or each.hidden)
    problem = _problem(schema, choice.arguments, fixed)
    if problem:
        return None, problem
    shown = json_from({**definition_of(capability), **_told(choice)})
    adjusted = schema
    if choice.arguments:
        told = {argument: each.description for argument, each in choice.arguments.items() if each.description}
        adjusted = with_descriptions(without_arguments(schema, hidden, fixed) if hidden else schema, told)
        shown["inputSchema"] = adjusted
    preset = None
    if hidden:
        own = mirrors_of(capability.input_schema)
        preset = Preset(fixed=fixed, hidden=hidden, schema=capability.input_schema, mirrors=own)
    return Entry(capability=capability, exposed=name, mirrors=mirrors_of(adjusted), preset=preset, shown=shown), ""


def _chosen_prompt(name: str, choice: PromptChoice, capability: Capability) -> tuple[Entry | None, str]:
    shown = json_from({**capability.definition, **_told(choice)})
    if not choice.arguments:
        return Entry(capability=capability, exposed=name, shown=shown), ""
    arguments = [json_object(each) for each in json_list(shown.get("arguments"))]
    unknown = choice.arguments.keys() - {json_text(each.get("name")) for each in arguments}
    if unknown:
        return None, f"the prompt has no argument {min(unknown)}"
    shown["arguments"] = [each for each in arguments if each.get("name") not in choice.arguments]
    preset = Preset(fixed=dict(choice.arguments), hidden=frozenset(choice.arguments))
    return Entry(capability=capability, exposed=name, preset=preset, shown=shown), ""


def _told(choice: Choice) -> dict[str, Json]:
    said: dict[str, Json] = {"title": choice.title, "description": choice.description}
    return {member: text for member, text in said.items() if text}


def _problem(schema: JsonObject, arguments: Mapping[str, ArgumentChoice], fixed: JsonObject) -> str:
    properties = json_object(schema.get("properties"))
    closed = schema.get("additionalProperties") is False and "properties" in schema
    unknown = [argument for argument in arguments if argument not in properties]
    if unknown and (closed or any(argument not in fixed for argument in unknown)):
        return f"the tool has no argument {unknown[0]}"
    required = json_list(schema.get("required"))
    missing = [argument for argument, each in arguments.items() if each.hidden and argument in required]
    if missing:
        return f"the tool needs {missing[0]}, which the set hides without a value"
    for argument, value in fixed.items():
        alone: JsonObject = {**_defs(schema), "properties": {argument: properties.get(argument, True)}}
        if any(problems(alone, {argument: value}, frozenset())):
            return f"the value of {argument} does not fit the tool's schema"
    return ""


def _defs(schema: JsonObject) -> JsonObject:
    return {member: schema[member] for member in ("$defs", "definitions") if member in schema}
