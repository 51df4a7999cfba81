"""Characters a model reads and a person does not see: found, taken out, shown. Pure.

What counts is Unicode's Default_Ignorable_Code_Point, the categories Cc and Cf, line and paragraph separators, private
use, and the blanks that are letters (Hangul fillers, Braille blank). A variation selector behind a visible character
stays, it makes an emoji; a row of them spells bytes.
"""

import re
from collections.abc import Mapping
from typing import cast

from gateway.core.json import Json, JsonObject

_SHOWN_KEYS = frozenset({"description", "title", "instructions"})
"""Members that are prose: nothing is called by what they say, so it may be taken out of."""

_HIDDEN = re.compile(
    "["
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # controls, but for tab and line ends
    "\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    "\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, separators, directions, invisible operators
    "\u2800\u3164\ud800-\udfff\ue000-\uf8ff\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"  # tags, and the second set of variation selectors
    "\U000f0000-\U0010ffff"
    "]"
    "|(?:(?<=[\ufe00-\ufe0f])|(?<![\u0080-\U0010ffff0-9#*]))[\ufe00-\ufe0f]"
)


def without_hidden(text: str) -> str:
    """The text a person sees."""
    return text if text.isascii() and text.isprintable() else _HIDDEN.sub("", text)


def hidden_count(text: str) -> int:
    """How many characters of it nobody sees."""
    return 0 if text.isascii() and text.isprintable() else len(_HIDDEN.findall(text))


def shown(text: str) -> str:
    """The text with what is hidden in it spelled out, for example `<U+200B>`."""
    return _HIDDEN.sub(lambda found: f"<U+{ord(found.group()):04X}>", text)


def cleaned(definition: Mapping[str, Json]) -> JsonObject:
    """A definition whose prose has nothing hidden in it; everything else as it was."""
    return cast("JsonObject", _cleaned(dict(definition), prose=False))


def _cleaned(value: Json, *, prose: bool) -> Json:
    if isinstance(value, str):
        return without_hidden(value) if prose else value
    if isinstance(value, list):
        return [_cleaned(each, prose=prose) for each in value]
    if isinstance(value, dict):
        return {key: _cleaned(each, prose=key in _SHOWN_KEYS) for key, each in value.items()}
    return value
