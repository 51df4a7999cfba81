"""`drawbridge mcp`: MCP over stdio for clients that start their servers themselves."""

from functools import partial
from typing import Annotated

import anyio
import typer

from adapters.mcp.stdio_front import StdinLines, relay, write_stdout
from gateway.cli.failure import USAGE, Failure
from gateway.cli.logs import configure_logs
from gateway.cli.options import ConfigPath, DataPath, Place, place, single_command
from gateway.cli.place_contents import client_key_file, listen_url
from gateway.core.limits import Limits

app = single_command()


@app.command()
def mcp(
    client: Annotated[str, typer.Option("--client", help="Whose key to use, as `drawbridge connect` stored it.")],
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Relay MCP between standard input and output and the running gateway; not meant to be typed by hand."""
    configure_logs()
    at = place(config, data)
    limits = Limits()
    url, authorization = _endpoint(at, _key(at, client))
    anyio.run(
        partial(
            relay,
            StdinLines(limits.body_bytes),
            write_stdout,
            endpoint_url=f"{url}/mcp",
            authorization=authorization,
            limits=limits,
        )
    )


def _endpoint(at: Place, key: str) -> tuple[str, str]:
    endpoint = at.data.read_endpoint()
    if endpoint is not None:
        return endpoint.url, f"Bearer {key}"
    # No gateway said that it listens there: whoever does, must not learn the key.
    return listen_url(at), ""


def _key(at: Place, client: str) -> str:
    file = client_key_file(at, client)
    try:
        return file.read_text().strip()
    except FileNotFoundError as error:
        raise Failure(
            f"there is no key for the client {client}", f"Make one: `drawbridge connect {client}`.", code=USAGE
        ) from error
