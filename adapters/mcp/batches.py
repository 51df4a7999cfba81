"""Several JSON-RPC messages in one array (MCP 2025-03-26, basic, "batching"): taken apart, within bounds. Pure.

No other revision has them, and the gateway sends none itself. What is in one is treated as if it had come alone.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

REVISION = "2025-03-26"
MOST_HEARD = 256
"""Messages in one array of a server; `limits.batch_messages` may not be more."""
_ABSENT = Raw()
_SPACE = b" \t\r\n"

Split = Callable[[bytes], list[bytes]]


class TooMany(ValueError):
    """An array of more elements than are looked at."""


NotAnArray = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What a `Split` raises when the bytes are no JSON."""


def is_array(raw: bytes) -> bool:
    """Whether it begins as a JSON array does. Most messages are known to be none by their first byte."""
    return raw[:1] != b"{" and raw.lstrip(_SPACE)[:1] == b"["


def splitter(most: int) -> Split:
    """What takes an array apart into its elements, each raw JSON as it came.

    What it gives is for what `is_array`; it raises: TooMany: more than `most`; `NotAnArray`.
    """
    # A list of raw values would be made whole, however long, before anybody could count: 16 MB of `1,1,1…` become half
    # a gigabyte. A record that is written as an array ends at its last field, and allocates no more than those.
    fields: list[tuple[str, Any, Any]] = [(f"at_{place}", Raw, _ABSENT) for place in range(most)]
    record = msgspec.defstruct("Elements", fields, array_like=True, forbid_unknown_fields=True, gc=False)
    decode = msgspec.json.Decoder(record).decode

    def split(raw: bytes) -> list[bytes]:
        try:
            elements = msgspec.structs.astuple(decode(raw))
        except msgspec.ValidationError as error:
            raise TooMany(f"more than {most} elements") from error
        return [bytes(each) for each in elements if each is not _ABSENT]

    return split


_heard_in = splitter(MOST_HEARD)


def messages_in(raw: bytes) -> list[bytes]:
    """What a server said, message by message: the elements of an array, anything else as it is.

    An array that is empty, longer than `MOST_HEARD` or no JSON stays whole, and fails as a broken message does.
    """
    if not is_array(raw):
        return [raw]
    try:
        return _heard_in(raw) or [raw]
    except (TooMany, *NotAnArray):
        return [raw]


def only_message(raw: bytes) -> bytes:
    """The one element of an array of one; anything else as it is."""
    found = messages_in(raw)
    return found[0] if len(found) == 1 else raw
