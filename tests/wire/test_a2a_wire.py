"""A2A 1.0 JSON and the core's values, both ways; envelopes; errors."""

import json
from typing import Any

import msgspec
import pytest
from a2a.types import Message as SdkMessage
from a2a.types import StreamResponse as SdkStream
from a2a.types import Task as SdkTask
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.a2a.wire.bodies import Answer, Frame, Params, Snapshot
from adapters.a2a.wire.envelope import (
    Refused,
    answer_bytes,
    call_from_bytes,
    decode_members,
    decode_value,
    deeper_than,
    encode,
    error_bytes,
    event_bytes,
    request_bytes,
    result_from_bytes,
)
from adapters.a2a.wire.errors import ERROR_INFO, NAMED, a2a_error, clean_line, error_from_json, error_json
from adapters.a2a.wire.events import TaskEvent, event_from_json, event_json
from adapters.a2a.wire.values import (
    at_us_from,
    content_from_json,
    message_json,
    part_from_json,
    part_json,
    parts_json,
    task_from_json,
    task_json,
    timestamp,
    turn_from_json,
    valid_id,
)
from gateway.core.content import Content, Part, data_part, text_part
from gateway.core.errors import ERRORS, Exhausted, GatewayError, InvalidRequest, UpstreamFailed
from gateway.core.json import Json
from gateway.core.model import ArtifactAdded, StatusChanged, TaskOpened
from gateway.core.task import Artifact, Task, TaskState, Turn

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ids = st.text(st.sampled_from("abcXYZ019._~:/-"), min_size=1, max_size=20)
values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=3)
moments = st.integers(1, 253_402_300_799_000_000)


def a_part(draw: Any) -> Part:
    kind = draw(st.sampled_from(["text", "data", "raw", "url"]))
    said = draw(values) if kind == "data" else draw(texts)
    return Part(kind=kind, **{kind: said}, media_type=draw(texts), name=draw(texts), metadata=draw(objects))


parts = st.composite(a_part)()


@st.composite
def contents(draw: st.DrawFn) -> Content:
    said = tuple(draw(st.lists(parts, min_size=1, max_size=3)))
    structured = next((part.data for part in said if part.kind == "data"), None)
    return Content(parts=said, structured=structured)


artifacts = st.builds(Artifact, id=ids, content=contents(), name=texts, metadata=objects)
turns = st.builds(Turn, id=ids, role=st.sampled_from(["user", "agent"]), content=contents())
tasks = st.builds(
    Task,
    id=ids,
    context_id=ids,
    state=st.sampled_from(TaskState),
    updated_at_us=moments,
    message=st.none() | contents(),
    artifacts=st.lists(artifacts, max_size=2).map(tuple),
    history=st.lists(turns, max_size=2).map(tuple),
    metadata=objects,
)
events: st.SearchStrategy[TaskEvent] = st.one_of(
    st.builds(TaskOpened, task=tasks),
    st.builds(StatusChanged, task_id=ids, context_id=ids, state=st.sampled_from(TaskState), text=texts, at_us=moments),
    st.builds(ArtifactAdded, task_id=ids, context_id=ids, artifact=artifacts, append=st.booleans(), last=st.booleans()),
)


@settings(deadline=None)
@given(tasks)
def test_a_task_survives_the_wire(task: Task) -> None:
    assert task_from_json(decode_value(encode(task_json(task)))) == task


@settings(deadline=None)
@given(events)
def test_an_event_survives_the_wire(event: TaskEvent) -> None:
    value = decode_value(encode(event_json(event)))
    assert isinstance(value, dict)
    assert event_from_json(value) == event


@settings(deadline=None)
@given(parts)
def test_a_part_survives_the_wire(part: Part) -> None:
    assert part_from_json(decode_value(encode(part_json(part)))) == part


@settings(deadline=None)
@given(turns)
def test_a_message_survives_the_wire(turn: Turn) -> None:
    assert turn_from_json(message_json(turn.content, message_id=turn.id, role=turn.role)) == turn


@settings(deadline=None)
@given(moments)
def test_a_moment_survives_the_wire(at_us: int) -> None:
    assert at_us_from(timestamp(at_us)) == at_us


@settings(deadline=None)
@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_break_the_parsers(raw: bytes) -> None:
    for parse in (
        lambda: call_from_bytes(raw, depth=8),
        lambda: result_from_bytes(raw, "1"),
        lambda: task_from_json(decode_value(raw)),
        lambda: Answer(raw, "task").content(),
        lambda: Answer(raw, "message").content(),
        lambda: Frame(raw).content(),
    ):
        try:
            parse()
        except (GatewayError, Refused):
            continue


