"""Words from outside, made fit for a terminal: they steer nothing, and forge no line of ours."""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a description or a summary from outside must not send to a terminal: escapes and reversed writing."""


def clean(text: str) -> str:
    """The text without what would steer a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def in_line(text: str) -> str:
    """The text cleaned, on the line it is on: one with breaks in it could pretend to be further lines of ours."""
    return " ".join(clean(text).split("\n"))


def indented(text: str, columns: int) -> str:
    """The text cleaned, its further lines below the first, where no name of ours stands."""
    return f"\n{' ' * columns}".join(clean(text).split("\n"))


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
