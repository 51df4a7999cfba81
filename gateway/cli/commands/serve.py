"""`drawbridge serve`: run the gateway in the foreground."""

import sys
from typing import Annotated

import typer

from gateway.app.serve import Ready, ServeOptions
from gateway.app.serve import serve as serve_gateway
from gateway.cli.commands.check import check as check_only
from gateway.cli.failure import USAGE, Failure
from gateway.cli.logs import configure_logs
from gateway.cli.options import AsJson, ConfigPath, DataPath, Place, place, single_command
from gateway.cli.render import note, show_line
from gateway.core.json import Json

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
    """Run the gateway until it is told to stop. SIGHUP, or a change of the file, reads the configuration again."""
    at = place(config, data)
    if not at.config.is_file():
        raise Failure(
            f"there is no {at.config}", "Write one with `drawbridge init`, or name it with --config.", code=USAGE
        )
    if check:
        check_only(path=at.config, as_json=as_json)
        return

    configure_logs()

    def ready(said: Ready) -> None:
        _tell(said, at, as_json=as_json)

    serve_gateway(ServeOptions(config=at.config, data=at.data, host=host or None, port=port, on_ready=ready))


def _tell(ready: Ready, at: Place, *, as_json: bool) -> None:
    if as_json:
        gaps: dict[str, Json] = {**ready.gaps}
        show_line({"url": ready.address, "mcp": f"{ready.address}/mcp", "data": str(at.data.root), "gaps": gaps})
        return
    note(f"Drawbridge answers at {ready.address} (MCP at {ready.address}/mcp).")
    if ready.operator.created and sys.stderr.isatty():
        note(f"The operator key is {ready.operator.key.reveal()}; it is kept in {at.data.operator_key}.")
    for owner, reason in ready.gaps.items():
        note(f"{owner} is missing: {reason}")
    note("`drawbridge connect claude-code` connects a client; Ctrl-C stops.")
