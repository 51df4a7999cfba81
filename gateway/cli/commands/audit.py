"""`drawbridge audit`: who called what, on whose behalf, and which rule decided."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, TextIO

import orjson
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.commands.keys import seconds_from
from gateway.cli.failure import FINDING
from gateway.cli.offline import verify_audit
from gateway.cli.options import AsJson, ConfigPath, DataPath, command_group, place
from gateway.cli.remote import Remote, connect
from gateway.cli.render import cell, clean, duration, facts, moment, note, progress, say, show, show_line, state
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

app = command_group("Read, verify and export the audit log.")

_POLL_S = 1.0
_PAGE = 1000

Subject = Annotated[str, typer.Option("--as", help="Only calls of this principal.")]
Call = Annotated[str, typer.Option("--call", help="Only these capabilities, as a glob: tool:orders/*.")]
Outcome = Annotated[str, typer.Option("--outcome", help="ok, error, denied, canceled, input_required or accepted.")]
RunId = Annotated[str, typer.Option("--run", help="Only calls of this run.")]
Since = Annotated[str, typer.Option("--since", help="From this time on: RFC 3339, or an age such as 2h.")]
Until = Annotated[str, typer.Option("--until", help="Up to this time: RFC 3339, or an age such as 2h.")]


@app.command()
def tail(
    number: Annotated[int, typer.Option("-n", min=1, max=_PAGE, help="How many records to begin with.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as records come in.")] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """The latest records."""
    with connect(place(config, data)) as remote:
        after = 0
        for record in _search(remote, {"limit": number}):
            after = max(after, _sequence(record))
            _print_line(record, as_json=as_json)
        while follow:
            time.sleep(_POLL_S)
            for record in _search(remote, {"after": after, "limit": _PAGE}):
                after = max(after, _sequence(record))
                _print_line(record, as_json=as_json)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="Words to look for.", show_default=False)] = "",
    subject: Subject = "",
    call: Call = "",
    outcome: Outcome = "",
    run_id: RunId = "",
    since: Since = "",
    until: Until = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=_PAGE)] = 50,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Records that fit all that is given."""
    query: dict[str, str | int] = {
        "text": text,
        "subject": subject,
        "call": call,
        "outcome": outcome,
        "run": run_id,
        "since": moment_from(since),
        "until": moment_from(until),
        "limit": limit,
    }
    with connect(place(config, data)) as remote:
        found = _search(remote, query)
    if as_json:
        show({"records": [*found]}, lambda: "", as_json=True)
        return
    for record in found:
        _print_line(record, as_json=False)
    if not found:
        note("No record fits.")


