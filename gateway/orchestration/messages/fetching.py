"""Parts of a step's result, for the step it was handed to: what a reference or a summary leaves out. Pure."""

import json

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject
from gateway.core.pointers import NothingThere, at_pointer, is_pointer
from gateway.core.ports.storage import Handed

MOST_BYTES = 64 * 1024
"""Largest piece one answer has."""
_MOST_NAMES = 200


def handed_of(value: Json, handed: Handed) -> Json:
    """Of what was recorded, what was handed over: without what was taken out."""
    value = _found(value, handed.within)
    for each in handed.taken_out:
        value = each.left_of(value)
    return value


def part_of(value: Json, pointer: str, offset: int = 0) -> JsonObject:
    """What `pointer` (RFC 6901; empty for all) names in `value`: the value itself, or, where that is too large, what it
    is made of; of a long text the piece from `offset` (characters) on, and where the next begins.

    Raises: InvalidRequest: nothing is there.
    """
    found = _found(value, pointer)
    if isinstance(found, str):
        return _piece(pointer, found, offset)
    size = len(json.dumps(found, ensure_ascii=False).encode(errors="replace"))
    if size <= MOST_BYTES:
        return {"pointer": pointer, "value": found, "bytes": size}
    made_of: JsonObject = {"pointer": pointer, "bytes": size, "too_large": "ask for a part of it by its pointer"}
    if isinstance(found, dict):
        made_of["fields"] = [*list(found)[:_MOST_NAMES]]
    elif isinstance(found, list):
        made_of["items"] = len(found)
    return made_of


def _piece(pointer: str, text: str, offset: int) -> JsonObject:
    # A character has at most six bytes in JSON.
    piece = text[offset : offset + MOST_BYTES // 6] if len(text) > MOST_BYTES // 6 else text[offset:]
    said: JsonObject = {"pointer": pointer, "value": piece, "characters": len(text)}
    if offset + len(piece) < len(text):
        said["next_offset"] = offset + len(piece)
    return said


def _found(value: Json, pointer: str) -> Json:
    if not is_pointer(pointer):
        raise InvalidRequest("`pointer` is a JSON Pointer: /field/0/name, or empty for all")
    try:
        return at_pointer(value, pointer)
    except NothingThere as error:
        raise InvalidRequest(f"the result has nothing at {pointer[:200]}") from error
