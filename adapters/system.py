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
    """See `ports.world.Ids`: 50 bits of milliseconds and 80 bits at random, nearly as ULIDs are built.

    Unique, not secret: the generator is fast, seeded by the system once, and guards nothing.
    """

    def __init__(self) -> None:
        self._random = random.Random(random.SystemRandom().getrandbits(128))  # noqa: S311 - ids are no secrets
        self._now_ms = 0
        self._time = ""

    def new(self, prefix: str) -> str:
        now_ms = time.time_ns() // 1_000_000
        if now_ms != self._now_ms:
            self._now_ms, self._time = now_ms, _text_of(now_ms, 5)
        low = self._random.getrandbits(80)
        pairs = _PAIRS
        return (
            f"{prefix}_{self._time}{pairs[low >> 70]}{pairs[low >> 60 & 1023]}{pairs[low >> 50 & 1023]}"
            f"{pairs[low >> 40 & 1023]}{pairs[low >> 30 & 1023]}{pairs[low >> 20 & 1023]}{pairs[low >> 10 & 1023]}"
            f"{pairs[low & 1023]}"
        )


def _text_of(value: int, pairs: int) -> str:
    return "".join(_PAIRS[value >> 10 * place & 1023] for place in reversed(range(pairs)))
