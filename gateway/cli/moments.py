"""Times as they are given on the command line."""

from datetime import UTC, datetime

from adapters.system import SystemClock
from gateway.cli.failure import USAGE, Failure
from gateway.cli.lifetimes import seconds_from


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
