"""How strangers' JSON is read: as every other reader would, or not at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.json import Json, endless_number, strict_json

LARGEST = b"1" + b"0" * 308
NINES = b"9" * 309
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_whatever_is_json_is_read_as_it_is(value: Json) -> None:
    assert strict_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("number", [LARGEST, b"-" + LARGEST, b"1.7e308", b"0." + b"1" * 5000, b"1e-400"])
def test_a_number_that_a_double_holds_is_read(number: bytes) -> None:
    assert strict_json(b'{"a": %b}' % number) == {"a": json.loads(number)}


@pytest.mark.parametrize(
    "number", [b"1e400", b"-1e400", b"9" * 309, b"-" + b"9" * 309, b"9" * 5000, b"1" * 400 + b".5"]
)
@pytest.mark.parametrize(
    ("around", "place"),
    [(b"%b", "$"), (b'{"order": {"lines": [1, {"n": %b}, 1e500]}, "z": 1e400}', "$.order.lines[1].n")],
)
def test_a_number_beyond_that_is_refused_with_its_place(number: bytes, around: bytes, place: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        strict_json(around % number)
    assert str(refused.value).startswith(f"{place} is a number beyond 1.8e308")
    assert endless_number(around % number) == str(refused.value)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"NaN", "NaN is no JSON"),
        (b"[-Infinity]", "-Infinity is no JSON"),
        (b'{"a": 1, "a": 2}', "named twice"),
        (b"[" * 100_000, "too deeply"),
        (b'{"a": ', "Expecting value"),
        (b"\xff", "decode"),
    ],
)
def test_what_is_no_json_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        strict_json(raw)
    assert said in str(refused.value)


def test_a_place_is_never_long_whoever_named_the_members() -> None:
    raw = b'{"%b": [%b1e400]}' % (b"x" * 100_000, b"0," * 10_000)
    assert len(endless_number(raw)) < 500
