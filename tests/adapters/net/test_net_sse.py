"""The event stream parser against the specification's algorithm, whatever the borders of the chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.net.sse import ServerSentEvent, SseParser
from gateway.core.errors import UpstreamFailed

LINES = st.sampled_from(
    [
        b"data: one",
        b"data:two",
        b"data",
        b"data: ",
        b"data:  spaced",
        b": comment",
        b":",
        b"event: ping",
        b"event",
        b"id: 7",
        b"id: bad\0id",
        b"id",
        b"retry: 250",
        b"retry: soon",
        b"unknown: x",
        b"",
        b"",
    ]
)
STREAMS = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=30)


def by_the_book(stream: bytes) -> list[ServerSentEvent]:
    """WHATWG HTML 9.2.6, step by step over the whole stream."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[ServerSentEvent] = []
    data, event, last_id = b"", b"", b""
    for line in text.split(b"\n")[:-1]:
        if not line:
            if data:
                events.append(ServerSentEvent(data[:-1], event or b"message", last_id))
            data, event = b"", b""
            continue
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data += value + b"\n"
        elif name == b"event":
            event = value
        elif name == b"id" and b"\0" not in value:
            last_id = value
    return events


@given(lines=STREAMS, borders=st.lists(st.integers(1, 9)), mark=st.booleans())
def test_any_chunking_gives_the_events_of_the_specification(
    lines: list[tuple[bytes, bytes]], borders: list[int], mark: bool
) -> None:
    stream = (b"\xef\xbb\xbf" if mark else b"") + b"".join(line + end for line, end in lines)
    parser = SseParser(1000)
    events: list[ServerSentEvent] = []
    rest = stream
    for size in borders:
        events += parser.feed(rest[:size])
        rest = rest[size:]
    events += parser.feed(rest)
    assert events == by_the_book(stream)


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_any_bytes_are_read_without_a_crash(chunks: list[bytes]) -> None:
    parser = SseParser(10_000)
    for chunk in chunks:
        parser.feed(chunk)


def test_an_event_is_given_as_soon_as_its_empty_line_ends() -> None:
    parser = SseParser(100)
    assert parser.feed(b"data: x\r\n\r") == [ServerSentEvent(b"x")]
    assert parser.feed(b"\ndata: y\r\r") == [ServerSentEvent(b"y")]


def test_the_server_can_say_when_to_come_back_and_from_where() -> None:
    parser = SseParser(100)
    assert parser.feed(b"id: 4\nretry: 250\ndata:\n\n") == [ServerSentEvent(b"", id=b"4")]
    assert (parser.last_id, parser.retry_ms) == (b"4", 250)


@pytest.mark.parametrize("piece", [b"x", b"data: x\n", b": x", b"event: xxxxxxxx", b"id: xxxxxx"])
def test_an_event_without_end_is_refused_however_it_is_sent(piece: bytes) -> None:
    parser = SseParser(1000)
    with pytest.raises(UpstreamFailed):
        for _ in range(2000):
            parser.feed(piece)


def test_events_within_the_limit_can_follow_each_other_for_ever() -> None:
    parser = SseParser(100)
    for _ in range(1000):
        assert len(parser.feed(b": ping\n\ndata: x\n\n")) == 1
