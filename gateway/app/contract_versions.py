"""What is known of the contracts in a configuration, without asking anybody."""

from collections.abc import Mapping

from adapters.storage.directory import DataDirectory
from adapters.storage.pins import pins_in_file
from gateway.app.sections import Sections
from gateway.core.json import Json, JsonObject, json_from, json_object
from gateway.testing.contracts.breaks import ToolContract, Tools, Version
from gateway.testing.scenarios.mocks import MockSettings


def version_of(
    sections: Sections, mocks: Mapping[str, MockSettings] | None = None, recorded: Tools | None = None
) -> Version:
    """The workflows of a configuration, and what is known of the tools they call: topics of buses say what they take,
    and so may mocks. `recorded`: what a gateway has kept of others."""
    tools = dict(recorded or {}) | {
        f"tool:{slug}/{name}": ToolContract(
            takes=_schema(topic.input_schema) or None, gives=_schema(topic.output_schema)
        )
        for slug, bus in sections.buses.items()
        for name, topic in bus.topics.items()
    }
    for target, mock in (mocks or {}).items():
        if target.startswith("tool:"):
            tools[target] = ToolContract(takes=_schema(mock.input_schema), gives=_schema(mock.output_schema))
    return Version(workflows=sections.workflows, tools=tools)


def recorded_in(data: DataDirectory) -> Tools:
    """What the gateway of this data directory has pinned of its servers' tools: what it trusts, else what it saw last;
    nothing where it never ran. Raises: Unavailable: it cannot be read."""
    found: dict[str, ToolContract] = {}
    for pin in pins_in_file(data.gateway_db):
        said = pin.definition or pin.seen
        if pin.name.startswith("tool:"):
            found[pin.name] = ToolContract(
                takes=_schema_in(said, "inputSchema"), gives=_schema_in(said, "outputSchema")
            )
    return found


def _schema_in(definition: Mapping[str, Json], member: str) -> "JsonObject | None":
    return told(json_object(definition.get(member)))


def told(schema: Mapping[str, object] | None) -> "JsonObject | None":
    """The schema, where it says anything."""
    said = None if schema is None else json_from(schema)
    return said if said and said != {"type": "object"} else None


def _schema(schema: Mapping[str, object] | None) -> "JsonObject | None":
    return None if schema is None else json_from(schema)
