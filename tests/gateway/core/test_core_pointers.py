"""JSON Pointers: the examples of RFC 6901, and what leads nowhere."""

import pytest

from gateway.core.json import Json
from gateway.core.pointers import NothingThere, at_pointer, is_pointer, referred_to

DOCUMENT: Json = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "m~n": 8, " ": 7, "~1": 9, "none": None}


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/foo/1", "baz"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/m~0n", 8),
        ("/ ", 7),
        ("/~01", 9),
        ("/none", None),
    ],
)
def test_a_pointer_leads_to_what_the_rfc_says(pointer: str, found: Json) -> None:
    assert is_pointer(pointer)
    assert at_pointer(DOCUMENT, pointer) == found


@pytest.mark.parametrize(
    "pointer", ["/bar", "/foo/2", "/foo/-", "/foo/-1", "/foo/00", "/foo/0000000001", "/foo/²", "/foo/bar", "/none/x"]
)
def test_what_is_not_there_is_not_found(pointer: str) -> None:
    with pytest.raises(NothingThere):
        at_pointer(DOCUMENT, pointer)


@pytest.mark.parametrize("text", ["foo", "foo/0", "/a~b", "/a~2", "#/foo"])
def test_what_is_no_pointer_is_told_from_one(text: str) -> None:
    assert not is_pointer(text)


@pytest.mark.parametrize(
    ("reference", "found"), [("#/foo/1", "baz"), ("#", DOCUMENT), ("#/bar", None), ("other.json#/foo", None), (1, None)]
)
def test_a_reference_stays_within_its_document(reference: Json, found: Json) -> None:
    assert referred_to(DOCUMENT, reference) == found
