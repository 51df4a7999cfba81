"""`drawbridge audit`: who called what, on whose behalf, and which rule decided. Reads the log where it lies; to
erase from it, the running gateway is asked, which records who did."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import typer
from rich.console import Group

from adapters.storage.audit.export import jsonl_of, ocsf_jsonl_of
from adapters.storage.audit.keys import load_audit_keys
from adapters.storage.audit.reader import AuditReader, Query
from adapters.storage.audit.verify import verify as verify_log
from gateway.cli.audit_views import record_details, record_line, verification
from gateway.cli.failure import FINDING, USAGE, Failure
from gateway.cli.moments import rfc3339_from, us_from
from gateway.cli.options import AsJson, ConfigPath, DataPath, command_group, place
from gateway.cli.remote import connect
from gateway.cli.render import note, progress, say, show, show_line
from gateway.core.json import Json, JsonObject

app = command_group("Read, verify, export and erase from the audit log.")

Subject = Annotated[str, typer.Option("--as", help="Only what this principal called, or was called on its behalf.")]
Call = Annotated[str, typer.Option("--call", help="Only these capabilities, as a glob: tool:orders/*.")]
Outcome = Annotated[str, typer.Option("--outcome", help="ok, error, denied, canceled, input_required or accepted.")]
RunId = Annotated[str, typer.Option("--run", help="Only calls of this run.")]
Label = Annotated[str, typer.Option("--label", help="Only records with this label, as a glob: server:web, chaos:*.")]
Since = Annotated[str, typer.Option("--since", help="From this time on: RFC 3339, or an age such as 2h.")]
Until = Annotated[str, typer.Option("--until", help="Before this time: RFC 3339, or an age such as 2h.")]
Format = Annotated[Literal["jsonl", "ocsf"], typer.Option("--format", help="Records as they are, or OCSF events.")]


@app.command()
def tail(
    number: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many records to begin with.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as records come in.")] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """The latest records."""
    reader = AuditReader(place(config, data).data.audit_db)
    last = 0
    for entry in reader.tail(number, tenant=None):
        last = entry.seq
        _print(entry.to_json(), as_json=as_json)
    if follow:
        for entry in reader.follow(Query(tenant=None, after=last)):
            _print(entry.to_json(), as_json=as_json)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="Words to look for.", show_default=False)] = "",
    subject: Subject = "",
    call: Call = "",
    outcome: Outcome = "",
    run_id: RunId = "",
    label: Label = "",
    since: Since = "",
    until: Until = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 50,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Records that fit all that is given."""
    query = Query(
        tenant=None,
        subject=subject,
        capability=call,
        outcome=outcome,
        run_id=run_id,
        label=label,
        since_us=us_from(since),
        until_us=us_from(until),
        text=text,
        limit=limit,
    )
    found = [entry.to_json() for entry in AuditReader(place(config, data).data.audit_db).search(query)]
    if as_json:
        show({"records": [*found]}, lambda: "", as_json=True)
        return
    for record in found:
        say(record_line(record))
    if not found:
        note("No record fits.")


@app.command()
def erase(
    text: Annotated[str, typer.Argument(help="Words that stand in the record.", show_default=False)] = "",
    subject: Subject = "",
    call: Call = "",
    outcome: Outcome = "",
    run_id: RunId = "",
    label: Label = "",
    since: Since = "",
    until: Until = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Erase what is kept of what was said in the records that fit all that is given; the records stay."""
    chosen: JsonObject = {
        "text": text,
        "subject": subject,
        "call": call,
        "outcome": outcome,
        "run": run_id,
        "label": label,
        "since": rfc3339_from(us_from(since)) if since else "",
        "until": rfc3339_from(us_from(until)) if until else "",
    }
    chosen = {name: said for name, said in chosen.items() if said}
    if not chosen:
        raise Failure(
            "say which records", "Such as --as ben, --run ID, --call 'tool:orders/*', --until 30d.", code=USAGE
        )
    with connect(place(config, data)) as remote:
        kept = remote.post("audit", "erase", body={**chosen, "count_only": True}).get("kept")
        if kept and not yes and not typer.confirm(f"Erase {_bodies(kept)} for good?", err=True):
            raise typer.Exit(FINDING)
        erased = remote.post("audit", "erase", body=chosen).get("erased") if kept else 0
    if as_json:
        show({"erased": erased}, lambda: "", as_json=True)
    else:
        note(f"{_bodies(erased)} erased" if erased else "Nothing is kept of what was said there.")


def _bodies(count: Json) -> str:
    return "1 body" if count == 1 else f"{count} bodies"


@app.command("show")
def show_record(
    record: Annotated[str, typer.Argument(help="The record's id, as a denial names it.", show_default=False)],
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """One call: what was intended, what became of it, which rule decided, and what was said where that is kept."""
    reader = AuditReader(place(config, data).data.audit_db)
    found = [each.to_json() for each in reader.show(record, tenant=None)]
    if not found:
        raise Failure(f"there is no record {record}", "`drawbridge audit search` finds records.")
    show({"records": [*found]}, lambda: Group(*map(record_details, found)), as_json=as_json)


@app.command()
def verify(
    path: Annotated[
        Path | None, typer.Argument(help="An audit.db; by default the gateway's.", show_default=False)
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", help="Checkpoints that were exported to a safe place.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Prove, offline, that no record was changed or removed; exits with 1 when one was."""
    at = place(config, data)
    # Another gateway's log has other keys; the ones here would call all of it forged.
    keys = load_audit_keys(at.data.keys) if path is None else None
    with progress("reading the whole log"):
        report = verify_log(
            path or at.data.audit_db,
            public_key=keys.public if keys is not None else None,
            digest_key=keys.digest if keys is not None else None,
            export=checkpoints,
        )
    show(report.to_json(), lambda: verification(report), as_json=as_json)
    if not report.ok:
        raise typer.Exit(FINDING)


@app.command()
def export(
    to: Annotated[Path | None, typer.Option("--to", help="File to write; by default stdout.")] = None,
    form: Format = "jsonl",
    since: Since = "",
    until: Until = "",
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """All records, one a line, oldest first."""
    reader = AuditReader(place(config, data).data.audit_db)
    query = Query(tenant=None, since_us=us_from(since), until_us=us_from(until))
    count = 0
    with ExitStack() as stack:
        file: BinaryIO = sys.stdout.buffer if to is None else stack.enter_context(to.open("wb"))
        stack.enter_context(progress("exporting"))
        for line in _lines(reader, query, form):
            file.write(line)
            count += 1
    if to is None or not as_json:
        note(f"{count} records")
    else:
        said: dict[str, Json] = {"file": str(to), "records": count}
        show(said, lambda: "", as_json=True)


def _lines(reader: AuditReader, query: Query, form: Literal["jsonl", "ocsf"]) -> Iterator[bytes]:
    line_of = jsonl_of if form == "jsonl" else ocsf_jsonl_of
    return (line_of(entry) for entry in reader.entries(query))


def _print(record: JsonObject, *, as_json: bool) -> None:
    if as_json:
        show_line(record)
    else:
        say(record_line(record))
