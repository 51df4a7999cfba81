"""Verdicts as a router keeps them: without a word of whoever gave them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.json import JsonObject
from gateway.patterns.router.kept import kept_of, verdict_kept
from gateway.patterns.router.verdicts import RoutingVerdict
from gateway.patterns.shared.wishes import Intent

WORKERS = ("agent:a", "agent:b")
WORDS = st.lists(st.text("abcß.,", min_size=1, max_size=4), min_size=1, max_size=12)


def verdict(*texts: str) -> RoutingVerdict:
    intents = tuple(Intent(worker=each, text=text) for each, text in zip(WORKERS, texts, strict=True))
    return RoutingVerdict(worker="agent:a", confidence=0.9, intents=intents)


@settings(deadline=None)
@given(words=WORDS, data=st.data())
def test_wishes_in_the_requests_own_words_come_back(words: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(words) - 1))
    end = data.draw(st.integers(first + 1, len(words)))
    text = " ".join(words[first:end])
    kept = kept_of(verdict(text, ""), "  ".join(words))
    assert kept is not None
    before = verdict_kept(kept, " ".join(words).upper(), WORKERS)
    assert before is not None
    said = before.intents[0].text.casefold()
    plain = [each.strip(".,") for each in text.casefold().split()]
    assert [each.strip(".,") for each in said.split()] == plain
    assert before.intents[1] == Intent(worker="agent:b", text="")


def test_wishes_in_other_words_are_not_kept_and_no_word_of_others_is() -> None:
    assert kept_of(verdict("pay", "bill me"), "Pay, then send it") is None
    kept = kept_of(verdict("pay", "send it"), "Pay, then send it")
    assert "send" not in json.dumps(kept)


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {"worker": "agent:c", "confidence": 0.9},
        {"worker": "agent:a"},
        {"worker": "agent:a", "confidence": 0.9, "intents": [{"worker": "agent:c", "words": [0, 1]}]},
    ],
)
def test_what_is_of_no_use_any_more_is_no_verdict(kept: JsonObject) -> None:
    assert verdict_kept(kept, "pay", WORKERS) is None
