"""`drawbridge tokens`: accounts that people connected at servers, for the gateway to use on their behalf.

And the clients it registered itself as, to be able to.
"""

from typing import Annotated

import typer

from gateway.cli.options import AsJson, ConfigPath, DataPath, command_group, place
from gateway.cli.remote import connect as connect_to
from gateway.cli.render import moment, note, say, show, table
from gateway.core.json import json_list, json_object, json_text

app = command_group("List, connect and revoke accounts at servers with `auth.kind: user`.")

Server = Annotated[str, typer.Argument(help="The server, by its name in the configuration.", show_default=False)]
Subject = Annotated[str, typer.Option("--as", help="Whose account.", show_default=False)]


@app.command("list")
def list_tokens(as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """Who has connected an account where; no token is shown."""
    with connect_to(place(config, data)) as remote:
        said = remote.get("accounts")
    found = [json_object(each) for each in json_list(said.get("accounts"))]
    show(
        said,
        lambda: table(
            ("SERVER", "SUBJECT", "SCOPE", "CONNECTED", "RENEWED"),
            [
                (
                    each.get("server"),
                    each.get("subject"),
                    each.get("scope"),
                    moment(each.get("connectedAt")),
                    moment(each.get("renewedAt")),
                )
                for each in found
            ],
            empty="Nobody has connected an account yet.",
        ),
        as_json=as_json,
    )


@app.command()
def connect(
    server: Server, subject: Subject, as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None
) -> None:
    """Print the address at which a person connects their account; give it to nobody else."""
    with connect_to(place(config, data)) as remote:
        said = remote.post("accounts", body={"server": server, "subject": subject})
    if as_json:
        show(said, lambda: "", as_json=True)
        return
    note(f"For {subject} alone, within ten minutes:")
    say(json_text(said.get("url")))


@app.command()
def revoke(
    server: Server, subject: Subject, as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None
) -> None:
    """Forget the tokens of somebody's account; the server may still know them."""
    with connect_to(place(config, data)) as remote:
        remote.delete("accounts", server, subject)
    if as_json:
        show({"revoked": {"server": server, "subject": subject}}, lambda: "", as_json=True)
    else:
        note(f"the account of {subject} at {server} is no longer used")


@app.command()
def registrations(as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """Issuers at which the gateway registered itself, also for servers that are gone."""
    with connect_to(place(config, data)) as remote:
        said = remote.get("registrations")
    found = [json_object(each) for each in json_list(said.get("registrations"))]
    show(
        said,
        lambda: table(
            ("SERVER", "ISSUER", "REGISTERED"),
            [(each.get("server"), each.get("issuer"), moment(each.get("registeredAt"))) for each in found],
            empty="The gateway has registered itself nowhere.",
        ),
        as_json=as_json,
    )


@app.command()
def reregister(server: Server, as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """Forget what the issuers of a server registered the gateway as; it registers anew when it is next needed."""
    with connect_to(place(config, data)) as remote:
        remote.delete("registrations", server)
    if as_json:
        show({"forgotten": {"server": server}}, lambda: "", as_json=True)
    else:
        note(f"the gateway registers anew for {server}; people may have to connect their accounts there again")
