"""Takes over the servers of a client's `mcp.json`: names become slugs, secrets become references. Writes nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.slugs import LONGEST_SLUG, RESERVED

_SECRET_NAME = re.compile(r"key|token|secret|pass|auth|credential|cookie", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)")
_UNSUITABLE = re.compile(r"[^a-z0-9]+")


@dataclass(slots=True, kw_only=True)
class Adopted:
    """What was found."""

    servers: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    """Slug -> entry of the section `servers`."""
    secrets: dict[str, str] = field(default_factory=dict[str, str])
    """File name -> value that stood in clear and is to be kept in that file."""
    notes: list[str] = field(default_factory=list[str])
    """What the user has to know or do."""


def adopt_servers(document: Mapping[str, Json], secrets_folder: str) -> Adopted:
    """The servers of `mcpServers` (most clients) or `servers` (VS Code); secrets go to `secrets_folder`."""
    adopted = Adopted()
    listed = json_object(document.get("mcpServers")) or json_object(document.get("servers"))
    for name, value in listed.items():
        entry = json_object(value)
        reason = _why_not(entry)
        if reason:
            adopted.notes.append(f"{name} was left out: {reason}")
            continue
        slug = _slug(name, adopted.servers)
        if slug != name:
            adopted.notes.append(f"{name} is called {slug} here")
        adopted.servers[slug] = _server(slug, entry, _Values(slug, secrets_folder, adopted))
    return adopted


def _why_not(entry: JsonObject) -> str:
    if entry.get("disabled") is True:
        return "it is disabled"
    kind = json_text(entry.get("type"))
    if kind == "sse":
        return "it speaks the old SSE transport; look whether it has a Streamable HTTP address too"
    if not json_text(entry.get("url")) and not json_text(entry.get("command")):
        return "it has neither a url nor a command"
    return ""


def _server(slug: str, entry: JsonObject, values: "_Values") -> JsonObject:
    url = json_text(entry.get("url"))
    if url:
        headers = {
            name: values.kept(name, json_text(value)) for name, value in json_object(entry.get("headers")).items()
        }
        return {"url": url, **({"headers": headers} if headers else {})}
    arguments = [str(each) for each in json_list(entry.get("args"))]
    server: JsonObject = {"command": [json_text(entry.get("command")), *arguments]}
    environment = {name: values.kept(name, str(value)) for name, value in json_object(entry.get("env")).items()}
    if environment:
        server["env"] = environment
    if json_text(entry.get("cwd")):
        server["cwd"] = entry["cwd"]
    return server


class _Values:
    """Turns values into what may stand in a configuration."""

    def __init__(self, slug: str, secrets_folder: str, adopted: Adopted) -> None:
        self._slug = slug
        self._folder = secrets_folder
        self._adopted = adopted

    def kept(self, name: str, value: str) -> Json:
        """The value itself, or a reference in place of a secret."""
        variable = _VARIABLE.fullmatch(value)
        if variable is not None:
            return f"env:{variable[1] or variable[2]}"
        if "${" in value:
            # A reference stands for a whole value; there is none for a part of one.
            wanted = _UNSUITABLE.sub("_", f"drawbridge_{self._slug}_{name}".lower()).upper()
            self._adopted.notes.append(f"set {wanted} to what {value!r} stands for before you start the gateway")
            return f"env:{wanted}"
        if not _SECRET_NAME.search(name):
            return value
        file = f"{self._slug}-{_UNSUITABLE.sub('-', name.lower()).strip('-')}.secret"
        self._adopted.secrets[file] = value
        return f"file:{self._folder}/{file}"


def _slug(name: str, taken: Mapping[str, object]) -> str:
    stem = _UNSUITABLE.sub("-", name.lower()).strip("-")[:LONGEST_SLUG].strip("-") or "server"
    if stem in RESERVED:
        stem = f"{stem}-server"
    slug, number = stem, 1
    while slug in taken:
        number += 1
        slug = f"{stem[: LONGEST_SLUG - len(str(number)) - 1]}-{number}"
    return slug
