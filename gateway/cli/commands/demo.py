"""`drawbridge demo`: the story of `examples/support`, which lives in the source tree only."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

import gateway
from gateway.cli.failure import USAGE, Failure
from gateway.cli.options import single_command

app = single_command()

STORY = "examples.support.demo"


@app.command()
def demo(
    crash: Annotated[
        bool, typer.Option("--crash", help="Kill the gateway in the middle, and see the run go on.")
    ] = False,
    fail: Annotated[str, typer.Option("--fail", help="Switch this agent off, for example scheduling.")] = "",
    serve: Annotated[bool, typer.Option("--serve", help="Leave everything running at the end.")] = False,
) -> None:
    """Run the whole story: agents, tools, a conflict, a denial, an audit trail. Needs no model and no network."""
    root = Path(gateway.__file__).parents[1]
    if not (root / Path(*STORY.split("."))).with_suffix(".py").is_file():
        raise Failure(
            "the demo is not part of the installed package",
            "Clone the repository and run `make demo` there.",
            code=USAGE,
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    flags = {"--crash": crash, "--serve": serve}
    arguments = [flag for flag, given in flags.items() if given] + (["--fail", fail] if fail else [])
    raise typer.Exit(import_module(STORY).main(arguments))
