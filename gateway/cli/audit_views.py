"""How audit records and their verification look."""

from datetime import UTC, datetime

from rich.console import RenderableType
from rich.text import Text

from adapters.http.shown_json import shown_json
from adapters.storage.audit.verify import VerifyReport
from gateway.cli.render import duration, facts, state, table
from gateway.cli.words import in_line
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text


def record_line(record: JsonObject) -> Text:
    """One record on one line: when, what became of it, who, what, by which rule."""
    rule, reason = json_text(record.get("rule")), json_text(record.get("reason"))
    took = record.get("duration_us")
    return Text.assemble(
        (f"{_moment(record.get('at_us'))}  ", "dim"),
        state(json_text(record.get("outcome")) or json_text(record.get("phase"))),
        f"  {in_line(_who(record))}  ",
        in_line(json_text(record.get("capability")) or json_text(record.get("operation"))),
        f"  {duration(took)}" if took else "",
        f"  {in_line(rule)}" if rule else "",
        f": {in_line(reason)}" if reason else "",
        (f"  {in_line(json_text(record.get('id')))}", "dim"),
    )


def record_details(record: JsonObject) -> RenderableType:
    """Everything one record says."""
    usage, labels = json_object(record.get("usage")), json_object(record.get("labels"))
    return facts(
        [
            ("record", f"{json_text(record.get('id'))} ({json_text(record.get('phase'))})"),
            ("at", _moment(record.get("at_us"))),
            ("who", _who(record)),
            ("roles", record.get("roles")),
            ("what", f"{json_text(record.get('operation'))} {json_text(record.get('capability'))}"),
            ("by", record.get("protocol")),
            ("outcome", state(record.get("outcome"))),
            ("decided by", f"{json_text(record.get('policy'))} {json_text(record.get('rule'))}".strip()),
            ("because", record.get("reason")),
            ("took", duration(record.get("duration_us"))),
            ("labels", [f"{name}: {_compact(values)}" for name, values in labels.items()]),
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


def verification(report: VerifyReport) -> RenderableType:
    """Whether the log is what was written, and where it is not."""
    verdict = Text("intact", "green") if report.ok else Text("NOT what was written", "red")
    rows = [(each.seq, each.trouble, each.record_id, each.text) for each in report.findings]
    if rows:
        return table(("RECORD", "TROUBLE", "ID", "WHAT"), rows, empty="")
    return facts(
        [
            ("audit log", verdict),
            ("records", report.records),
            ("signed", _signed(report)),
            ("keys", "" if report.key_given else "taken from the file itself: whoever replaced it, replaced them too"),
        ]
    )


def _signed(report: VerifyReport) -> str:
    if not report.checkpoints:
        return "none of them yet; until the first checkpoint the chain alone holds them"
    return f"{report.signed} of them, by {report.checkpoints} checkpoints, the last at {report.signed_at}"


def _who(record: JsonObject) -> str:
    """The chain of actors, from whoever started it to whoever called."""
    actors = [json_text(each) for each in json_list(record.get("actors"))]
    return " > ".join(actors) or json_text(record.get("subject")) or "nobody known"


def _moment(at_us: Json) -> str:
    if not isinstance(at_us, int):
        return ""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _body(record: JsonObject, which: str) -> str:
    if which in record:
        return _compact(record[which])
    digest = json_text(record.get(f"{which}_digest"))
    return f"{record.get(f'{which}_bytes')} bytes, digest {digest[:16]}" if digest else ""


def _compact(value: Json) -> str:
    return shown_json(value).decode() if value else ""
