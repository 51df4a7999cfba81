"""What an older client's revision has no word for is told in words it has, and everything else passes as it came."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.mcp.revisions import in_words_of, question_in_words_of
from adapters.mcp.wire import HANDSHAKE
from tests.fakes_mcp_door import Caller, ShopGateway, answering, opened, tool

pytestmark = pytest.mark.anyio

AUDIO: dict[str, Any] = {"type": "audio", "data": "UklGRg==", "mimeType": "audio/wav"}
LINK: dict[str, Any] = {"type": "resource_link", "uri": "note://a", "name": "a"}


def said(version: str, result: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(in_words_of(version, json.dumps(result).encode()))
    return found


def test_what_a_revision_knows_passes_byte_for_byte() -> None:
    raw = b'{ "content": [{"type":"text","text":"\\u00e4"}, {"type":"image"}], "vendor":null }'
    for version in HANDSHAKE:
        assert in_words_of(version, raw) is raw
    both = json.dumps({"content": [AUDIO, LINK], "structuredContent": {}}).encode()
    for version in HANDSHAKE[2:]:
        assert in_words_of(version, both) is both


def test_a_later_kind_of_content_is_text_that_says_what_stands_there() -> None:
    oldest = said("2024-11-05", {"content": [AUDIO, LINK], "isError": False})
    assert oldest == {
        "content": [
            {
                "type": "text",
                "text": "[Audio, audio/wav, 4 bytes: this client's protocol version has no word for it.]",
            },
            {"type": "text", "text": "[Link to a, note://a]"},
        ],
        "isError": False,
    }
    assert said("2025-03-26", {"content": [AUDIO, LINK]})["content"] == [AUDIO, oldest["content"][1]]


def test_a_kind_spelt_with_escapes_is_found_too() -> None:
    raw = b'{"content":[{"type":"\\u0061udio","data":"","mimeType":"audio/wav"}]}'
    assert json.loads(in_words_of("2024-11-05", raw))["content"][0]["type"] == "text"


def test_structured_content_is_said_as_text_where_nothing_else_says_it() -> None:
    alone = said("2025-03-26", {"content": [], "structuredContent": {"a": 1}})
    assert alone == {"content": [{"type": "text", "text": '{"a":1}'}], "structuredContent": {"a": 1}}
    beside = {"content": [{"type": "text", "text": "a is 1"}], "structuredContent": {"a": 1}}
    assert said("2025-03-26", beside) == beside


BLOCKS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "audio", "resource_link", "new", 7])},
    optional={
        name: st.none() | st.text(max_size=5) | st.integers() | st.booleans() | st.just({"audience": ["user"]})
        for name in ("data", "mimeType", "uri", "name", "title", "size", "description", "annotations", "_meta")
    },
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(HANDSHAKE), st.lists(BLOCKS | st.integers() | st.none(), max_size=4))
def test_no_answer_holds_a_kind_its_client_does_not_know(version: str, content: list[Any]) -> None:
    later = {"audio"} if version < "2025-03-26" else set[str]()
    later |= {"resource_link"} if version < "2025-06-18" else set[str]()
    got = said(version, {"content": content, "messages": [{"role": "user", "content": each} for each in content]})
    assert len(got["content"]) == len(content) == len(got["messages"])
    kinds: list[Any] = [each["type"] if isinstance(each, dict) else None for each in content]
    for before, kind, block, message in zip(content, kinds, got["content"], got["messages"], strict=True):
        assert message["content"] == block
        assert (block["type"], isinstance(block["text"], str)) == ("text", True) if kind in later else block == before


@pytest.mark.parametrize("kind", [["audio"], {"audio": 1}, 7, None])
def test_a_kind_that_is_no_text_passes_as_it_came(kind: Any) -> None:
    content = [{"type": kind, "text": "audio"}]
    assert said("2024-11-05", {"content": [*content, AUDIO]})["content"][:1] == content
    params: dict[str, Any] = {"messages": [{"role": "user", "content": content[0]}]}
    assert question_in_words_of("2025-06-18", "sampling/createMessage", params) == params


def test_a_message_of_several_blocks_is_several_of_one_each_before_2025_11_25() -> None:
    text = {"type": "text", "text": "listen"}
    params: dict[str, Any] = {"messages": [{"role": "user", "content": [text, AUDIO]}], "maxTokens": 9}
    asked = question_in_words_of("2025-06-18", "sampling/createMessage", params)
    assert asked["messages"] == [{"role": "user", "content": text}, {"role": "user", "content": AUDIO}]
    assert asked["maxTokens"] == 9
    older: Any = question_in_words_of("2024-11-05", "sampling/createMessage", params)
    assert older["messages"][1]["content"]["type"] == "text"
    assert question_in_words_of("2025-11-25", "sampling/createMessage", params) is params


def test_a_choice_with_titles_is_a_choice_with_names_before_2025_11_25() -> None:
    options = [{"const": "r", "title": "Red"}, {"const": "g", "title": "Green"}]
    color = {"type": "string", "title": "Color", "oneOf": options, "default": "r"}
    params: Any = {"message": "?", "requestedSchema": {"type": "object", "properties": {"a": color, "b": {}}}}
    asked: Any = question_in_words_of("2025-06-18", "elicitation/create", params)
    assert asked["requestedSchema"]["properties"] == {
        "a": {"type": "string", "title": "Color", "default": "r", "enum": ["r", "g"], "enumNames": ["Red", "Green"]},
        "b": {},
    }
    assert question_in_words_of("2025-11-25", "elicitation/create", params) is params
    nothing: dict[str, Any] = {"mode": "url", "url": "https://example.com"}
    assert question_in_words_of("2025-06-18", "elicitation/create", nothing) == nothing


async def test_what_a_session_agreed_on_decides() -> None:
    gateway = ShopGateway(tool("listen"))
    gateway.runs["tool:orders/listen"] = answering(json.dumps({"content": [AUDIO]}).encode(), "legacy")
    async with opened(gateway) as door:
        kinds: dict[str, str] = {}
        for version in HANDSHAKE:
            caller = Caller(door)
            await caller.initialize(version)
            reply = await caller.say("tools/call", {"name": "orders__listen", "arguments": {}})
            kinds[version] = reply.json["result"]["content"][0]["type"]
    assert kinds == {version: "text" if version == "2024-11-05" else "audio" for version in HANDSHAKE}
