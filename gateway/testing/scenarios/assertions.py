"""Whether what came of a request is what was expected: one finding for each thing that is not. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.core.contracts import violation
from gateway.core.json import Json, JsonObject, json_text
from gateway.testing.scenarios.expectations import ExpectSettings
from gateway.testing.scenarios.known_targets import KnownTargets
from gateway.testing.scenarios.matching import mismatch, said_in, shown, values_at
from gateway.testing.scenarios.trace import Trace
from gateway.testing.scenarios.trace_assertions import label_findings, trace_findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it should be."""

    what: str
    """Which expectation: `answer`, `trace.counts["agent:a"]`."""
    expected: str
    seen: str

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}; {self.seen}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a request was answered with."""

    structured: JsonObject = field(default_factory=dict[str, Json])
    """`answer`, `gaps`, `steps`, `notices`, …"""
    text: str = ""
    error: str = ""
    """Why it failed; empty where it did not."""
    labels: JsonObject = field(default_factory=dict[str, Json])

    @property
    def value(self) -> Json:
        """The answer itself."""
        return self.structured.get("answer", self.text)


def findings(expect: ExpectSettings, given: Given, trace: Trace, known: KnownTargets) -> list[Finding]:
    """Everything that is not as expected, answer first. `known`: what could have been called."""
    wrong = [*_of_answer(expect, given), *_of_words(expect, given), *_beside_answer(expect, given)]
    found = [*trace_findings(expect.trace, trace, known), *label_findings(expect.trace, given.labels, trace)]
    wrong += [Finding(what=f"trace.{what}", expected=expected, seen=seen) for what, expected, seen in found]
    return wrong


def _of_answer(expect: ExpectSettings, given: Given) -> Iterator[Finding]:
    if expect.answer is not None and (wrong := mismatch(expect.answer, given.value)):
        yield Finding(what="answer", expected=shown(expect.answer), seen=wrong)
    if expect.equals is not None and said_in(expect.equals) != said_in(given.value) and expect.equals != given.value:
        yield Finding(what="equals", expected=shown(expect.equals), seen=f"it is {shown(given.value)}")
    if expect.matches_schema is not None and (broken := violation(expect.matches_schema, given.value)):
        yield Finding(what="schema", expected=shown(expect.matches_schema), seen=broken)
    for path, pattern in expect.at.items():
        values = values_at(given.structured, path)
        if not values and not _may_be_missing(pattern):
            yield Finding(what=f"at[{path}]", expected=shown(pattern), seen="nothing stands there")
        for value in values:
            if wrong := mismatch(pattern, value):
                yield Finding(what=f"at[{path}]", expected=shown(pattern), seen=wrong)


def _may_be_missing(pattern: Json) -> bool:
    return isinstance(pattern, dict) and pattern.get("$exists") is False


def _of_words(expect: ExpectSettings, given: Given) -> Iterator[Finding]:
    words = f"{given.text}\n{said_in(given.value)}"
    for text in expect.contains:
        if text.lower() not in words.lower():
            yield Finding(what="contains", expected=repr(text), seen=f"the answer is {shown(given.text)}")
    whole = f"{words}\n{said_in(given.structured)}"
    for text in expect.lacks:
        if text.lower() in whole.lower():
            yield Finding(what="lacks", expected=f"no {text!r}", seen=f"it says {_around(whole, text)!r}")
    if expect.regex and re.search(expect.regex, words) is None:
        yield Finding(what="regex", expected=repr(expect.regex), seen=f"the answer is {shown(given.text)}")


def _around(whole: str, text: str) -> str:
    place = whole.lower().index(text.lower())
    return whole[max(0, place - 40) : place + len(text) + 40]


def _beside_answer(expect: ExpectSettings, given: Given) -> Iterator[Finding]:
    for name, pattern in (("gaps", expect.gaps), ("notices", expect.notices)):
        if pattern is not None and (wrong := mismatch(pattern, given.structured.get(name, []), name)):
            yield Finding(what=name, expected=shown(pattern), seen=wrong)
    confidence = given.structured.get("confidence")
    if expect.confidence is not None and (wrong := mismatch(expect.confidence, confidence, "confidence")):
        yield Finding(what="confidence", expected=shown(expect.confidence), seen=wrong)
    if isinstance(expect.error, bool):
        if expect.error is not bool(given.error):
            seen = f"it failed: {given.error}" if given.error else "it did not fail"
            yield Finding(what="error", expected="a failure" if expect.error else "none", seen=seen)
    elif expect.error is not None and expect.error.lower() not in given.error.lower():
        yield Finding(what="error", expected=repr(expect.error), seen=repr(given.error) if given.error else "none")


def unexpected_failure(expect: ExpectSettings, given: Given) -> list[Finding]:
    """A request that failed although nothing was said of failing."""
    if not given.error or expect.error is not None or expect.trace.state or expect.trace.failure is not None:
        return []
    return [Finding(what="error", expected="none, since nothing is said of one", seen=json_text(given.error))]
