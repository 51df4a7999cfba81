"""`drawbridge tools`: what can be called, and by whom."""

from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.explanations import first_change, short_reason
from gateway.cli.options import AsJson, ConfigPath, DataPath, command_group, place
from gateway.cli.remote import connect
from gateway.cli.render import facts, note, show, table
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

app = command_group("List and show what can be called, and by whom.")


@app.command("list")
def list_tools(
    as_whom: Annotated[
        str, typer.Option("--as", help="Only what this principal sees, and why the rest is hidden.")
    ] = "",
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Everything behind the gateway: tools, prompts, resources, agents, workflows."""
    with connect(place(config, data)) as remote:
        said = remote.get("tools", query={"as": as_whom})
    show(said, lambda: _lists(said, as_whom), as_json=as_json)
    for owner, reason in json_object(said.get("gaps")).items():
        note(f"{owner} is missing or out of date: {json_text(reason)}")


@app.command("show")
def show_tool(
    name: Annotated[str, typer.Argument(help="Its full name, such as tool:orders/refund.", show_default=False)],
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """One entry with its schemas."""
    with connect(place(config, data)) as remote:
        found = json_list(remote.get("tools", query={"name": name}).get("tools"))
    tool = json_object(found[0])
    show(tool, lambda: _details(tool), as_json=as_json)


def _lists(said: JsonObject, as_whom: str) -> RenderableType:
    tools = [json_object(each) for each in json_list(said.get("tools"))]
    visible = table(
        ("NAME", "EFFECT", "TAGS", "DESCRIPTION"),
        [(t.get("name"), t.get("effect"), t.get("tags"), _first_line(t.get("description"))) for t in tools],
        empty=f"{as_whom} sees nothing."
        if as_whom
        else "Nothing can be called. Add servers or agents to gateway.yaml.",
    )
    hidden = [json_object(each) for each in json_list(said.get("hidden"))]
    if not hidden:
        return visible
    why = [(each.get("name"), json_object(each.get("why"))) for each in hidden]
    rows = [(name, short_reason(reason), first_change(reason)) for name, reason in why]
    return Group(visible, Text(f"\nHidden from {as_whom}:"), table(("NAME", "BECAUSE", "TO CHANGE IT"), rows, empty=""))


def _details(tool: JsonObject) -> RenderableType:
    properties = json_object(json_object(tool.get("inputSchema")).get("properties"))
    required = json_list(json_object(tool.get("inputSchema")).get("required"))
    arguments = [
        (
            name,
            json_object(schema).get("type"),
            "yes" if name in required else "",
            json_object(schema).get("description"),
        )
        for name, schema in properties.items()
    ]
    return Group(
        facts(
            [
                ("name", tool.get("name")),
                ("title", tool.get("title")),
                ("says", tool.get("description")),
                ("effect", tool.get("effect")),
                ("tags", tool.get("tags")),
                ("idempotency", tool.get("idempotency")),
                ("digest", tool.get("digest")),
            ]
        ),
        Text(""),
        table(("ARGUMENT", "TYPE", "REQUIRED", "DESCRIPTION"), arguments, empty="It takes no arguments."),
    )


def _first_line(text: Json) -> str:
    return json_text(text).strip().partition("\n")[0]
