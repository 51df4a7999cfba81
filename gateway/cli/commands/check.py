"""`drawbridge check`: is the configuration right? Offline, and without starting anything."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.failure import FINDING
from gateway.cli.offline import problems_of
from gateway.cli.options import AsJson, ConfigPath, place, single_command
from gateway.cli.render import clean, say, show
from gateway.core.json import Json, JsonObject, json_list, json_text

app = single_command()


@app.command()
def check(
    path: Annotated[Path | None, typer.Argument(help="The file; by default gateway.yaml.", show_default=False)] = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
) -> None:
    """Check a configuration; every problem with its place and what may have been meant."""
    at = place(path or config, None)
    problems = problems_of(at)
    listed: list[Json] = [*problems]
    if as_json:
        show({"file": str(at.config), "valid": not problems, "problems": listed}, lambda: "", as_json=True)
    elif not problems:
        say(f"{at.config.name} is right.")
    for problem in [] if as_json else problems:
        say(_line(at.config, problem))
        for suggestion in json_list(problem.get("suggestions")):
            say(f"    did you mean {clean(json_text(suggestion))}?")
    if problems:
        raise typer.Exit(FINDING)


def _line(file: Path, problem: JsonObject) -> str:
    place_of = ":".join(str(problem[name]) for name in ("line", "column") if problem.get(name))
    where = f"{file}:{place_of}" if place_of else str(file)
    path = json_text(problem.get("path"))
    return clean(f"{where}: {f'{path}: ' if path else ''}{json_text(problem.get('message'))}")
