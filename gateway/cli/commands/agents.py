"""`drawbridge agents`: which agents are behind the gateway."""

from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.options import AsJson, ConfigPath, DataPath, command_group, place
from gateway.cli.remote import connect
from gateway.cli.render import cell, facts, moment, note, progress, say, show, table
from gateway.core.json import JsonObject, json_list, json_object, json_text

app = command_group("Add, list, show and remove agents.")

Slug = Annotated[str, typer.Argument(help="The agent's short name.", show_default=False)]


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="Address of the agent, or of its card.", show_default=False)],
    slug: Annotated[str, typer.Option("--slug", help="Short name; by default made from the card's name.")] = "",
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Register an agent by its card, and say how to let somebody call it."""
    body: JsonObject = {"url": url, "slug": slug} if slug else {"url": url}
    with connect(place(config, data)) as remote, progress("fetching and checking the card"):
        agent = json_object(remote.post("agents", body=body).get("agent"))
    show(agent, lambda: _card(agent), as_json=as_json)
    if not as_json:
        say("")
        say("Only roles that allow it may call it. To let one, add to gateway.yaml:")
        say(f"  roles:\n    ROLE:\n      allow: [{json_text(agent.get('grant'))!r}]")


@app.command("list")
def list_agents(as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """All agents, configured and registered."""
    with connect(place(config, data)) as remote:
        said = remote.get("agents")
    agents = [json_object(each) for each in json_list(said.get("agents"))]
    show(
        said,
        lambda: table(
            ("AGENT", "NAME", "VERSION", "FROM", "STATE"),
            [
                (a.get("slug"), a.get("name"), a.get("version"), a.get("source"), a.get("problem") or "ok")
                for a in agents
            ],
            empty="No agents. Add one with `drawbridge agents add URL`.",
        ),
        as_json=as_json,
    )


@app.command("show")
def show_agent(slug: Slug, as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """One agent with what its card says."""
    with connect(place(config, data)) as remote:
        agent = json_object(remote.get("agents", slug).get("agent"))
    show(agent, lambda: _card(agent), as_json=as_json)


@app.command()
def remove(slug: Slug, as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """Remove a registered agent; one of the configuration is removed there."""
    with connect(place(config, data)) as remote:
        remote.delete("agents", slug)
    if as_json:
        show({"removed": slug}, lambda: "", as_json=True)
    else:
        note(f"{slug} is removed")


def _card(agent: JsonObject) -> RenderableType:
    skills = [json_object(each) for each in json_list(agent.get("skills"))]
    asks = json_list(agent.get("asksFor"))
    return Group(
        facts(
            [
                ("agent", agent.get("slug")),
                ("name", agent.get("name")),
                ("says", agent.get("description")),
                ("version", agent.get("version")),
                ("card", agent.get("card")),
                ("digest", agent.get("digest")),
                ("from", agent.get("source")),
                ("added", f"{moment(agent.get('addedAt'))} {json_text(agent.get('addedBy'))}".strip()),
                ("skills", [json_text(each.get("id")) for each in skills]),
                ("asks callers for", asks),
                ("grant with", agent.get("grant")),
            ]
        ),
        Text.assemble("problem  ", cell(agent.get("problem")), style="red") if agent.get("problem") else Text(""),
    )
