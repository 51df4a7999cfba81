"""Times, and spans of time, as they are given on the command line."""

import re
from datetime import UTC, datetime, timedelta

from adapters.system import SystemClock
from gateway.cli.failure import USAGE, Failure

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def us_from(text: str) -> int:
    """UTC microseconds from an RFC 3339 time, or from an age such as `2h`; 0 for no text. Raises: Failure."""
    if not text:
        return 0
    if "-" not in text:
        return SystemClock().now_us() - seconds_from(text) * 1_000_000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Failure(
            f"{text!r} is no time", "Write it as 2026-11-21T09:30:00Z, or as an age: 2h.", code=USAGE
        ) from error
    return int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def rfc3339_from(at_us: int) -> str:
    """See `us_from`; what was before all calendars is their beginning."""
    try:
        return (_EPOCH + timedelta(microseconds=at_us)).isoformat()
    except OverflowError:
        return datetime(1, 1, 1, tzinfo=UTC).isoformat()


def seconds_from(span: str) -> int:
    """Seconds from `90s`, `15m`, `12h`, `30d` or `4w`. Raises: Failure."""
    match = re.fullmatch(r"(\d{1,9})([smhdw])", span.strip())
    if match is None or not int(match[1]):
        raise Failure(f"{span!r} is no span of time", "Write it as 12h, 30d or 4w.", code=USAGE)
    return int(match[1]) * _UNITS_S[match[2]]
