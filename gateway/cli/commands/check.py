"""`drawbridge check`: is the configuration right? Offline, and without starting anything."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.failure import FINDING
from gateway.cli.offline import problems_of
from gateway.cli.options import AsJson, ConfigPath, place, single_command
from gateway.cli.render import say, show
from gateway.cli.words import clean
from gateway.core.json import Json

app = single_command()


@app.command()
def check(
    path: Annotated[Path | None, typer.Argument(help="The file; by default gateway.yaml.", show_default=False)] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="A former configuration: warn of consumers a change of schemas breaks."),
    ] = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
) -> None:
    """Check a configuration; every problem with its place and what may have been meant."""
    at = place(path or config, None)
    problems = problems_of(at, against)
    wrong = any(each.severity == "error" for each in problems)
    if as_json:
        listed: list[Json] = [each.to_json() for each in problems]
        show({"file": str(at.config), "valid": not wrong, "problems": listed}, lambda: "", as_json=True)
    else:
        for each in problems:
            say(clean(str(each)))
        if not wrong:
            say(f"{at.config.name} is right.")
    if wrong:
        raise typer.Exit(FINDING)
