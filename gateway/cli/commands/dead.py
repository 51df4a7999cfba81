"""`drawbridge dead`: runs that did not come to a good end, looked at, retried, let go."""

from typing import Annotated

import typer

from gateway.cli.options import AsJson, ConfigPath, DataPath, command_group, place
from gateway.cli.remote import connect
from gateway.cli.render import moment, note, say_fields, show, state, table
from gateway.cli.words import clean
from gateway.core.json import JsonObject, json_list, json_object, json_text

app = command_group("List, show, retry and drop runs that did not come to a good end.")

RunId = Annotated[str, typer.Argument(help="The run's id.", show_default=False)]


@app.command("list")
def list_letters(
    workflow: Annotated[str, typer.Option("--workflow", help="Only runs of this workflow.")] = "",
    settled: Annotated[bool, typer.Option("--settled", help="Those that were retried or dropped as well.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 50,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Dead letters, newest first."""
    query: dict[str, str | int] = {"workflow": workflow, "limit": limit, "settled": "true" if settled else ""}
    with connect(place(config, data)) as remote:
        said = remote.get("dead-letters", query=query)
    letters = [json_object(each) for each in json_list(said.get("deadLetters"))]
    show(
        said,
        lambda: table(
            ("RUN", "WORKFLOW", "CAUSE", "STATE", "WHERE IT BEGAN", "ATTEMPTS", "AT", "WHY"),
            [
                (
                    each.get("run"),
                    each.get("workflow"),
                    each.get("cause"),
                    state(each.get("state")),
                    each.get("target"),
                    each.get("attempts"),
                    moment(each.get("at")),
                    clean(json_text(each.get("reason"))),
                )
                for each in letters
            ],
            empty="No dead letters.",
        ),
        as_json=as_json,
    )


@app.command("show")
def show_letter(run_id: RunId, as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """One dead letter with everything about it."""
    with connect(place(config, data)) as remote:
        letter = json_object(remote.get("dead-letters", run_id).get("deadLetter"))
    _tell(letter, as_json=as_json)


@app.command()
def retry(run_id: RunId, as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """Let the run go on, or a new one in its place, behind the last finished step; effects stay once."""
    letter = _settled(run_id, "retry", config, data)
    if as_json:
        _tell(letter, as_json=True)
    else:
        note(f"{run_id} goes on as {json_text(letter.get('retriedAs'))}")


@app.command()
def drop(run_id: RunId, as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """Let it go: somebody has seen it."""
    letter = _settled(run_id, "drop", config, data)
    if as_json:
        _tell(letter, as_json=True)
    else:
        note(f"{run_id} is dropped")


def _settled(run_id: str, verb: str, config: ConfigPath, data: DataPath) -> JsonObject:
    with connect(place(config, data)) as remote:
        return json_object(remote.post("dead-letters", run_id, verb).get("deadLetter"))


def _tell(letter: JsonObject, *, as_json: bool) -> None:
    if as_json:
        show(letter, lambda: "", as_json=True)
        return
    say_fields(letter)