@settings(deadline=None)
@given(values)
def test_no_value_breaks_an_event(value: Json) -> None:
    for member in ("task", "statusUpdate", "artifactUpdate"):
        try:
            event_from_json({member: value})
        except InvalidRequest:
            continue


@settings(max_examples=30, deadline=None)
@given(
    st.builds(
        Task,
        id=ids,
        context_id=ids,
        state=st.sampled_from(TaskState),
        updated_at_us=moments,
        message=st.just(Content(parts=(text_part("said"),))),
        artifacts=st.just((Artifact(id="a", content=Content(parts=(data_part({"n": 1.5}), text_part("x")))),)),
        history=st.just((Turn(id="m", role="user", content=Content(parts=(text_part("asked"),))),)),
    )
)
def test_what_is_rendered_is_what_the_sdk_reads(task: Task) -> None:
    read = ParseDict(task_json(task), SdkTask())
    stream = ParseDict(event_json(TaskOpened(task=task)), SdkStream())

    assert task_from_json(MessageToDict(read)).artifacts[0].content.structured == {"n": 1.5}
    assert (read.id, read.history[0].message_id) == (task.id, "m")
    assert stream.task.status.message.parts[0].text == "said"


def test_history_and_artifacts_are_cut_as_asked() -> None:
    said = Content(parts=(text_part("x"),))
    turns_of = tuple(Turn(id=str(n), role="user", content=said) for n in range(3))
    task = Task(
        id="t",
        context_id="c",
        state=TaskState.WORKING,
        updated_at_us=0,
        history=turns_of,
        artifacts=(Artifact(id="a", content=said),),
    )

    assert "history" not in task_json(task, history_length=0)
    assert [turn["messageId"] for turn in task_json(task, history_length=2)["history"]] == ["1", "2"]  # type: ignore[index, union-attr, call-overload]
    assert "artifacts" not in task_json(task, artifacts=False)


def test_a_structured_value_without_a_part_of_its_own_gets_one() -> None:
    assert parts_json(Content(parts=(text_part("x"),), structured={"a": 1}))[1] == {
        "data": {"a": 1},
        "mediaType": "application/json",
    }


@pytest.mark.parametrize("bad", ["", " ", "a b", "a\n", "é", "x" * 257, "a?b", None, 7])
def test_an_id_of_another_shape_is_refused(bad: Json) -> None:
    with pytest.raises(InvalidRequest):
        valid_id(bad)


def test_a_relayed_body_says_its_message_and_keeps_its_bytes() -> None:
    raw = b'{"message":{"messageId":"m","parts":[{"text":"hi"},{"data":[1]}]},"x":9007199254740993}'
    body = Params(decode_members(raw), size_bytes=len(raw))

    assert body.content().text == "hi"
    assert body.content().structured == [1]
    assert bytes(body.members["x"]) == b"9007199254740993"
    assert body.content() is body.content()


def test_a_body_about_tasks_says_its_parameters() -> None:
    assert Params(decode_members(b'{"id":"t"}')).content().structured == {"id": "t"}


def test_a_failed_task_says_why_before_what_it_made() -> None:
    value: Json = {
        "id": "t",
        "status": {"state": "TASK_STATE_FAILED", "message": {"parts": [{"text": "broken"}]}},
        "artifacts": [{"artifactId": "a", "parts": [{"text": "half"}]}],
    }
    assert Answer(encode(value), "task").content().text == "broken\nhalf"
    assert Snapshot(task_from_json(value)).content().text == "broken\nhalf"


def test_a_list_says_itself() -> None:
    assert Answer(b'{"tasks":[]}', "tasks").content().structured == {"tasks": []}


@pytest.mark.parametrize("name", NAMED)
def test_each_named_error_keeps_its_number_and_reason_on_the_wire(name: str) -> None:
    rendered = error_json(a2a_error(name, "why", record="rec_1"))

    assert rendered["code"] == NAMED[name].code
    (info,) = rendered["data"]  # type: ignore[misc]
    assert info == {
        "@type": ERROR_INFO,
        "reason": name,
        "domain": "a2a-protocol.org",
        "metadata": {"record": "rec_1", "code": str(NAMED[name].error.wire.code)},
    }


