"""Spans of time as people write them."""

import re

from gateway.cli.failure import USAGE, Failure

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds_from(span: str) -> int:
    """Seconds from `90s`, `15m`, `12h`, `30d` or `4w`. Raises: Failure."""
    match = re.fullmatch(r"(\d{1,9})([smhdw])", span.strip())
    if match is None or not int(match[1]):
        raise Failure(f"{span!r} is no span of time", "Write it as 12h, 30d or 4w.", code=USAGE)
    return int(match[1]) * _UNITS_S[match[2]]
