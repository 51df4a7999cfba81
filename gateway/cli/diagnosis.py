"""What `doctor` looks at, one finding after another. Looks only; repairs nothing."""

import os
import socket
import stat
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gateway.cli.failure import Failure
from gateway.cli.offline import listen_url, problems_of, verify_audit
from gateway.cli.options import Place
from gateway.cli.remote import Remote, connect, running_url
from gateway.core.errors import GatewayError
from gateway.core.json import JsonObject, json_list, json_object, json_text

Level = Literal["ok", "warning", "error"]

_MOST_PRINCIPALS = 20
_CLOCK_TOLERANCE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    about: str
    level: Level
    text: str
    hint: str = ""


def findings(at: Place) -> Iterator[Finding]:
    """Everything, from the file up to what each principal sees."""
    configuration = list(_configuration(at))
    yield from configuration
    yield from _files(at)
    url = running_url(at)
    if url:
        yield Finding(about="gateway", level="ok", text=f"answers at {url}")
        yield from _running(at)
    elif not any(each.level == "error" for each in configuration):
        yield from _not_running(at)
    yield from _audit(at)


def _configuration(at: Place) -> Iterator[Finding]:
    if not at.config.is_file():
        yield Finding(
            about="configuration", level="error", text=f"there is no {at.config}", hint="Write one: `drawbridge init`."
        )
        return
    problems = problems_of(at)
    for problem in problems:
        line = problem.get("line")
        where = f"line {line}: " if line else ""
        yield Finding(
            about="configuration",
            level="error",
            text=f"{where}{json_text(problem.get('message'))}",
            hint="`drawbridge check` shows all of it.",
        )
    if not problems:
        yield Finding(about="configuration", level="ok", text=f"{at.config} is right")


def _files(at: Place) -> Iterator[Finding]:
    root = at.data.root
    if not root.is_dir():
        yield Finding(about="files", level="ok", text=f"{root} will be made on the first start")
        return
    if os.name == "nt":
        return
    paths = [root, *root.glob("*.db"), *(path for path in at.data.keys.glob("*") if path.is_file())]
    open_ones = [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077]
    for path in open_ones:
        mode = "700" if path.is_dir() else "600"
        yield Finding(about="files", level="error", text=f"others can read {path}", hint=f"Run `chmod {mode} {path}`.")
    if not open_ones:
        yield Finding(about="files", level="ok", text=f"{root} is closed to others")


def _not_running(at: Place) -> Iterator[Finding]:
    host, _, port = listen_url(at).removeprefix("http://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            taken = True
    except OSError:
        taken = False
    if taken:
        hint = "Stop it, or choose another port with gateway.port."
        yield Finding(about="gateway", level="error", text=f"something else listens on {host}:{port}", hint=hint)
    else:
        yield Finding(about="gateway", level="warning", text="is not running", hint="Start it: `drawbridge serve`.")


def _running(at: Place) -> Iterator[Finding]:
    try:
        with connect(at) as remote:
            status = remote.get("status")
            yield from _upstreams(status)
            yield _clock(status)
            yield from _principals(remote)
    except Failure as failure:
        yield Finding(about="gateway", level="error", text=failure.message, hint=failure.hint)


def _upstreams(status: JsonObject) -> Iterator[Finding]:
    for each in map(json_object, json_list(status.get("upstreams"))):
        about = f"{json_text(each.get('kind'))} {json_text(each.get('slug'))}"
        state, reason = json_text(each.get("state")), json_text(each.get("reason"))
        if state == "up":
            yield Finding(about=about, level="ok", text=f"up, {each.get('capabilities')} entries")
        else:
            level: Level = "error" if state == "down" else "warning"
            yield Finding(about=about, level=level, text=f"{state}: {reason}" if reason else state)


def _clock(status: JsonObject) -> Finding:
    there = datetime.fromisoformat(json_text(status.get("now"), "1970-01-01T00:00:00Z")).timestamp()
    apart_s = abs(time.time_ns() / 1e9 - there)
    if apart_s > _CLOCK_TOLERANCE_S:
        return Finding(
            about="clock",
            level="warning",
            text=f"the gateway's clock is {apart_s:.0f} s away from this one",
            hint="Tokens expire by the clock: set both by NTP.",
        )
    return Finding(about="clock", level="ok", text="the gateway's clock agrees with this one")


def _principals(remote: Remote) -> Iterator[Finding]:
    known = [json_object(each) for each in json_list(remote.get("principals").get("principals"))]
    for who in known[:_MOST_PRINCIPALS]:
        subject, visible, hidden = json_text(who.get("subject")), who.get("visible"), who.get("hidden")
        # Operators administrate; that they call nothing is as it should be.
        blind = not visible and bool(hidden) and who.get("kind") != "operator"
        yield Finding(
            about=f"principal {subject}",
            level="warning" if blind else "ok",
            text=f"sees {visible} entries, {hidden} are hidden{_why(remote, subject) if hidden else ''}",
            hint=f"`drawbridge tools list --as {subject}` shows each." if blind else "",
        )
    if len(known) > _MOST_PRINCIPALS:
        yield Finding(about="principals", level="ok", text=f"{len(known) - _MOST_PRINCIPALS} more were not looked at")


def _why(remote: Remote, subject: str) -> str:
    """The reasons by which entries are hidden, the commonest first."""
    hidden = json_list(remote.get("tools", query={"as": subject}).get("hidden"))
    reasons = Counter(json_text(json_object(json_object(each).get("why")).get("rule")) for each in hidden)
    return f" ({', '.join(f'{count} by {rule}' for rule, count in reasons.most_common(3))})" if reasons else ""


def _audit(at: Place) -> Iterator[Finding]:
    if not at.data.audit_db.is_file():
        yield Finding(about="audit", level="ok", text="no record was written yet")
        return
    try:
        said = verify_audit(at.data.audit_db, at)
    except GatewayError as error:
        yield Finding(about="audit", level="error", text=error.message)
        return
    if said.get("intact") is True:
        yield Finding(about="audit", level="ok", text=f"{said.get('records')} records, chain and signatures intact")
    else:
        hint = "Keep the file and its backups; somebody changed it."
        yield Finding(
            about="audit", level="error", text=json_text(said.get("problem"), "the chain is broken"), hint=hint
        )
