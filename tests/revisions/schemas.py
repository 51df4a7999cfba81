"""What a strict client of each revision holds an answer to: the needed facts of the published `schema.json` of each.

All of these leave room for members they do not know; what they are strict about is what they know.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from tests.revisions.contents import MODERN, SINCE

_TEXT: dict[str, Any] = {"type": "string"}
_OBJECT: dict[str, Any] = {"type": "object"}
ONLY_MODERN = frozenset({"resultType", "ttlMs", "cacheScope", "inputRequests", "requestState"})


def _shape(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "required": [*required], "properties": {**required, **(optional or {})}}


def _list(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_ROLE: dict[str, Any] = {"enum": ["user", "assistant"]}
_CONTENTS: dict[str, Any] = {
    "anyOf": [
        _shape({"uri": _TEXT, "text": _TEXT}, {"mimeType": _TEXT}),
        _shape({"uri": _TEXT, "blob": _TEXT}, {"mimeType": _TEXT}),
    ]
}
_ANNOTATIONS = {
    "annotations": _shape({}, {"audience": _list(_ROLE), "priority": {"type": "number", "minimum": 0, "maximum": 1}})
}
_BY_KIND: dict[str, dict[str, Any]] = {
    "text": {"text": _TEXT},
    "image": {"data": _TEXT, "mimeType": _TEXT},
    "audio": {"data": _TEXT, "mimeType": _TEXT},
    "resource": {"resource": _CONTENTS},
    "resource_link": {"uri": _TEXT, "name": _TEXT},
}


def _content(version: str) -> dict[str, Any]:
    kinds = {kind: members for kind, members in _BY_KIND.items() if SINCE[kind] <= version}
    return {"anyOf": [_shape({"type": {"const": kind}, **members}, _ANNOTATIONS) for kind, members in kinds.items()]}


def _tool(version: str) -> dict[str, Any]:
    schema = _shape({"type": {"const": "object"}}, {"properties": {"additionalProperties": _OBJECT}})
    more: dict[str, Any] = {"description": _TEXT}
    if version >= "2025-03-26":
        more["annotations"] = _shape({}, {"title": _TEXT, "readOnlyHint": {"type": "boolean"}})
    if version >= "2025-06-18":
        more |= {"title": _TEXT, "_meta": _OBJECT}
        more["outputSchema"] = _OBJECT if version == MODERN else _shape({"type": {"const": "object"}})
    return _shape({"name": _TEXT, "inputSchema": schema}, more)


def _result(method: str, version: str) -> dict[str, Any]:
    if method == "initialize":
        info = _shape({"name": _TEXT, "version": _TEXT})
        return _shape({"protocolVersion": {"const": version}, "capabilities": _OBJECT, "serverInfo": info})
    if method == "server/discover":
        listed = {"type": "array", "contains": {"const": version}}
        return _shape({"supportedVersions": listed, "capabilities": _OBJECT})
    if method == "tools/list":
        return _shape({"tools": _list(_tool(version))}, {"nextCursor": _TEXT})
    if method == "prompts/list":
        prompt = _shape({"name": _TEXT}, {"arguments": _list(_shape({"name": _TEXT}))})
        return _shape({"prompts": _list(prompt)}, {"nextCursor": _TEXT})
    if method == "resources/list":
        return _shape({"resources": _list(_shape({"uri": _TEXT, "name": _TEXT}))}, {"nextCursor": _TEXT})
    if method == "resources/read":
        return _shape({"contents": _list(_CONTENTS)})
    if method == "prompts/get":
        message = _shape({"role": _ROLE, "content": _content(version)})
        return _shape({"messages": _list(message)}, {"description": _TEXT})
    if method == "skills/list":
        return _shape({"skills": {}})
    structured = {} if version < "2025-06-18" or version == MODERN else {"structuredContent": _OBJECT}
    return _shape({"content": _list(_content(version))}, {"isError": {"type": "boolean"}, **structured})


_CACHED = frozenset({"tools/list", "prompts/list", "resources/list", "resources/read", "server/discover"})


def complaints(method: str, result: Mapping[str, Any], version: str) -> list[str]:
    """What a strict client of this revision finds wrong with the result of a request."""
    schema = _result(method, version)
    if version == MODERN:
        more: dict[str, Any] = {"resultType": {"const": "complete"}}
        if method in _CACHED:
            more |= {"ttlMs": {"type": "integer", "minimum": 0}, "cacheScope": {"enum": ["public", "private"]}}
        schema = {"allOf": [schema, _shape(more)]}
    found = _found(schema, result)
    if version != MODERN:
        found += [f"{name} is of another era" for name in sorted(ONLY_MODERN & result.keys())]
    return found


def progress_complaints(message: Mapping[str, Any]) -> list[str]:
    """Likewise, of a notification of progress, which is the same in each."""
    token = {"type": ["string", "integer"]}
    params = _shape({"progressToken": token, "progress": {"type": "number"}}, {"total": {"type": "number"}})
    schema = _shape({"jsonrpc": {"const": "2.0"}, "method": {"const": "notifications/progress"}, "params": params})
    return _found(schema, message)


def _found(schema: dict[str, Any], value: Any) -> list[str]:
    validator: Any = Draft202012Validator(schema)
    errors: Iterator[ValidationError] = validator.iter_errors(value)
    return [f"{each.json_path}: {each.message}" for each in errors]
