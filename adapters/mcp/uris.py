"""Whose a URI is where several servers meet. One that two servers offer, or whose template another's may have made, is
ambiguous, so each gets it under a mark of its own, wherever it is said; every other URI stays as it is. Pure.

Nobody keeps the bare form: a server that begins to offer another's URI must not get what was meant for the other.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, takewhile
from typing import TypeAlias

from adapters.mcp.templates import Template, template_from
from adapters.mcp.wire import decode_value, encode
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.model import Capability

Outward: TypeAlias = Callable[[str], str]
"""A URI as its server says it, to how it is said here."""
_Offer: TypeAlias = tuple[str, str]
"""Owner, and the text of a URI or template."""
MOST_COMPARED = 50_000
"""URIs and templates held against each other for one view; a server may list thousands of either."""
_APP_KEYS = ("ui/resourceUri",)


class Uris:
    """The URIs and URI templates of one view that could be taken for another server's."""

    def __init__(self, resources: Iterable[Capability], templates: Iterable[Capability]) -> None:
        listed = [(each.owner, each.local) for each in resources]
        made = [(each.owner, each.local) for each in templates]
        matchers = {text: template_from(text) for _, text in made}
        contested: dict[str, set[str]] = {}
        for owner, text in (*_same((*listed, *made)), *_overlapping(listed, made, matchers)):
            contested.setdefault(owner, set()).add(text)
        self._contested = {owner: frozenset(texts) for owner, texts in contested.items()}
        self._templates = {
            owner: tuple(matchers[text] for text in texts if text in matchers)
            for owner, texts in self._contested.items()
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


def _same(offered: Iterable[_Offer]) -> Iterator[_Offer]:
    """Every text that several offer."""
    owners: dict[str, set[str]] = {}
    for owner, text in offered:
        owners.setdefault(text, set()).add(owner)
    return ((owner, text) for text, several in owners.items() if len(several) > 1 for owner in several)


def _overlapping(
    listed: Sequence[_Offer], made: Sequence[_Offer], matchers: Mapping[str, Template]
) -> Iterator[_Offer]:
    """Every two that different servers offer of which one is a template and may have made what the other stands for.
    Of more than can be compared in good time, all: said too often rather than too seldom."""
    if len({owner for owner, _ in (*listed, *made)}) < 2:
        return
    uris = sorted(listed, key=_text)
    compared = 0
    for number, (owner, text) in enumerate(made):
        template = matchers[text]
        first = bisect_left(uris, template.head, key=_text)
        begun_alike = takewhile(lambda each, head=template.head: each[1].startswith(head), islice(uris, first, None))
        for other in chain(begun_alike, islice(made, number + 1, None)):
            compared += 1
            if compared > MOST_COMPARED:
                yield from (*listed, *made)
                return
            another = matchers.get(other[1])
            if other[0] != owner and (template.matches(other[1]) if another is None else template.meets(another)):
                yield owner, text
                yield other


def _text(offer: _Offer) -> str:
    return offer[1]


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


def apps_of(definition: Mapping[str, Json]) -> Iterator[str]:
    """URIs of the resources a tool shows itself with, as its server says them (MCP Apps, SEP-1865)."""
    meta = json_object(definition.get("_meta"))
    said = (*(meta.get(key) for key in _APP_KEYS), json_object(meta.get("ui")).get("resourceUri"))
    return (each for each in said if isinstance(each, str) and each)


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
