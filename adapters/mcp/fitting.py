"""Definitions as strict clients read them: a part that is not as it should be costs itself, never the list it is in.

Typed clients refuse a whole list for one wrong member of one entry. What no revision knows of passes as it came; what
they give a form, and does not have it, is left out. Pure.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, Literal, TypeAlias

from adapters.mcp.wire import Era
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.model import CapabilityKind


class _Wrong(Enum):
    WRONG = 0


_WRONG: Final = _Wrong.WRONG
_Fit: TypeAlias = Callable[[Json], "Json | Literal[_Wrong.WRONG]"]
"""As much of a value as may be said."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)")


def fitted(definition: Mapping[str, Json], kind: CapabilityKind, exposed: str, era: Era) -> JsonObject:
    """The definition without what a client of the era could not read, and with what it cannot do without."""
    said = _kept(definition, _KNOWN[kind])
    if kind in ("resource", "template"):
        return {"name": exposed, **said}
    return said if kind == "prompt" else _with_schemas(said, era)


def takes_an_object(schema: Json) -> bool:
    """Whether a tool with this input schema can be called at all: the arguments of a call are an object."""
    named = json_object(schema).get("type", "object")
    return named == "object" or (isinstance(named, list) and "object" in named)


def _with_schemas(said: JsonObject, era: Era) -> JsonObject:
    said = {**said, "inputSchema": _of_an_object(json_object(said.get("inputSchema")), era)}
    given = said.get("outputSchema")
    if not isinstance(given, dict) or (era == "legacy" and given.get("type") != "object"):
        # Until 2025-11-25 the outcome of a tool is an object, or nothing is said of it.
        said.pop("outputSchema", None)
    elif era == "legacy":
        said["outputSchema"] = _of_an_object(given, era)
    return said


def _of_an_object(schema: JsonObject, era: Era) -> JsonObject:
    """The schema of an object with its head as every revision spells it."""
    said: JsonObject = {**_kept(schema, _SCHEMA_HEAD), "type": "object"}
    if era == "legacy" and "properties" in said:
        said["properties"] = {name: _spelled_out(each) for name, each in json_object(said["properties"]).items()}
    return said


def _spelled_out(schema: Json) -> Json:
    """JSON Schema 2020-12, 4.3.2: `true` is `{}` and `false` is `{"not": {}}`, which is all that older clients know."""
    if isinstance(schema, dict):
        return schema
    return {"not": {}} if schema is False else {}


def _kept(value: Mapping[str, Json], known: Mapping[str, _Fit]) -> JsonObject:
    said: JsonObject = {}
    for name, each in value.items():
        fit = known[name](each) if name in known else each
        if fit is not _WRONG:
            said[name] = fit
    return said


def _object_of(known: Mapping[str, _Fit], needed: str = "") -> _Fit:
    def fit(value: Json) -> "Json | Literal[_Wrong.WRONG]":
        if not isinstance(value, dict):
            return _WRONG
        said = _kept(value, known)
        return _WRONG if needed and needed not in said else said

    return fit


def _list_of(known: _Fit) -> _Fit:
    def fit(value: Json) -> "Json | Literal[_Wrong.WRONG]":
        if not isinstance(value, list):
            return _WRONG
        return [each for each in map(known, value) if each is not _WRONG]

    return fit


def _if(holds: Callable[[Json], bool]) -> _Fit:
    return lambda value: value if holds(value) else _WRONG


def _one_of(*words: str) -> _Fit:
    return _if(lambda value: isinstance(value, str) and value in words)


_text = _if(lambda value: isinstance(value, str))
_flag = _if(lambda value: isinstance(value, bool))
_whole = _if(lambda value: isinstance(value, int) and not isinstance(value, bool))
_share = _if(lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1)
_time = _if(lambda value: isinstance(value, str) and _TIME.fullmatch(value) is not None)
_object = _object_of({})

_ICON: Mapping[str, _Fit] = {
    "src": _text,
    "mimeType": _text,
    "sizes": _list_of(_text),
    "theme": _one_of("light", "dark"),
}
_EVERY: Mapping[str, _Fit] = {
    "title": _text,
    "description": _text,
    "icons": _list_of(_object_of(_ICON, needed="src")),
    "_meta": _object,
}
_HINTS = {name: _flag for name in ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")}
_TOOL: Mapping[str, _Fit] = {
    **_EVERY,
    "annotations": _object_of({"title": _text, **_HINTS}),
    "execution": _object_of({"taskSupport": _one_of("forbidden", "optional", "required")}),
}
_ARGUMENT: Mapping[str, _Fit] = {"name": _text, "title": _text, "description": _text, "required": _flag}
_PROMPT: Mapping[str, _Fit] = {**_EVERY, "arguments": _list_of(_object_of(_ARGUMENT, needed="name"))}
_ANNOTATIONS: Mapping[str, _Fit] = {
    "audience": _list_of(_one_of("user", "assistant")),
    "priority": _share,
    "lastModified": _time,
}
_RESOURCE: Mapping[str, _Fit] = {
    **_EVERY,
    "name": _text,
    "mimeType": _text,
    "size": _whole,
    "annotations": _object_of(_ANNOTATIONS),
}
_KNOWN: Mapping[CapabilityKind, Mapping[str, _Fit]] = {
    **dict.fromkeys(("tool", "agent", "workflow"), _TOOL),
    "prompt": _PROMPT,
    **dict.fromkeys(("resource", "template"), _RESOURCE),
}
_SCHEMA_HEAD: Mapping[str, _Fit] = {"$schema": _text, "properties": _object, "required": _list_of(_text)}
