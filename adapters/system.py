"""The machine's clocks, and ids that sort by time."""

import random
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
"""Crockford's base 32, two characters for ten bits at a time."""


class SystemClock:
    """See `ports.world.Clock`."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()


class SortableIds:
    """See `ports.world.Ids`: 48 bits of milliseconds and 82 bits at random, as ULIDs are built.

    Unique, not secret: the generator is fast, seeded by the system once, and guards nothing.
    """

    def __init__(self) -> None:
        self._random = random.Random(random.SystemRandom().getrandbits(128))  # noqa: S311 - ids are no secrets

    def new(self, prefix: str) -> str:
        value = ((time.time_ns() // 1_000_000) << 82) | self._random.getrandbits(82)
        pairs = _PAIRS
        return (
            f"{prefix}_{pairs[value >> 120]}{pairs[value >> 110 & 1023]}{pairs[value >> 100 & 1023]}"
            f"{pairs[value >> 90 & 1023]}{pairs[value >> 80 & 1023]}{pairs[value >> 70 & 1023]}"
            f"{pairs[value >> 60 & 1023]}{pairs[value >> 50 & 1023]}{pairs[value >> 40 & 1023]}"
            f"{pairs[value >> 30 & 1023]}{pairs[value >> 20 & 1023]}{pairs[value >> 10 & 1023]}{pairs[value & 1023]}"
        )
