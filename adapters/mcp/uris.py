"""Whose a URI is where several servers meet. One that two servers offer is ambiguous, so each gets it under a mark of
its own, wherever it is said; every other URI stays as it is. Pure.

Nobody keeps the bare form: a server that begins to offer another's URI must not get what was meant for the other.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from adapters.mcp.templates import template_from
from adapters.mcp.wire import decode_value, encode
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.model import Capability

Outward: TypeAlias = Callable[[str], str]
"""A URI as its server says it, to how it is said here."""
_APP_KEYS = ("ui/resourceUri",)


class Uris:
    """The URIs and URI templates two servers or more of one view offer."""

    def __init__(self, offered: Iterable[Capability]) -> None:
        """`offered`: the resources and templates of the view."""
        owners: dict[str, set[str]] = {}
        for each in offered:
            owners.setdefault(each.local, set()).add(each.owner)
        self._contested: dict[str, frozenset[str]] = {}
        for local, several in owners.items():
            if len(several) > 1:
                for owner in several:
                    self._contested[owner] = self._contested.get(owner, frozenset()) | {local}
        self._templates = {
            owner: tuple(template_from(local) for local in locals_) for owner, locals_ in self._contested.items()
        }

    def exposed(self, capability: Capability) -> str:
        """The URI or template of a resource as it is listed here."""
        contested = capability.local in self._contested.get(capability.owner, ())
        return mark(capability.owner) + capability.local if contested else capability.local

    def outward(self, owner: str) -> Outward | None:
        """What turns a server's URIs into those that are said here; None where they are the same."""
        contested, templates = self._contested.get(owner), self._templates.get(owner, ())
        if contested is None:
            return None

        def said(uri: str) -> str:
            if uri in contested or any(each.matches(uri) for each in templates):
                return mark(owner) + uri
            return uri

        return said

    def unmarked(self, uri: str) -> tuple[str, str]:
        """(owner, the owner's own URI) of one that carries a mark; owner empty where it carries none."""
        for owner in self._contested:
            if uri.startswith(mark(owner)):
                return owner, uri[len(mark(owner)) :]
        return "", uri


def mark(owner: str) -> str:
    """What stands before an ambiguous URI; with it, the URI still begins with a scheme (RFC 3986, 3.1)."""
    return f"{owner}+" if owner[:1].isalpha() else f"s.{owner}+"


def rewritten_result(raw: bytes, outward: Outward) -> bytes:
    """A result whose links, embedded resources and contents name URIs as they are said here."""
    result = json_object(decode_value(raw))
    said = _result(result, outward)
    return raw if said == result else encode(said)


def rewritten_meta(definition: Mapping[str, Json], outward: Outward) -> JsonObject:
    """A definition whose `_meta` names an app's resource as it is said here (MCP Apps, SEP-1865)."""
    meta = json_object(definition.get("_meta"))
    return {**definition, "_meta": _app(meta, outward)} if meta else dict(definition)


def _result(result: JsonObject, outward: Outward) -> JsonObject:
    said = dict(result)
    if "content" in said:
        said["content"] = [_block(each, outward) for each in json_list(said["content"])]
    if "messages" in said:
        said["messages"] = [_message(each, outward) for each in json_list(said["messages"])]
    if "contents" in said:
        said["contents"] = [_located(each, outward) for each in json_list(said["contents"])]
    if isinstance(said.get("_meta"), dict):
        said["_meta"] = _app(json_object(said["_meta"]), outward)
    return said


def _message(message: Json, outward: Outward) -> Json:
    if not isinstance(message, dict) or "content" not in message:
        return message
    return {**message, "content": _block(message["content"], outward)}


def _block(block: Json, outward: Outward) -> Json:
    if not isinstance(block, dict):
        return block
    if block.get("type") == "resource_link":
        return _located(block, outward)
    return {**block, "resource": _located(block["resource"], outward)} if "resource" in block else block


def _located(value: Json, outward: Outward) -> Json:
    if not isinstance(value, dict):
        return value
    uri = value.get("uri")
    said = {**value, "uri": outward(uri)} if isinstance(uri, str) else value
    meta = said.get("_meta")
    return {**said, "_meta": _app(meta, outward)} if isinstance(meta, dict) else said


def _app(meta: JsonObject, outward: Outward) -> JsonObject:
    said = dict(meta)
    for key in _APP_KEYS:
        uri = said.get(key)
        if isinstance(uri, str):
            said[key] = outward(uri)
    ui = said.get("ui")
    if isinstance(ui, dict) and isinstance(uri := ui.get("resourceUri"), str):
        said["ui"] = {**ui, "resourceUri": outward(uri)}
    return said
