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

from adapters.identity.secrets import SecretResolver, is_reference
from adapters.net.auth_settings import ClientSettings
from adapters.storage.audit.keys import load_audit_keys
from adapters.storage.audit.verify import verify
from adapters.storage.registered_slugs import registered_slugs_in_postgres
from gateway.app.storage_url import postgres_url
from gateway.cli.failure import Failure
from gateway.cli.offline import problems_of
from gateway.cli.options import Place
from gateway.cli.pin_views import flags_of
from gateway.cli.place_contents import listen_url, sections_of
from gateway.cli.remote import Remote, connect, running_url
from gateway.cli.routes_recorded import recent_routes
from gateway.core.errors import GatewayError, InvalidRequest
from gateway.core.json import JsonObject, json_list, json_object, json_text

Level = Literal["ok", "warning", "error"]

_MOST_PRINCIPALS = 20
_MOST_DROPPED = 5
_ROUTES = 40
"""Runs of a router that are looked at."""
_BUILT_IN = ("run", "workflows")
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
        yield Finding(about="configuration", level=problem.severity, text=str(problem))
    if not any(problem.severity == "error" for problem in problems):
        yield Finding(about="configuration", level="ok", text=f"{at.config} is right")
        yield from _secrets(at)
        yield _storage(at)


def _storage(at: Place) -> Finding:
    try:
        url = postgres_url(sections_of(at).storage, SecretResolver(at.config.parent))
        if url is None:
            return Finding(about="storage", level="ok", text=f"SQLite files in {at.data.root}")
        registered_slugs_in_postgres(url)
    except GatewayError as error:
        hint = "The gateway starts only where it can be used; `DRAWBRIDGE_LOG=debug` says why it cannot."
        return Finding(about="storage", level="error", text=error.message, hint=hint)
    return Finding(about="storage", level="ok", text="PostgreSQL answers; other gateways may share it")


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
            yield from in_force(status)
            yield from _upstreams(status)
            yield from _pins(remote)
            yield from _issuers(status)
            yield from _sets(at, remote)
            yield from _not_offered(status)
            yield _clock(status)
            yield from callers(remote)
            yield from _routers(at, remote)
    except Failure as failure:
        yield Finding(about="gateway", level="error", text=failure.message, hint=failure.hint)


def in_force(status: JsonObject) -> Iterator[Finding]:
    """Whether the gateway goes by what the file says."""
    refused = json_object(status.get("refusedConfiguration"))
    if refused:
        problem = json_text(refused.get("problem")) or "an operator of the default tenant is told why"
        text = f"the gateway refuses it since {json_text(refused.get('at'))}, and goes by the one before: {problem}"
        hint = "Mend the file, or put the old one back: the gateway takes it up by itself."
        yield Finding(about="configuration", level="error", text=text, hint=hint)


def _upstreams(status: JsonObject) -> Iterator[Finding]:
    for each in map(json_object, json_list(status.get("upstreams"))):
        about = f"{json_text(each.get('kind'))} {json_text(each.get('slug'))}"
        if each.get("slug") in _BUILT_IN:
            continue
        state, reason = json_text(each.get("state")), json_text(each.get("reason"))
        if state == "up":
            yield Finding(about=about, level="ok", text=f"up, {each.get('capabilities')} entries")
        else:
            level: Level = "error" if state == "down" else "warning"
            yield Finding(about=about, level=level, text=f"{state}: {reason}" if reason else state)
        yield from _breakers(each)
        yield from _dropped(about, each)


def _dropped(about: str, upstream: JsonObject) -> Iterator[Finding]:
    """What it lists and cannot be served."""
    dropped = [json_object(each) for each in json_list(upstream.get("dropped"))]
    for each in dropped[:_MOST_DROPPED]:
        text = (
            f"{json_text(each.get('kind'))} {json_text(each.get('name'))} is left out: {json_text(each.get('reason'))}"
        )
        yield Finding(about=about, level="warning", text=text)
    count = upstream.get("droppedCount")
    if isinstance(count, int) and count > _MOST_DROPPED:
        yield Finding(about=about, level="warning", text=f"{count - _MOST_DROPPED} more are left out")


def _pins(remote: Remote) -> Iterator[Finding]:
    """What waits for approval, and what is odd about what servers say."""
    for pin in map(json_object, json_list(remote.get("pins").get("pins"))):
        name, flags = json_text(pin.get("name")), list(flags_of(pin))
        if not pin.get("offered"):
            continue
        if pin.get("state") != "approved":
            text = (
                "is new, and held back"
                if pin.get("state") == "new"
                else "changed since it was trusted, and is held back"
            )
            hint = f"`drawbridge tools diff {name}` shows it, `drawbridge tools approve {name}` lets it be used."
            yield Finding(about=name, level="warning", text=text, hint=hint)
        if flags:
            more = f", and {len(flags) - 1} more" if len(flags) > 1 else ""
            hint = f"`drawbridge tools diff {name}` shows all; deny it in a role, or ask its server's author."
            yield Finding(about=name, level="warning", text=f"{flags[0]}{more}", hint=hint)


def _sets(at: Place, remote: Remote) -> Iterator[Finding]:
    """Tools and prompts that sets name and no server offers."""
    try:
        sets = sections_of(at).sets
    except GatewayError:
        return
    if not sets:
        return
    known = {json_text(json_object(each).get("name")) for each in json_list(remote.get("tools").get("tools"))}
    for slug, each in sets.items():
        for name, choice in (*each.tools.items(), *each.prompts.items()):
            if choice.capability not in known:
                text = f"{name} is {choice.capability}, which is not there"
                hint = "`drawbridge tools list` shows what is; a server that cannot be reached is named above."
                yield Finding(about=f"set {slug}", level="warning", text=text, hint=hint)


