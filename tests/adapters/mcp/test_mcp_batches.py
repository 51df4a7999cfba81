"""Arrays of messages, taken apart: whatever is in them, and however long they are."""

import tracemalloc

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.mcp.batches import MOST_HEARD, NotAnArray, TooMany, is_array, messages_in, only_message, splitter

TEXT = st.text('a"\\[]{},: \u00e9\u2028', max_size=6)
"""Of what could be taken for the end of something."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
BOUNDED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SPACE = st.text(" \t\r\n", max_size=3).map(str.encode)


@BOUNDED
@given(st.lists(st.tuples(SPACE, JSON, SPACE), max_size=8), SPACE)
def test_an_array_is_taken_apart_into_its_elements_in_order(
    elements: list[tuple[bytes, object, bytes]], at: bytes
) -> None:
    raw = b"[" + b",".join(before + msgspec.json.encode(each) + after for before, each, after in elements) + b"]"
    found = messages_in(at + raw + at)
    assert is_array(at + raw)
    if elements:
        assert found == [msgspec.json.encode(each) for _, each, _ in elements]
    else:
        assert found == [at + raw + at]


@BOUNDED
@given(st.binary(max_size=60))
def test_what_is_no_array_stays_as_it_is(raw: bytes) -> None:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = None
    if not (isinstance(value, list) and value):
        assert messages_in(raw) == [raw]


@BOUNDED
@given(st.integers(0, 12), st.integers(0, 12))
def test_what_is_too_long_is_said_to_be(count: int, most: int) -> None:
    raw = b"[" + b",".join([b"{}"] * count) + b"]"
    if count > most:
        with pytest.raises(TooMany):
            splitter(most)(raw)
    else:
        assert splitter(most)(raw) == [b"{}"] * count


@pytest.mark.parametrize("raw", [b"[1", b"[1,]", b"[1]]", b"[" * 100_000, b"[{]"])
def test_what_is_no_json_is_no_array(raw: bytes) -> None:
    with pytest.raises(NotAnArray):
        splitter(50)(raw)
    assert messages_in(raw) == [raw]


def test_a_server_is_heard_up_to_a_bound() -> None:
    assert len(messages_in(b"[{}" + b",{}" * (MOST_HEARD - 1) + b"]")) == MOST_HEARD
    longer = b"[{}" + b",{}" * MOST_HEARD + b"]"
    assert messages_in(longer) == [longer]


def test_millions_of_elements_are_never_held() -> None:
    raw = b"[" + b"1," * 2_000_000 + b"1]"
    messages_in(b"[1]")
    tracemalloc.start()
    try:
        assert messages_in(raw) == [raw]
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < len(raw) * 2 + 1_000_000


def test_one_message_in_an_array_is_that_message() -> None:
    assert (only_message(b' [{"a":1} ]'), only_message(b"[1,2]"), only_message(b"{}")) == (b'{"a":1}', b"[1,2]", b"{}")
