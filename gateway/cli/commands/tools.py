"""`drawbridge tools`: what can be called, and by whom."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.explanations import first_change, short_reason
from gateway.cli.failure import USAGE, Failure
from gateway.cli.options import AsJson, ConfigPath, DataPath, command_group, place
from gateway.cli.pin_views import difference, pin_table
from gateway.cli.remote import Remote, connect
from gateway.cli.render import facts, note, show, stdout, table
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


@app.command("pins")
def list_pins(
    server: Annotated[str, typer.Option("--server", help="Only of this server.")] = "",
    every: Annotated[bool, typer.Option("--all", help="What is trusted as well.")] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Definitions that changed or are new, and wait for approval; and those that are flagged."""
    with connect(place(config, data)) as remote:
        said = remote.get("pins", query={"server": server})
    found = [json_object(each) for each in json_list(said.get("pins"))]
    if not every:
        found = [each for each in found if each.get("state") != "approved" or each.get("flags")]
    listed: list[Json] = [*found]
    show({"pins": listed}, lambda: pin_table(found, empty="Nothing waits, and nothing is flagged."), as_json=as_json)


@app.command("diff")
def diff(
    names: Annotated[
        list[str] | None, typer.Argument(help="Full names, such as tool:orders/refund; by default all that wait.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """What is different about definitions since they were trusted; hidden characters are spelled out."""
    with connect(place(config, data)) as remote:
        found = _pins(remote, names or (), "")
    listed: list[Json] = [*found]
    show({"pins": listed}, lambda: Group(*map(difference, found)) if found else "Nothing waits.", as_json=as_json)


@app.command("approve")
def approve(
    names: Annotated[list[str] | None, typer.Argument(help="Full names, such as tool:orders/refund.")] = None,
    server: Annotated[str, typer.Option("--server", help="Everything of this server that waits.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Trust definitions as they are now; shows what is different about them first."""
    if bool(names) == bool(server):
        raise Failure("say what is approved: names, or --server", code=USAGE)
    with connect(place(config, data)) as remote:
        found = [each for each in _pins(remote, names or (), server) if each.get("state") != "approved"]
        if not found:
            note("Nothing of that waits.")
            return
        for each in found:
            stdout().print(difference(each))
        if not yes and not typer.confirm(f"Trust {'this' if len(found) == 1 else f'these {len(found)}'}?"):
            raise typer.Exit(1)
        approved: list[Json] = [{"name": each.get("name"), "digest": each.get("digest")} for each in found]
        for start in range(0, len(approved), 100):
            remote.post("pins", "approve", body={"pins": approved[start : start + 100]})
    note(f"Approved: {', '.join(json_text(each.get('name')) for each in found)}.")


def _pins(remote: Remote, names: Sequence[str], server: str) -> list[JsonObject]:
    """The pins of these names, or everything that waits; each with its definition."""
    if not names:
        waiting = remote.get("pins", query={"server": server, "state": "waiting"})
        names = [json_text(json_object(each).get("name")) for each in json_list(waiting.get("pins"))]
    return [
        json_object(each) for name in names for each in json_list(remote.get("pins", query={"name": name}).get("pins"))
    ]


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