def _not_offered(status: JsonObject) -> Iterator[Finding]:
    """What servers have and an endpoint cannot offer as the configuration has it."""
    missing = [json_object(each) for each in json_list(status.get("notOffered"))]
    for each in missing[:_MOST_DROPPED]:
        text = f"{json_text(each.get('name'))} is not offered: {json_text(each.get('reason'))}"
        hint = "Change what `sets` says of it, or `gateway.names`; it is there at `/mcp/SERVER` all the same."
        yield Finding(about=json_text(each.get("at")), level="warning", text=text, hint=hint)
    count = status.get("notOfferedCount")
    if isinstance(count, int) and count > _MOST_DROPPED:
        yield Finding(about="/mcp", level="warning", text=f"{count - _MOST_DROPPED} more are not offered")


def _breakers(upstream: JsonObject) -> Iterator[Finding]:
    for each in map(json_object, json_list(upstream.get("breakers"))):
        left = each.get("retryAfterSeconds")
        when = f"the next call in {left} s finds out whether it is back" if left else "the next call finds out"
        yield Finding(
            about=f"breaker of {json_text(each.get('target'))}",
            level="warning",
            text=f"{json_text(each.get('state')).replace('_', ' ')} after {each.get('failures')} failures; {when}",
            hint=f"`drawbridge audit search --call {json_text(each.get('target'))} --outcome error` has the failures.",
        )


def _routers(at: Place, remote: Remote) -> Iterator[Finding]:
    """Whether whoever decides where requests go is less and less sure."""
    try:
        workflows = sections_of(at).workflows
    except GatewayError:
        # What is wrong with the file is told above; the gateway runs on with an older one.
        return
    for slug in [slug for slug, each in workflows.items() if each.pattern == "router"]:
        report = recent_routes(remote, slug, _ROUTES)
        if report["falling"]:
            text = f"confidence of its decisions fell from {report['older']} to {report['newer']}"
            hint = f"`drawbridge router eval --workflow {slug} --recent {_ROUTES}` shows who decides."
            yield Finding(about=f"router {slug}", level="warning", text=text, hint=hint)


def _issuers(status: JsonObject) -> Iterator[Finding]:
    """Whether whoever issues access tokens can be asked for the keys they are signed with."""
    for each in map(json_object, json_list(status.get("issuers"))):
        about, keys, age_s = f"issuer {json_text(each.get('name'))}", each.get("keys"), each.get("ageSeconds")
        problem = json_text(each.get("problem"))
        fetched = "no keys" if age_s is None else f"{keys} {'key' if keys == 1 else 'keys'}, fetched {age_s} s ago"
        if problem:
            hint = "Tokens that are known count on; others are refused until it answers."
            yield Finding(about=about, level="warning" if keys else "error", text=f"{problem}; {fetched}", hint=hint)
        else:
            yield Finding(about=about, level="ok", text=fetched if age_s is not None else "not asked yet")


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


def callers(remote: Remote) -> Iterator[Finding]:
    """What everybody sees who may call something, by the configuration."""
    listed = map(json_object, json_list(remote.get("principals").get("principals")))
    # An agent without a role answers and calls nobody: that it sees nothing is as it should be.
    known = [each for each in listed if each.get("kind") != "agent" or each.get("roles")]
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
    keys = load_audit_keys(at.data.keys)
    try:
        report = verify(
            at.data.audit_db,
            public_key=keys.public if keys is not None else None,
            digest_key=keys.digest if keys is not None else None,
        )
    except GatewayError as error:
        yield Finding(about="audit", level="error", text=error.message)
        return
    if report.first is None:
        yield Finding(about="audit", level="ok", text=f"{report.records} records, chain and signatures intact")
    else:
        hint = "Keep the file and its backups; `drawbridge audit verify` says where."
        yield Finding(about="audit", level="error", text=report.first.text, hint=hint)


def _secrets(at: Place) -> Iterator[Finding]:
    """References that lead nowhere here; they may well where the gateway is started."""
    sections = sections_of(at)
    references = {f"principals.{name}.key": each.key for name, each in sections.principals.items() if each.key}
    references |= {f"agents.{slug}.key": each.key for slug, each in sections.agents.items() if each.key}
    storage = {"storage.url": sections.storage.url, "storage.secret": sections.storage.secret}
    references |= {path: text for path, text in storage.items() if is_reference(text)}
    for slug, server in sections.servers.items():
        for name, value in {**server.headers, **server.env, **server.credentials}.items():
            if is_reference(value):
                references[f"servers.{slug}, {name}"] = value
    clients: dict[str, ClientSettings | None] = {
        f"servers.{slug}.auth": each.auth for slug, each in sections.servers.items()
    }
    clients |= {f"agents.{slug}.auth": each.auth for slug, each in sections.agents.items()}
    clients |= {f"oauth.issuers.{name}.login": each.login for name, each in sections.oauth.issuers.items()}
    for path, client in clients.items():
        references |= {f"{path}.{name}": text for name, text in (client.references if client else {}).items()}
    for name, issuer in sections.oauth.issuers.items():
        if issuer.introspection is not None:
            references[f"oauth.issuers.{name}.introspection.client_secret"] = issuer.introspection.client_secret
    references |= {f"buses.{slug}.url": bus.url for slug, bus in sections.buses.items() if is_reference(bus.url)}
    resolver = SecretResolver(at.config.parent)
    for path, reference in references.items():
        try:
            resolver.resolve(reference)
        except InvalidRequest as error:
            hint = "It has to be there when the gateway starts."
            yield Finding(about=path, level="warning", text=error.message, hint=hint)