@app.command("show")
def show_record(
    record: Annotated[str, typer.Argument(help="The record's id, as a denial names it.", show_default=False)],
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """One call: what was intended, what became of it, which rule decided."""
    with connect(place(config, data)) as remote:
        said = remote.get("audit", record)
    records = [json_object(each) for each in json_list(said.get("records"))]
    show(said, lambda: Group(*(_details(each) for each in records)), as_json=as_json)


@app.command()
def verify(
    path: Annotated[
        Path | None, typer.Argument(help="The audit.db; by default the gateway's.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Prove, offline, that no record was changed or removed; exits with 1 when one was."""
    at = place(config, data)
    with progress("reading the whole log"):
        said = verify_audit(path or at.data.audit_db, at)
    show(said, lambda: _verification(said), as_json=as_json)
    if said.get("intact") is not True:
        raise typer.Exit(FINDING)


@app.command()
def export(
    to: Annotated[Path | None, typer.Option("--to", help="File to write; by default stdout.")] = None,
    since: Since = "",
    until: Until = "",
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """All records as JSON Lines, oldest first."""
    count = 0
    with ExitStack() as stack:
        remote = stack.enter_context(connect(place(config, data)))
        file: TextIO = sys.stdout if to is None else stack.enter_context(to.open("w", encoding="utf-8"))
        stack.enter_context(progress("exporting"))
        for record in _pages(remote, moment_from(since), moment_from(until)):
            file.write(orjson.dumps(record).decode() + "\n")
            count += 1
    if to is None or not as_json:
        note(f"{count} records")
    else:
        show({"file": str(to), "records": count}, lambda: "", as_json=True)


def moment_from(text: str, now: datetime | None = None) -> str:
    """An RFC 3339 time from one, or from an age such as `2h`. Raises: Failure: it is neither."""
    if not text or "T" in text:
        return text
    past = (now or datetime.now(UTC)) - timedelta(seconds=seconds_from(text))
    return past.isoformat(timespec="seconds").replace("+00:00", "Z")


def _pages(remote: Remote, since: str, until: str) -> Iterator[JsonObject]:
    after = 0
    while True:
        page = _search(remote, {"since": since, "until": until, "limit": _PAGE, "after": after})
        yield from page
        if len(page) < _PAGE:
            return
        after = _sequence(page[-1])


def _search(remote: Remote, query: dict[str, str | int]) -> list[JsonObject]:
    return [json_object(each) for each in json_list(remote.get("audit", query=query).get("records"))]


def _sequence(record: JsonObject) -> int:
    seq = record.get("seq")
    return seq if isinstance(seq, int) else 0


def _print_line(record: JsonObject, *, as_json: bool) -> None:
    if as_json:
        show_line(record)
        return
    outcome = json_text(record.get("outcome")) or json_text(record.get("phase"))
    rule = json_text(record.get("rule"))
    reason = json_text(record.get("reason"))
    say(
        Text.assemble(
            (f"{moment(record.get('at'))}  ", "dim"),
            state(outcome),
            f"  {clean(_who(record))}  ",
            cell(record.get("capability") or record.get("operation")),
            f"  {duration(record.get('duration_us'))}" if record.get("duration_us") else "",
            f"  {clean(rule)}" if rule else "",
            f": {clean(reason)}" if reason else "",
            (f"  {clean(json_text(record.get('id')))}", "dim"),
        )
    )


def _who(record: JsonObject) -> str:
    """The chain of actors, from whoever started it to whoever called."""
    chain = [json_text(each) for each in json_list(record.get("actors"))]
    return " > ".join(chain) or json_text(record.get("subject")) or "nobody known"


def _details(record: JsonObject) -> RenderableType:
    usage, labels = json_object(record.get("usage")), json_object(record.get("labels"))
    return facts(
        [
            ("record", f"{json_text(record.get('id'))} ({json_text(record.get('phase'))})"),
            ("at", record.get("at")),
            ("who", _who(record)),
            ("roles", record.get("roles")),
            ("what", f"{json_text(record.get('operation'))} {json_text(record.get('capability'))}"),
            ("by", record.get("protocol")),
            ("outcome", state(record.get("outcome"))),
            ("decided by", f"{json_text(record.get('policy'))} {json_text(record.get('rule'))}".strip()),
            ("because", record.get("reason")),
            ("took", duration(record.get("duration_us"))),
            ("labels", [f"{name}: {values}" for name, values in labels.items()]),
            ("usage", [f"{value} {name}" for name, value in usage.items()]),
            ("run", record.get("run_id")),
            ("step", record.get("step_id")),
            ("caused by", record.get("parent_id")),
            ("rules version", record.get("snapshot")),
            ("request", _body(record, "request")),
            ("result", _body(record, "result")),
            ("detail", _compact(record.get("detail"))),
            ("", " "),
        ]
    )


def _body(record: JsonObject, which: str) -> str:
    digest = json_text(record.get(f"{which}_digest"))
    return f"{record.get(f'{which}_bytes')} bytes, {digest}" if digest else ""


def _compact(value: Json) -> str:
    return orjson.dumps(value).decode() if value else ""


def _verification(said: JsonObject) -> RenderableType:
    intact = said.get("intact") is True
    return facts(
        [
            ("audit log", Text("intact", "green") if intact else Text("NOT intact", "red")),
            ("records", said.get("records")),
            ("checkpoints", said.get("checkpoints")),
            ("problem", said.get("problem")),
        ]
    )
