"""`drawbridge memory`: what agents remember for later runs."""

from typing import Annotated

import typer
from rich.console import RenderableType

from gateway.cli.failure import USAGE, Failure
from gateway.cli.moments import seconds_from
from gateway.cli.options import AsJson, ConfigPath, DataPath, command_group, place
from gateway.cli.remote import connect
from gateway.cli.render import moment, note, show, table
from gateway.cli.words import clean
from gateway.core.json import JsonObject, json_list, json_object, json_text

app = command_group("Search, list and forget what agents remember.")

Name = Annotated[str, typer.Argument(help="The memory's name.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)]


@app.command()
def search(
    name: Name,
    query: Annotated[str, typer.Argument(help="Words to look for.", show_default=False)],
    limit: Limit = 20,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Entries that have to do with some words, the best first."""
    with connect(place(config, data)) as remote:
        said = remote.get("memory", name, query={"query": query, "limit": limit})
    show(said, lambda: _entries(said), as_json=as_json)


@app.command("list")
def list_memory(
    name: Annotated[str, typer.Argument(help="The memory's name; by default all are named.")] = "",
    limit: Limit = 20,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """The memories there are; or the entries of one, newest first."""
    with connect(place(config, data)) as remote:
        said = remote.get("memory", name, query={"limit": limit}) if name else remote.get("memory")
    show(said, lambda: _entries(said) if name else _names(said), as_json=as_json)


@app.command()
def forget(
    name: Name,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of entries.", show_default=False)] = None,
    older_than: Annotated[str, typer.Option("--older-than", help="Entries older than 12h, 30d, 4w.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Every entry.")] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Take entries away: some by their ids, those that are old, or all."""
    if sum(map(bool, (ids, older_than, everything))) != 1:
        raise Failure("say which entries", "Give ids, --older-than 30d, or --all.", code=USAGE)
    body: JsonObject = {"ids": [*ids]} if ids else {"older_than_s": seconds_from(older_than) if older_than else 0}
    with connect(place(config, data)) as remote:
        said = remote.post("memory", name, "forget", body=body)
    if as_json:
        show(said, lambda: "", as_json=True)
    else:
        note(f"forgotten: {said.get('forgotten')} of {name}")


def _names(said: JsonObject) -> RenderableType:
    found = [json_object(each) for each in json_list(said.get("memories"))]
    return table(
        ("MEMORY", "ENTRIES"),
        [(each.get("name"), each.get("entries")) for each in found],
        empty="No workflow has a memory. Give one `memory: NAME` in gateway.yaml.",
    )


def _entries(said: JsonObject) -> RenderableType:
    found = [json_object(each) for each in json_list(said.get("entries"))]
    return table(
        ("ENTRY", "FROM", "BY", "TAGS", "TEXT"),
        [
            (
                each.get("id"),
                moment(each.get("at")),
                each.get("agent"),
                " ".join(map(str, json_list(each.get("tags")))),
                clean(json_text(each.get("text"))),
            )
            for each in found
        ],
        empty="Nothing is remembered here.",
    )
