"""`drawbridge explain`: which rule decides a call, and what would have to change. Offline unless told otherwise."""

from typing import Annotated

import orjson
import typer
from rich.console import RenderableType
from rich.text import Text

from gateway.cli.failure import FINDING, USAGE, Failure
from gateway.cli.offline import explain_offline
from gateway.cli.options import AsJson, ConfigPath, DataPath, place, single_command
from gateway.cli.remote import connect
from gateway.cli.render import facts, note, show
from gateway.core.json import Json, JsonObject, json_text

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
    """Say whether a call would be allowed, by which rule, and what would have to change; exits with 1 for a denial."""
    arguments = _arguments(args)
    at = place(config, data)
    if online:
        with connect(at) as remote:
            said = remote.get("explain", query={"as": as_whom, "call": call, "args": args})
    else:
        said = explain_offline(at, as_whom, call, arguments)
    show(said, lambda: _view(said, as_whom, call), as_json=as_json)
    if not online and not as_json:
        note("Judged by the file alone: what upstreams offer and keys that were minted are known with --online.")
    if said.get("allowed") is not True:
        raise typer.Exit(FINDING)


def _view(said: JsonObject, as_whom: str, call: str) -> RenderableType:
    allowed = said.get("allowed") is True
    file, line = json_text(said.get("file")), said.get("line")
    return facts(
        [
            ("call", f"{as_whom} -> {call}"),
            ("verdict", Text("allowed", "green") if allowed else Text("denied", "red")),
            ("because", said.get("reason")),
            ("rule", f"{json_text(said.get('policy'))} {json_text(said.get('rule'))}".strip()),
            ("at", f"{file}:{line}" if file and line else file),
            ("to change it", said.get("change")),
        ]
    )


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
