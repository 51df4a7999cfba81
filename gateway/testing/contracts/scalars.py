"""Numbers and texts that meet a schema: those at its edges, and drawn ones. Pure, and bounded."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

from gateway.core.json import Json, JsonObject, json_text
from gateway.testing.contracts.expressions import BOUNDARIES, texts_matching

_LONGEST_TEXT = 40
_SPAN = 1000
"""From one end of a range to the other where only one is said."""
_FINE = Fraction(1, 100)
_LONGEST_INTEGER = 2**53
_FARTHEST = 10**300
"""What is said of numbers beyond that is not looked at."""
_WORDS = ("", "a", "order 4711", "ü", "0", "null", "<b>", "'; --", " ")
_FORMATS: dict[str, tuple[str, ...]] = {
    "date": ("2026-02-28", "2028-02-29", "0001-01-01", "9999-12-31"),
    "date-time": ("2026-02-28T23:59:59Z", "2028-02-29T00:00:00.123456+14:00", "1970-01-01T00:00:00-12:00"),
    "time": ("23:59:59Z", "00:00:00.5+05:30"),
    "duration": ("P1D", "PT0S", "P1Y2M3DT4H5M6S"),
    "email": ("ana@example.org", "a.b+c@mail.example.org"),
    "idn-email": ("ana@example.org", "jürgen@example.org"),
    "hostname": ("example.org", "a", "xn--bcher-kva.example"),
    "idn-hostname": ("example.org", "bücher.example"),
    "uri": ("https://example.org/a?b=c", "urn:isbn:9780131103627", "https://[2001:db8::1]:8080/#x"),
    "uri-reference": ("/a?b=c", "https://example.org/", "#x"),
    "iri": ("https://example.org/ü",),
    "iri-reference": ("/ü",),
    "uri-template": ("https://example.org/{id}",),
    "uuid": ("00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff"),
    "ipv4": ("192.0.2.1", "255.255.255.255"),
    "ipv6": ("2001:db8::1", "::"),
    "json-pointer": ("/a/0", ""),
    "relative-json-pointer": ("0/a", "1#"),
    "regex": ("^a+$",),
}


def numbers_at_edges(said: JsonObject, *, whole: bool) -> Iterator[Json]:
    """Both ends and what is next to them, nought, one step, one, and the middle."""
    span = _span_of(said, whole=whole)
    middle = span.first + (span.last - span.first) / 2
    next_ones = (span.first + span.step, span.last - span.step)
    for each in (span.first, span.last, *next_ones, Fraction(0), span.step, Fraction(1), middle):
        yield span.nearest(each)


def number_drawn(said: JsonObject, drawing: random.Random, *, whole: bool) -> Json:
    span = _span_of(said, whole=whole)
    share = Fraction(drawing.randrange(10_001), 10_000)
    return span.nearest(span.first + (span.last - span.first) * share)


def texts_at_edges(said: JsonObject) -> Iterator[str]:
    """Of a format or an expression what it knows; else the shortest, the longest, and what is easily misread."""
    least, most = _length(said.get("minLength"), 0), _length(said.get("maxLength"), _LONGEST_TEXT)
    if kept := _FORMATS.get(json_text(said.get("format"))):
        yield from (each for each in kept if least <= len(each) <= max(most, _LONGEST_TEXT))
        return
    if pattern := json_text(said.get("pattern")):
        yield from islice(texts_matching(pattern, 1), BOUNDARIES)
    yield "a" * least
    yield "x" * min(most, 1000)
    yield from (each.ljust(least, "a")[:most] for each in _WORDS)


def text_drawn(said: JsonObject, drawing: random.Random) -> str:
    if pattern := json_text(said.get("pattern")):
        drawn = islice(texts_matching(pattern, drawing.randrange(2**32)), BOUNDARIES, None)
        if (text := next(drawn, None)) is not None:
            return text
    return drawing.choice([*texts_at_edges(said)] or ["a"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """Numbers from the first to the last, both of them in it."""

    first: Fraction
    last: Fraction
    step: Fraction
    """From one to the next; where nothing is said of that, a small one."""
    stepped: bool
    """Whether only multiples of the step are in it."""

    def nearest(self, number: Fraction) -> Json:
        if self.stepped:
            number = round(number / self.step) * self.step
        within = max(self.first, min(self.last, number))
        # Beyond that a whole number is written as a float: not every reader of JSON has longer integers.
        return within.numerator if within.denominator == 1 and abs(within) < _LONGEST_INTEGER else float(within)


def _span_of(said: JsonObject, *, whole: bool) -> _Span:
    multiple = fraction_of(said.get("multipleOf")) or Fraction(0)
    # Of the multiples of 3/2, whole are those of 3.
    step = Fraction(abs(multiple.numerator)) if whole and multiple else abs(multiple)
    stepped, wide = whole or bool(multiple), _SPAN * max(step, Fraction(1))
    low, high = _low(said), _high(said)
    begin = low[0] if low else high[0] - wide if high else -wide
    end = high[0] if high else begin + wide
    if not step:
        step = Fraction(1) if whole else min(_FINE, abs(end - begin) / 4) or _FINE
    first, last = (math.ceil(begin / step) * step, math.floor(end / step) * step) if stepped else (begin, end)
    first += step if low and low[1] and first == begin else 0
    last -= step if high and high[1] and last == end else 0
    return _Span(first=first, last=max(first, last), step=step, stepped=stepped)


def _low(said: JsonObject) -> "tuple[Fraction, bool] | None":
    """The lower end, and whether it is outside itself."""
    closed, beyond = fraction_of(said.get("minimum")), fraction_of(said.get("exclusiveMinimum"))
    return max([(each, out) for each, out in ((closed, False), (beyond, True)) if each is not None], default=None)


def _high(said: JsonObject) -> "tuple[Fraction, bool] | None":
    closed, beyond = fraction_of(said.get("maximum")), fraction_of(said.get("exclusiveMaximum"))
    ends = [(each, out) for each, out in ((closed, False), (beyond, True)) if each is not None]
    return min(ends, key=lambda end: (end[0], not end[1]), default=None)


def fraction_of(value: Json) -> Fraction | None:
    """A number as it is written: 0.1 is a tenth. None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_FARTHEST <= value <= _FARTHEST:
        return None
    return Fraction(value) if isinstance(value, int) else Fraction(repr(value))


def _length(value: Json, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default
