"""JSON in what agents say, also where they wrap it in words; and in what answers say. Pure.

Every piece of a text is read once, whatever the text: a stranger wrote it, and the gateway waits for the end of it.
"""

import json
from collections.abc import Iterator

from gateway.core.json import Json, JsonObject, json_object

_FENCE = "```"


def object_said(value: Json) -> JsonObject:
    """The object an answer is: itself, or the text of one, by itself or between fences; empty where there is none."""
    if not isinstance(value, str):
        return json_object(value)
    nothing: JsonObject = {}
    return next((found for piece in _pieces(value) if (found := _object_in(piece))), nothing)


def _pieces(text: str) -> Iterator[str]:
    """Whatever of the text may be JSON as a whole."""
    fenced = text.split(_FENCE)
    if len(fenced) < 3:
        yield text
        return
    yield from fenced[1:-1]
    # A text within the JSON may have fences of its own.
    yield _FENCE.join(fenced[1:-1])


def _object_in(text: str) -> JsonObject:
    try:
        return json_object(json.loads(text.removeprefix("json")))
    except (ValueError, RecursionError):
        return {}


def words_for(value: Json) -> str:
    """The value in an answer's words: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
