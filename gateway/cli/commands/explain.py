"""`drawbridge explain`: which rule decides a call, and what would have to change. Offline unless told otherwise."""

from typing import Annotated

import orjson
import typer

from gateway.cli.explanations import explanation
from gateway.cli.failure import FINDING, USAGE, Failure
from gateway.cli.offline import explain_offline
from gateway.cli.options import AsJson, ConfigPath, DataPath, place, single_command
from gateway.cli.remote import connect
from gateway.cli.render import show
from gateway.core.json import Json, JsonObject

app = single_command()


@app.command()
def explain(
    as_whom: Annotated[str, typer.Option("--as", help="Who would call.", show_default=False)],
    call: Annotated[str, typer.Option("--call", help="What, such as tool:orders/refund.", show_default=False)],
    args: Annotated[str, typer.Option("--args", help="The arguments, as a JSON object.")] = "",
    online: Annotated[
        bool, typer.Option("--online", help="Ask the running gateway, which knows tags and keys.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Say whether a call would be allowed, by which rule, and what would turn it round; exits with 1 if not."""
    arguments = _arguments(args)
    at = place(config, data)
    if online:
        with connect(at) as remote:
            said = remote.get("explain", query={"as": as_whom, "call": call, "args": args})
    else:
        said = explain_offline(at, as_whom, call, arguments)
    show(said, lambda: explanation(said, as_whom), as_json=as_json)
    if said.get("decision") != "allow":
        raise typer.Exit(FINDING)


def _arguments(text: str) -> "JsonObject | None":
    if not text:
        return None
    try:
        said: Json = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Failure("--args is not JSON", """Write it as --args '{"amount": 50}'.""", code=USAGE) from error
    if not isinstance(said, dict):
        raise Failure("--args is not a JSON object", code=USAGE)
    return said
