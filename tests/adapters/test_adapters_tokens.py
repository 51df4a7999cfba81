"""Tokens as a real tokenizer counts them, without a network."""

import pytest
import toktok
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.tokens import LONG_CHARS, VOCABULARY, VocabularyCounter

pytestmark = pytest.mark.anyio


async def test_texts_are_counted_short_and_long() -> None:
    counter = VocabularyCounter()
    counter.warm()
    assert await counter.count(["hello world", "", "how many tokens?"]) == 6
    assert await counter.count(["hello " * LONG_CHARS]) == LONG_CHARS + 1


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=200), max_size=3))
async def test_short_texts_have_as_many_tokens_as_the_way_of_long_ones_counts(texts: list[str]) -> None:
    assert await VocabularyCounter().count(texts) == sum(toktok.batch_count(texts, VOCABULARY, 1))


async def test_what_utf_8_has_no_room_for_is_counted_too() -> None:
    assert await VocabularyCounter().count(["\ud800 half a pair"]) > 0


@pytest.mark.parametrize(
    "text", ["a text of seven or eight tokens here", "日本語のテキスト 🧠🧠", "word " * LONG_CHARS]
)
async def test_a_text_is_cut_to_a_number_of_tokens(text: str) -> None:
    counter = VocabularyCounter()
    cut = await counter.cut(text, 4)
    assert text.startswith(cut)
    assert 0 < await counter.count([cut]) <= 4
    assert await counter.cut("short", 100) == "short"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=200), st.integers(0, 20))
async def test_a_cut_text_never_has_more_than_it_may(text: str, most: int) -> None:
    counter = VocabularyCounter()
    assert await counter.count([await counter.cut(text, most)]) <= most