@pytest.mark.parametrize("error", ERRORS)
def test_each_of_our_errors_has_its_number_and_our_domain(error: type[GatewayError]) -> None:
    rendered = error_json(error("why", detail={"limit": 3}))

    assert rendered["code"] == error.wire.jsonrpc
    (info,) = rendered["data"]  # type: ignore[misc]
    assert (info["domain"], info["reason"]) == ("drawbridge", error.wire.reason)  # type: ignore[index, call-overload]
    assert info["metadata"]["limit"] == "3"  # type: ignore[index, call-overload]


def test_when_to_come_back_is_told() -> None:
    (info,) = error_json(Exhausted("busy", retry_after_s=1.5))["data"]  # type: ignore[misc]
    assert info["metadata"]["retryAfterSeconds"] == "1.5"  # type: ignore[index, call-overload]


@pytest.mark.parametrize("name", sorted(NAMED.keys() - {"PARSE_ERROR", "INVALID_REQUEST", "METHOD_NOT_FOUND"}))
def test_an_agents_named_error_keeps_its_name(name: str) -> None:
    error = error_from_json({"code": NAMED[name].code, "message": "no \x1b[31mway"})

    assert type(error) is NAMED[name].error
    assert (error.detail["a2a"], error.message) == (name, "the agent says: no [31mway")


@pytest.mark.parametrize("code", [-32603, -32700, -32600, -32000, 500, "x", None])
def test_an_agents_other_errors_are_its_own_affair(code: Json) -> None:
    error = error_from_json({"code": code, "message": "db at 10.0.0.1 is down"})

    assert isinstance(error, UpstreamFailed)
    assert "10.0.0.1" not in error.message


def test_a_method_an_agent_lacks_is_an_operation_it_does_not_support() -> None:
    assert error_from_json({"code": -32601}).detail["a2a"] == "UNSUPPORTED_OPERATION"


def test_long_foreign_text_is_cut() -> None:
    assert len(clean_line("a\n" * 1000)) == 300


def test_an_answer_repeats_the_id_as_it_came() -> None:
    call = call_from_bytes(b'{"jsonrpc":"2.0","id":"\\u0061","method":"GetTask"}', depth=8)

    assert call.id == b'"\\u0061"'
    assert answer_bytes(call.id, b"{}") == b'{"jsonrpc":"2.0","id":"\\u0061","result":{}}'
    assert json.loads(error_bytes(call.id, UpstreamFailed("x")))["id"] == "a"


def test_an_agents_answer_is_read_by_its_id() -> None:
    sent = msgspec.json.decode(request_bytes("r-1", "GetTask", {"id": "t"}))
    assert sent == {"jsonrpc": "2.0", "id": "r-1", "method": "GetTask", "params": {"id": "t"}}

    assert result_from_bytes(b'{"jsonrpc":"2.0","id":"r-1","result": {"a": 1} }', "r-1") == b'{"a": 1}'
    with pytest.raises(UpstreamFailed):
        result_from_bytes(b'{"jsonrpc":"2.0","id":"r-2","result":{}}', "r-1")


def test_an_event_stays_on_one_line() -> None:
    assert event_bytes(b'{\r\n"a":\n1}') == b'data: {  "a": 1}\n\n'


@pytest.mark.parametrize(("text", "deep"), [("1", 0), ("[]", 1), ('{"a": [1]}', 2), ('[[], {"b": {}}]', 3)])
def test_depth_is_counted_in_containers(text: str, deep: int) -> None:
    value: Json = json.loads(text)

    assert not deeper_than(value, deep)
    assert deep == 0 or deeper_than(value, deep - 1)


def test_a_whole_number_from_a_peer_that_reads_doubles_is_whole_again() -> None:
    sent: Json = {"page": 12, "pages": [1, 2.5], "many": 2**60, "ok": True}
    [said] = MessageToDict(ParseDict({"parts": [{"data": sent}]}, SdkMessage()))["parts"]
    assert json.dumps(said["data"]["page"]) == "12.0"
    read = part_from_json(said).data
    assert json.dumps(read, sort_keys=True) == json.dumps({**sent, "many": float(2**60)}, sort_keys=True)


def test_parts_that_are_no_parts_are_refused() -> None:
    for bad in ({}, {"text": 1}, {"text": "a", "data": 1}, "x", {"raw": None}):
        with pytest.raises(InvalidRequest):
            content_from_json([bad])  # type: ignore[list-item]


def test_a_moment_that_is_none_is_nothing() -> None:
    assert [at_us_from(bad) for bad in (None, "", "yesterday", 7, "2025-01-01")] == [0, 0, 0, 0, 0]
