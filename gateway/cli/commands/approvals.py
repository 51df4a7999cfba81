"""`drawbridge approvals`: what runs ask people, and the answers."""

import json
from typing import Annotated

import typer

from gateway.cli.failure import USAGE, Failure
from gateway.cli.options import AsJson, ConfigPath, DataPath, command_group, place
from gateway.cli.remote import connect
from gateway.cli.render import moment, note, say_fields, show, state, table
from gateway.cli.words import clean
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

app = command_group("List, show, approve and deny what waits for a person.")

ApprovalId = Annotated[str, typer.Argument(help="The approval's id.", show_default=False)]
Comment = Annotated[str, typer.Option("--comment", help="Kept with the answer.")]


@app.command("list")
def list_approvals(
    state_: Annotated[str, typer.Option("--state", help="pending, approved, denied, expired, withdrawn; or all.")] = (
        "pending"
    ),
    run: Annotated[str, typer.Option("--run", help="Only of this run.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 50,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Questions, newest first; those that wait, unless told otherwise."""
    wanted = "" if state_ == "all" else state_
    with connect(place(config, data)) as remote:
        said = remote.get("approvals", query={"state": wanted, "run": run, "limit": limit})
    found = [json_object(each) for each in json_list(said.get("approvals"))]
    show(
        said,
        lambda: table(
            ("APPROVAL", "WORKFLOW", "STATE", "ROLE", "UNTIL", "QUESTION"),
            [
                (
                    each.get("id"),
                    each.get("workflow"),
                    state(each.get("state")),
                    each.get("role"),
                    moment(each.get("expiresAt")),
                    clean(json_text(each.get("prompt"))),
                )
                for each in found
            ],
            empty="Nothing waits for anybody.",
        ),
        as_json=as_json,
    )


@app.command("show")
def show_approval(
    approval_id: ApprovalId, as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None
) -> None:
    """One question with everything about it."""
    with connect(place(config, data)) as remote:
        found = json_object(remote.get("approvals", approval_id).get("approval"))
    if as_json:
        show(found, lambda: "", as_json=True)
        return
    say_fields(found)


@app.command()
def approve(
    approval_id: ApprovalId,
    value: Annotated[str, typer.Option("--value", help="JSON, where the question wants a value.")] = "",
    comment: Comment = "",
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Agree: the run goes on."""
    body: JsonObject = {"comment": comment}
    if value:
        body["value"] = _json_in(value)
    with connect(place(config, data)) as remote:
        said = json_object(remote.post("approvals", approval_id, "approve", body=body).get("approval"))
    _tell(said, as_json=as_json)


@app.command()
def deny(
    approval_id: ApprovalId,
    comment: Comment = "",
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Disagree: the run learns that, and why."""
    with connect(place(config, data)) as remote:
        said = json_object(remote.post("approvals", approval_id, "deny", body={"comment": comment}).get("approval"))
    _tell(said, as_json=as_json)


def _tell(said: JsonObject, *, as_json: bool) -> None:
    if as_json:
        show(said, lambda: "", as_json=True)
    else:
        note(f"{json_text(said.get('id'))} is {json_text(said.get('state'))}")


def _json_in(text: str) -> Json:
    try:
        value: Json = json.loads(text)
    except ValueError as error:
        raise Failure("--value is no JSON", "Write for example --value '{\"amount\": 10}'.", code=USAGE) from error
    return value
