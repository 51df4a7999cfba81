"""Slugs: what may be one."""

import pytest

from gateway.core.slugs import LONGEST_SLUG, RESERVED, is_slug


@pytest.mark.parametrize("text", ["a", "orders-2", "0", "a" * LONGEST_SLUG, *sorted(RESERVED)])
def test_short_plain_names_are_slugs(text: str) -> None:
    assert is_slug(text)


@pytest.mark.parametrize("text", ["", "Orders", "a_b", "ä", "a b", "a/b", "orders\n", "a" * (LONGEST_SLUG + 1)])
def test_nothing_else_is_one(text: str) -> None:
    assert not is_slug(text)
