"""`drawbridge serve`: run the gateway in the foreground."""

from typing import Annotated

import typer

from gateway.app import ServeOptions
from gateway.app import serve as serve_gateway
from gateway.cli.commands.check import check as check_only
from gateway.cli.failure import USAGE, Failure
from gateway.cli.options import AsJson, ConfigPath, DataPath, place, single_command

app = single_command()


@app.command()
def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on; by default what the file says.")] = "",
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check the configuration.")] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Run the gateway until it is told to stop."""
    at = place(config, data)
    if not at.config.is_file():
        raise Failure(
            f"there is no {at.config}", "Write one with `drawbridge init`, or name it with --config.", code=USAGE
        )
    if check:
        check_only(path=at.config, as_json=as_json)
        return
    raise typer.Exit(serve_gateway(ServeOptions(config=at.config, data=at.data.root, host=host, port=port)))
