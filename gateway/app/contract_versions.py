"""What is known of the contracts in a configuration, without asking anybody."""

from collections.abc import Mapping

from gateway.app.sections import Sections
from gateway.core.json import JsonObject, json_from
from gateway.testing.contracts.breaks import ToolContract, Version
from gateway.testing.scenarios.mocks import MockSettings


def version_of(sections: Sections, mocks: Mapping[str, MockSettings] | None = None) -> Version:
    """The workflows of a configuration, and what is known of the tools they call: topics of buses say what they take,
    and so may mocks."""
    tools = {
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


def _schema(schema: Mapping[str, object] | None) -> "JsonObject | None":
    return None if schema is None else json_from(schema)
