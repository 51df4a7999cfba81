"""`drawbridge runs`: orchestrated runs, looked into, followed and steered."""

from enum import StrEnum
from functools import partial
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.failure import FINDING, USAGE, Failure
from gateway.cli.moments import rfc3339_from, us_from
from gateway.cli.options import AsJson, ConfigPath, DataPath, command_group, place
from gateway.cli.remote import Remote, connect
from gateway.cli.render import moment, note, say, show, show_line, state, table
from gateway.cli.run_forms import mermaid, run_table, why
from gateway.cli.run_views import Calls, answer_of, calls_by_step, event_line, run_tree
from gateway.cli.words import clean
from gateway.core.json import JsonObject, json_list, json_object, json_text

app = command_group("List, show, watch, pause, resume, fork, cancel and forget runs.")

_MOST_CALLS = 1000

RunId = Annotated[str, typer.Argument(help="The run's id.", show_default=False)]
Last = Annotated[bool, typer.Option("--last", help="The newest run instead of a named one.")]


@app.command("list")
def list_runs(
    workflow: Annotated[str, typer.Option("--workflow", help="Only runs of this workflow.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="Only runs this principal started.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Runs, newest first."""
    with connect(place(config, data)) as remote:
        said = remote.get("runs", query={"workflow": workflow, "owner": owner, "limit": limit})
    runs = [json_object(each) for each in json_list(said.get("runs"))]
    show(
        said,
        lambda: table(
            ("RUN", "WORKFLOW", "STATE", "OWNER", "STARTED"),
            [
                (r.get("id"), r.get("workflow"), state(_shown_state(r)), r.get("owner"), moment(r.get("createdAt")))
                for r in runs
            ],
            empty="No runs yet.",
        ),
        as_json=as_json,
    )


class Form(StrEnum):
    """How a run may be shown."""

    TREE = "tree"
    TABLE = "table"
    MERMAID = "mermaid"


@app.command("show")
def show_run(
    run_id: RunId = "",
    last: Last = False,
    form: Annotated[Form, typer.Option("--form", help="A tree, a table of all attempts, or a Mermaid diagram.")] = (
        Form.TREE
    ),
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """One run: who was called in what order, given what, how long, at what price, where it failed, and why."""
    with connect(place(config, data)) as remote:
        run = _run(remote, run_id, newest=last)
        found = json_text(run.get("id"))
        calls = _calls(remote, found)
        explained = _explanation(remote, found)
    said: JsonObject = {**run, "calls": {step: [*made] for step, made in calls.items()}, "explanation": explained}
    if form is Form.MERMAID and not as_json:
        say(mermaid(explained).rstrip())
        return
    view = partial(run_table, explained) if form is Form.TABLE else partial(_explained, run, calls, explained)
    show(said, view, as_json=as_json)


@app.command()
def watch(
    run_id: RunId = "",
    last: Last = False,
    after: Annotated[int, typer.Option("--after", min=0, help="Go on behind this event.")] = 0,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Follow a run's events until it ends; exits with 1 when it did not complete."""
    with connect(place(config, data)) as remote:
        found = json_text(_run(remote, run_id, newest=last).get("id"))
        ended = ""
        for kind, said in remote.events(found, after):
            if kind == "error":
                raise Failure("the gateway ended the stream: the operator key no longer counts")
            if kind == "end":
                ended = json_text(json_object(said.get("run")).get("state"))
            if as_json:
                show_line(said)
            elif kind != "end":
                say(event_line(said))
        if not as_json:
            last_seen = _whole(_run(remote, found), _calls(remote, found), _explanation(remote, found))
            show(None, lambda: last_seen, as_json=False)
    if ended != "completed":
        raise typer.Exit(FINDING)


@app.command()
def resume(run_id: RunId, as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """Let a paused or stopped run go on from its last finished step."""
    with connect(place(config, data)) as remote:
        _steer(remote, run_id, "resume", as_json=as_json)


@app.command()
def cancel(run_id: RunId, as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """Cancel a run."""
    with connect(place(config, data)) as remote:
        _steer(remote, run_id, "cancel", as_json=as_json)


@app.command()
def pause(run_id: RunId, as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """Let no further step of a run begin; those under way go on, and its clock stands still."""
    with connect(place(config, data)) as remote:
        _steer(remote, run_id, "pause", as_json=as_json)


@app.command()
def fork(
    run_id: RunId,
    step: Annotated[str, typer.Option("--from", help="The step with which to begin anew: its id, or 2/refund.")],
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """A new run that has done everything before a step, and does the rest anew."""
    with connect(place(config, data)) as remote:
        run = json_object(remote.post("runs", run_id, "fork", body={"from": step}).get("run"))
    if as_json:
        show(run, lambda: "", as_json=True)
    else:
        note(f"{run_id} goes on from {step} as {json_text(run.get('id'))}")


@app.command()
def prune(
    before: Annotated[str, typer.Option("--before", help="RFC 3339, or an age such as 30d.")],
    memories: Annotated[bool, typer.Option("--memories", help="Also what agents remembered in them.")] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Forget runs that ended before then, whatever the configuration keeps."""
    ended_before = rfc3339_from(us_from(before))
    with connect(place(config, data)) as remote:
        said = remote.post("runs", "prune", body={"before": ended_before, "memories": memories})
    if as_json:
        show(said, lambda: "", as_json=True)
    else:
        counts = {"runs": "runs", "effects": "effects", "taskOwners": "task owners", "memories": "memories"}
        note(f"forgotten: {', '.join(f'{said.get(name)} {words}' for name, words in counts.items())}")


def _steer(remote: Remote, run_id: str, verb: str, *, as_json: bool) -> None:
    run = json_object(remote.post("runs", run_id, verb).get("run"))
    if as_json:
        show(run, lambda: "", as_json=True)
    else:
        note(f"{run_id} is {_shown_state(run)}")


def _shown_state(run: JsonObject) -> str:
    return "paused" if run.get("pausedAt") else json_text(run.get("state"))


def _run(remote: Remote, run_id: str, *, newest: bool = False) -> JsonObject:
    if newest and run_id:
        raise Failure(f"which run: {clean(run_id)}, or the newest?", "Give its id, or --last.", code=USAGE)
    if newest:
        listed = json_list(remote.get("runs", query={"limit": 1}).get("runs"))
        if not listed:
            raise Failure("no run was started yet")
        run_id = json_text(json_object(listed[0]).get("id"))
    if not run_id:
        raise Failure("which run?", "Give its id, or --last.", code=USAGE)
    return json_object(remote.get("runs", run_id).get("run"))


def _explanation(remote: Remote, run_id: str) -> JsonObject:
    return json_object(remote.get("runs", run_id, "explanation").get("explanation"))


def _calls(remote: Remote, run_id: str) -> Calls:
    said = remote.get("audit", query={"run": run_id, "limit": _MOST_CALLS})
    return calls_by_step(json_object(each) for each in json_list(said.get("records")))


def _explained(run: JsonObject, calls: Calls, explained: JsonObject) -> RenderableType:
    return Group(_whole(run, calls, explained), why(explained))


def _whole(run: JsonObject, calls: Calls, explained: JsonObject) -> RenderableType:
    text = answer_of(run)
    return Group(run_tree(run, calls, explained), Text(f"\n{clean(text)}") if text else Text(""))
