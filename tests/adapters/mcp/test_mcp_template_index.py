"""Many templates at once: none that matters is passed over, and few that do not are looked at."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.mcp.contests import contested
from adapters.mcp.template_index import Beginnings, Effort, TemplateIndex
from adapters.mcp.templates import template_from
from adapters.mcp.uris import Uris
from tests.fakes_mcp_door import resource, template

MANY = 2_000

pieces = st.sampled_from(["", "a", "b", "ab", "a/", "/", "a+", "{x}", "{+x}", "{?x}", "{/x}"])
texts = st.lists(pieces, max_size=5).map("".join)
uris = st.text(alphabet="ab/+?x", max_size=8)


def index_of(*made: str) -> TemplateIndex[str]:
    return TemplateIndex((template_from(text), text) for text in made)


@settings(max_examples=60)
@given(st.lists(texts, max_size=8), uris)
def test_whatever_matches_is_among_the_candidates_and_is_found(made: list[str], uri: str) -> None:
    index = index_of(*made)
    matching = {text for text in made if template_from(text).matches(uri)}
    assert matching <= {text for _, text in index.candidates(uri)}
    found = index.find(uri, Effort(1_000_000))
    assert found in matching if matching else found is None


@settings(max_examples=60)
@given(st.lists(texts, max_size=8, unique=True))
def test_of_two_that_may_make_the_same_one_is_alike_to_the_other(made: list[str]) -> None:
    index = index_of(*made)
    alike = {frozenset({text, other}) for text in made for _, other in index.alike(template_from(text))}
    meeting = {frozenset(two) for two in combinations(made, 2) if template_from(two[0]).meets(template_from(two[1]))}
    assert meeting <= alike


@settings(max_examples=60)
@given(st.lists(st.text(alphabet="ab", max_size=5)), st.text(alphabet="abc", max_size=6))
def test_beginnings_are_all_there_in_order(known: list[str], text: str) -> None:
    beginnings = Beginnings(known)
    assert list(beginnings.of(text)) == sorted({each for each in known if text.startswith(each)}, key=len, reverse=True)
    longer = {each for each in known if each.startswith(text) and each != text}
    assert list(beginnings.beyond(text)) == sorted(longer)


@pytest.mark.parametrize("shape", ["kind{}://{{id}}", "api://{{org}}/kind{}", "api:///{}/{{id}}", "{{host}}/kind{}"])
def test_each_of_thousands_of_uris_is_held_against_hardly_more_than_its_own_template(shape: str) -> None:
    index = index_of(*(shape.format(f"{number:04}") for number in range(MANY)))
    made = [shape.format(f"{number:04}").replace("{id}", "7").replace("{org}", "o") for number in range(MANY)]
    compared = sum(1 for uri in made for _ in index.candidates(uri.replace("{host}", "h")))
    assert compared == MANY


def test_thousands_of_templates_of_two_servers_are_told_apart() -> None:
    """As many as before were too many to be compared, so that each was said with a mark."""
    made = [(owner, f"{owner}{number:04}://{{id}}") for owner in ("a", "b") for number in range(MANY)]
    listed = [(owner, f"{owner}{number:04}://7") for owner in ("a", "b") for number in range(MANY)]
    assert contested(listed, [*made, ("c", "a0000://{x}")], lambda text: False) == {
        "a": {"a0000://{id}", "a0000://7"},
        "c": {"a0000://{x}"},
    }


def test_what_would_be_too_much_effort_is_not_found_and_said_with_its_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [f"{{a}}{'{b}-' * 8}{number}{{c}}" for number in range(100)]
    effort = Effort(10_000)
    assert index_of(*many).find("-" * 500, effort) is None
    assert effort.spent
    monkeypatch.setattr("adapters.mcp.uris.STEPS_A_RESULT", 1_000)
    said = Uris([resource("x:1", "b")], [template("a://{id}", "a")]).outward("a")
    assert said is not None
    assert [said("a://7"), said(f"a://{'7' * 1_000}"), said("a://7")] == ["a://7", f"a+a://{'7' * 1_000}", "a+a://7"]
