"""YAML to values and places: the friendly dialect, and files that mean harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.document import DEEPEST, Place, child, parent, plain_value, read_document
from gateway.core.json import Json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("8640:80", "8640:80"),
        ("0123", "0123"),
        ("2026-11-21", "2026-11-21"),
        ("1_000", "1_000"),
        ("0x1f", "0x1f"),
        (".inf", ".inf"),
        ("1" * 30, "1" * 30),
        ("no", "no"),
    ],
)
def test_unquoted_values_mean_what_they_look_like(text: str, value: Json) -> None:
    assert plain_value(text) == value
    assert type(plain_value(text)) is type(value)


def test_every_value_has_its_place() -> None:
    document = read_document(
        'servers:\n  orders:\n    url: "http://x"\n    tags: [a, b]\n  "a.b":\n    - |\n      two\n'
    )

    assert document.data == {"servers": {"orders": {"url": "http://x", "tags": ["a", "b"]}, "a.b": ["two\n"]}}
    assert document.places["servers.orders.url"] == Place(3, 5, 3, 11, verbatim=True)
    assert document.places["servers.orders.tags[1]"] == Place(4, 15, 4, 15, verbatim=True)
    assert document.places['servers["a.b"][0]'] == Place(6, 7, 6, 7, verbatim=False)
    assert document.problems == ()


def test_a_path_that_is_not_there_is_placed_at_what_is_around_it() -> None:
    document = read_document("a:\n  b: {c: 1}\n")

    assert document.place_of("a.b.missing[3].deep").line == 2
    assert document.place_of("nothing").line == 1


def test_keys_are_always_text_and_quoted_values_too() -> None:
    assert read_document("on: '12'\n404: \"true\"\nnull: !!str 5\n").data == {"on": "12", "404": "true", "null": "5"}


def test_aliases_stand_for_what_was_anchored() -> None:
    document = read_document("x-a: &a {roles: [r]}\nb: *a\n")

    assert document.data["b"] == {"roles": ["r"]}
    assert document.place_of("b").line == 2
    assert document.place_of("b.roles[0]").line == 1


@pytest.mark.parametrize("text", ["", "   \n", "# only a comment\n", "---\n"])
def test_an_empty_file_says_nothing(text: str) -> None:
    document = read_document(text)

    assert document.data == {}
    assert document.problems == ()


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("a: 1\na: 2\n", 2, 1, "first in line 1"),
        ("- a\n", 1, 1, "not a mapping"),
        ("plain\n", 1, 1, "not a mapping"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, 4, "tags"),
        ("a: !secret x\n", 1, 4, "tags"),
        ("a: !!int '3'\n", 1, 4, "tags"),
        ("{[1]: 2}\n", 1, 2, "a key that is no text"),
        ("a:\n\t- b\n", 2, 1, "tab"),
        ("a: b: c\n", 1, 5, "mapping values"),
        ("a:\n  - b\n c: d\n", 3, 2, "block end"),
        ("a: 'b\n", 2, 1, "unexpected end"),
        ("a: *nothing\n", 1, 4, "refers to nothing"),
        ("a: &a [*a]\n", 1, 8, "refers to nothing"),
        ("a: 1\n---\nb: 2\n", 2, 1, "second document"),
        ("a: 1\nb: \x07\n", 2, 4, "control character"),
    ],
)
def test_what_is_wrong_with_the_form_has_its_place(text: str, line: int, column: int, says: str) -> None:
    (problem,) = read_document(text).problems

    assert (problem.line, problem.column) == (line, column)
    assert says in f"{problem.message} {problem.expected}"


def test_aliases_that_multiply_are_cut_short() -> None:
    layers = ["x0: &x0 [" + ", ".join(["y"] * 10) + "]"]
    layers += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 9)]

    (problem,) = read_document("\n".join(layers)).problems

    assert "aliases included" in problem.message


def test_aliases_that_nest_are_cut_short() -> None:
    layers = ["x0: &x0 [y]"] + [f"x{n}: &x{n} [*x{n - 1}]" for n in range(1, 200)]

    (problem,) = read_document("\n".join(layers)).problems

    assert "levels deep" in problem.message


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_nesting_without_end_is_cut_short(opening: str) -> None:
    (problem,) = read_document("a:\n  " + opening * 5000).problems

    assert f"{DEEPEST} levels" in problem.message


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    document = read_document(text)

    assert document.data == {} or document.places


@given(st.lists(st.sampled_from(["a", "b-c", "tool:x", "a.b", "ü", "x y"]) | st.integers(0, 9), min_size=1))
def test_the_way_up_from_any_path_ends(steps: list[str | int]) -> None:
    path = ""
    for step in steps:
        path = child(path, step)

    while path:
        shorter = parent(path)
        assert len(shorter) < len(path)
        path = shorter
