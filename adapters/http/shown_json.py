"""JSON of values that strangers chose, for whoever asks: numbers of any size, nested however deeply."""

import json

import orjson

from gateway.core.json import Json

DEEPEST = 200
"""Levels that are shown; what is nested deeper is left out."""
LEFT_OUT = "… nested too deeply to be shown"


def shown_json(value: Json, *, option: int = 0) -> bytes:
    """The value as UTF-8; one the fast encoder refuses is encoded all the same. `option`: see orjson."""
    try:
        return orjson.dumps(value, option=option)
    except orjson.JSONEncodeError:
        said = json.dumps(_cut(value, DEEPEST), ensure_ascii=False, separators=(",", ":"))
        # There may be halves of characters in it.
        return said.encode(errors="replace")


def _cut(value: Json, levels: int) -> Json:
    if not isinstance(value, dict | list):
        return value
    if not levels:
        return LEFT_OUT
    if isinstance(value, list):
        return [_cut(each, levels - 1) for each in value]
    return {name: _cut(each, levels - 1) for name, each in value.items()}
