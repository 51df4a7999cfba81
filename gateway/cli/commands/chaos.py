"""`drawbridge chaos`: faults in a running gateway, to see what becomes of them."""

from typing import Annotated

import typer

from gateway.cli.chaos_views import spread
from gateway.cli.moments import seconds_from
from gateway.cli.options import AsJson, ConfigPath, DataPath, command_group, place
from gateway.cli.remote import connect
from gateway.cli.render import moment, note, say, show, table
from gateway.core.json import JsonObject, json_list, json_object, json_text

app = command_group("Inject faults into a running gateway that allows it (gateway.chaos).")


@app.command()
def add(
    target: Annotated[
        str, typer.Option("--target", help="What is to fail: agent:refunds, or a glob such as tool:orders/*.")
    ],
    fault: Annotated[
        str,
        typer.Option(
            "--fault",
            help="delay=2s, kill, error[=TEXT], malformed, empty, wrong_schema, falsehood={JSON merge patch} or "
            "falsehood=OLD=>NEW.",
        ),
    ],
    share: Annotated[float, typer.Option("--share", help="Of the calls, above 0 up to 1.")] = 1.0,
    for_span: Annotated[str, typer.Option("--for", help="How long, such as 10m; it ends by itself.")] = "10m",
    seed: Annotated[int, typer.Option("--seed", help="The same seed strikes the same calls again.")] = 0,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Inject a fault into calls of your tenant. Each call it strikes says so in its record."""
    order: JsonObject = {
        "target": target,
        "fault": fault,
        "share": share,
        "for_s": seconds_from(for_span),
        "seed": seed,
    }
    with connect(place(config, data)) as remote:
        said = json_object(remote.post("chaos", body=order).get("injection"))
    if as_json:
        show(said, lambda: "", as_json=True)
        return
    note(f"{json_text(said.get('fault'))} at {target} until {moment(said.get('until'))}")
    say(json_text(said.get("id")))


@app.command("list")
def list_injections(as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """What is injected now, and how often it struck."""
    with connect(place(config, data)) as remote:
        said = remote.get("chaos")
    injections = [json_object(each) for each in json_list(said.get("injections"))]
    show(
        said,
        lambda: table(
            ("ID", "TARGET", "FAULT", "SHARE", "STRUCK", "OF CALLS", "UNTIL", "BY"),
            [
                (
                    each.get("id"),
                    each.get("target"),
                    each.get("fault"),
                    each.get("share"),
                    each.get("struck"),
                    each.get("calls"),
                    moment(each.get("until")),
                    each.get("by"),
                )
                for each in injections
            ],
            empty="No fault is injected.",
        ),
        as_json=as_json,
    )


@app.command()
def report(
    injection_id: Annotated[
        str, typer.Argument(help="The injection's id, as `chaos add` said it.", show_default=False)
    ],
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Which calls it struck, how far that spread, and what stopped it; also once it has ended."""
    with connect(place(config, data)) as remote:
        said = json_object(remote.get("chaos", injection_id, "report").get("report"))
    show(said, lambda: spread(said), as_json=as_json)


@app.command()
def remove(
    injection_id: Annotated[str, typer.Argument(help="The injection's id, as `chaos list` shows it.")],
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """End an injection at once."""
    with connect(place(config, data)) as remote:
        remote.delete("chaos", injection_id)
    if as_json:
        show({"removed": injection_id}, lambda: "", as_json=True)
    else:
        note(f"{injection_id} strikes no more")
