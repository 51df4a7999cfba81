"""`drawbridge keys`: credentials of clients, agents and operators."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gateway.cli.failure import USAGE, Failure
from gateway.cli.files import refuse_unwritable, write_private
from gateway.cli.moments import seconds_from
from gateway.cli.options import AsJson, ConfigPath, DataPath, Show, command_group, place
from gateway.cli.remote import connect
from gateway.cli.render import may_show_secret, moment, note, say, show, table
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

app = command_group("Mint, list and revoke keys.")


@app.command()
def mint(
    subject: Annotated[str, typer.Argument(help="Whose key it is to be.", show_default=False)],
    role: Annotated[list[str] | None, typer.Option("--role", "-r", help="A role it carries; may be repeated.")] = None,
    kind: Annotated[Literal["client", "agent", "operator"], typer.Option("--kind")] = "client",
    expires: Annotated[
        str, typer.Option("--expires", help="Lifetime such as 12h or 30d; by default it has no end.")
    ] = "",
    remark: Annotated[str, typer.Option("--note", help="What it is for.")] = "",
    to: Annotated[Path | None, typer.Option("--to", help="Write the key into this file, readable by you only.")] = None,
    reveal: Show = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Mint a key. It is shown this once."""
    if to is None and not may_show_secret(anyway=reveal):
        raise Failure(
            "stdout is no terminal, so the key would be lost", "Give --to FILE, or --show to print it.", code=USAGE
        )
    if to is not None:
        refuse_unwritable(to)
    order: JsonObject = {"subject": subject, "roles": [*(role or [])], "kind": kind, "note": remark}
    if expires:
        order["expires_in_s"] = seconds_from(expires)
    with connect(place(config, data)) as remote:
        minted = remote.post("keys", body=order)
    secret = json_text(minted.get("secret"))
    if to is not None:
        write_private(to, secret + "\n")
        minted = {"key": minted.get("key"), "file": str(to)}
    if as_json:
        show(minted, lambda: "", as_json=True)
        return
    note(f"Key {json_text(json_object(minted.get('key')).get('id'))} for {subject}; it is not shown again.")
    say(str(to) if to is not None else secret)


@app.command("list")
def list_keys(as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """Keys without their values."""
    with connect(place(config, data)) as remote:
        said = remote.get("keys")
    keys = [json_object(each) for each in json_list(said.get("keys"))]
    show(
        said,
        lambda: table(
            ("KEY", "SUBJECT", "KIND", "ROLES", "CREATED", "ENDS", "NOTE"),
            [
                (
                    k.get("id"),
                    k.get("subject"),
                    k.get("kind"),
                    k.get("roles"),
                    moment(k.get("createdAt")),
                    _end(k),
                    k.get("note"),
                )
                for k in keys
            ],
            empty="No key was minted yet.",
        ),
        as_json=as_json,
    )


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, as `keys list` shows it.", show_default=False)],
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Revoke a key at once."""
    with connect(place(config, data)) as remote:
        remote.delete("keys", key_id)
    if as_json:
        show({"revoked": key_id}, lambda: "", as_json=True)
    else:
        note(f"{key_id} no longer counts")


def _end(key: JsonObject) -> Json:
    revoked = json_text(key.get("revokedAt"))
    return f"revoked {moment(revoked)}" if revoked else moment(key.get("expiresAt")) or "never"
