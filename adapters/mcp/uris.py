"""Whose a URI is where several servers meet. One that two servers offer, or whose template another's may have made, is
ambiguous, so each gets it under a mark of its own, wherever it is said; every other URI stays as it is. Pure.

Nobody keeps the bare form: a server that begins to offer another's URI must not get what was meant for the other. What
a server has without listing it nobody can tell from what another has, so its links to that are marked as well. A mark
of a server is always that server's: what looks as if it had one gets another before it.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeAlias

from adapters.mcp.contests import contested
from adapters.mcp.template_index import Effort, TemplateIndex
from adapters.mcp.templates import Template, template_from
from adapters.mcp.wire import decode_value, encode
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.model import Capability

Outward: TypeAlias = Callable[[str], str]
"""A URI as its server says it, to how it is said here."""
MayHave: TypeAlias = Callable[[str, str], bool]
"""Whether an owner may have something at a URI without listing it."""
STEPS_A_RESULT = 5_000_000
"""Effort the URIs of one result are worth; those beyond are marked unlooked at, which is as good as bare."""
_APP_KEYS = ("ui/resourceUri",)
_OF_THE_WEB = re.compile(r"(?:https?|data):", re.IGNORECASE)
"""What a client gets without any server (MCP 2026-07-28, resources, "common URI schemes")."""


def nothing_more(owner: str, uri: str) -> bool:
    """Where servers have what they list."""
    return False


class Uris:
    """The URIs and URI templates of one view, and what tells them apart."""

    def __init__(
        self,
        resources: Iterable[Capability],
        templates: Iterable[Capability],
        readers: Collection[str] = (),
        may_have: MayHave = nothing_more,
    ) -> None:
        """`readers`: owners of resources, listed or not."""
        listed = [(each.owner, each.local) for each in resources]
        made = [(each.owner, each.local) for each in templates]
        owners = frozenset({*readers, *(owner for owner, _ in (*listed, *made))})
        self._marks = {mark(owner)[:-1]: owner for owner in owners} if len(owners) > 1 else {}
        self._may_have = may_have
        self._contested = contested(listed, made, lambda text: bool(self.unmarked(text)[0]))
        self._bare = {text: owner for owner, text in listed if text not in self._contested.get(owner, ())}
        bare = [(owner, text) for owner, text in made if text not in self._contested.get(owner, ())]
        self._makers = TemplateIndex((template_from(text), owner) for owner, text in bare)
        self._owners = owners
        templates_of: dict[str, list[tuple[Template, bool]]] = {owner: [] for owner in owners}
        for owner, text in made:
            templates_of[owner].append((template_from(text), text in self._contested.get(owner, ())))
        self._templates = {owner: TemplateIndex(those) for owner, those in templates_of.items()}

    def exposed(self, capability: Capability) -> str:
        """The URI or template of a resource as it is listed here."""
        ambiguous = capability.local in self._contested.get(capability.owner, ())
        return mark(capability.owner) + capability.local if ambiguous else capability.local

    def outward(self, owner: str) -> Outward | None:
        """What turns the URIs of one result of a server into those that are said here; None where they are the same."""
        if not self._marks or owner not in self._owners:
            return None
        effort = Effort(STEPS_A_RESULT)
        return lambda uri: mark(owner) + uri if self._ambiguous(owner, uri, effort) else uri

    def unmarked(self, uri: str) -> tuple[str, str]:
        """(owner, the owner's own URI) of one that carries a mark; owner empty where it carries none."""
        marked, plus, own = uri.partition("+")
        owner = self._marks.get(marked, "") if plus else ""
        return (owner, own) if owner else ("", uri)

    def _ambiguous(self, owner: str, uri: str, effort: Effort) -> bool:
        """Whether the URI could mean another's, or nothing, without a mark."""
        if uri in self._contested.get(owner, ()) or self.unmarked(uri)[0]:
            return True
        if self._bare.get(uri) == owner:
            return False
        made_from_ambiguous = self._templates[owner].find(uri, effort)
        if made_from_ambiguous is not None or effort.spent:
            return made_from_ambiguous is not False
        if _OF_THE_WEB.match(uri) is None and self._may_have(owner, uri):
            return True
        # Nothing is there to be read, which is better than what is another's.
        return uri in self._bare or self._makers.find(uri, effort) is not None or effort.spent


def mark(owner: str) -> str:
    """What stands before an ambiguous URI; with it, the URI still begins with a scheme (RFC 3986, 3.1)."""
    return f"{owner}+" if owner[:1].isalpha() else f"s.{owner}+"


def rewritten_result(raw: bytes, outward: Outward) -> bytes:
    """A result whose links, embedded resources and contents name URIs as they are said here."""
    if not _may_name_uris(raw):
        return raw
    result = json_object(decode_value(raw))
    said = _result(result, outward)
    return raw if said == result else encode(said)


def _may_name_uris(raw: bytes) -> bool:
    """Whether there is a member that names one, or an escape that may hide it."""
    return b'ri"' in raw or b"\\u00" in raw


def rewritten_question(question: JsonObject, outward: Outward) -> JsonObject:
    """What a server asks its client, with URIs as they are said here: those in messages for the client's model."""
    return json_object(_question(question, outward))


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
    if isinstance(questions := said.get("inputRequests"), dict):
        said["inputRequests"] = {key: _question(each, outward) for key, each in questions.items()}
    if "taskId" in said and isinstance(ended := said.get("result"), dict):
        said["result"] = _result(ended, outward)
    return said


def _question(question: Json, outward: Outward) -> Json:
    """What a server asks a client's model is made of messages."""
    params = question.get("params") if isinstance(question, dict) else None
    if not isinstance(question, dict) or not isinstance(params, dict) or "messages" not in params:
        return question
    return {**question, "params": _result(params, outward)}


def _message(message: Json, outward: Outward) -> Json:
    if not isinstance(message, dict) or "content" not in message:
        return message
    content = message["content"]
    said: Json = [_block(each, outward) for each in content] if isinstance(content, list) else _block(content, outward)
    return {**message, "content": said}


def _block(block: Json, outward: Outward) -> Json:
    if not isinstance(block, dict):
        return block
    if block.get("type") == "resource_link":
        return _located(block, outward)
    if block.get("type") == "tool_result" and isinstance(content := block.get("content"), list):
        block = {**block, "content": [_block(each, outward) for each in content]}
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
