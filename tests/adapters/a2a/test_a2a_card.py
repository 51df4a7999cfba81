"""Which cards are believed, what is shown of them, and what the gateway publishes instead."""

import json

import pytest
from a2a.types import AgentCard
from google.protobuf.json_format import ParseDict
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.a2a.card import LARGEST_CARD, card_url, check_card, visible_text
from adapters.a2a.publish import card_of, published_card
from gateway.core.errors import GatewayError, InvalidRequest
from gateway.core.json import Json, JsonObject, json_object

FROM = "https://agents.example/.well-known/agent-card.json"


def a_card(**changed: Json) -> JsonObject:
    return {
        "name": "Refunds",
        "description": "Refunds orders.",
        "version": "1",
        "supportedInterfaces": [
            {"url": "https://agents.example:8443/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
        ],
        "capabilities": {"streaming": True, "pushNotifications": True, "x-more": 1},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "refund", "name": "Refund", "description": "Refunds.", "tags": ["money"]}],
        **changed,
    }


def interface(url: str, binding: str = "JSONRPC", version: str = "1.0", **more: Json) -> JsonObject:
    return {"url": url, "protocolBinding": binding, "protocolVersion": version, **more}


def raw(card: Json) -> bytes:
    return json.dumps(card).encode()


def test_a_good_card_is_believed() -> None:
    checked = check_card(raw(a_card(securitySchemes={"key": {}})), FROM)

    assert (checked.name, checked.url, checked.streaming) == ("Refunds", "https://agents.example:8443/rpc", True)
    assert checked.skills[0].tags == ("money",)
    assert checked.security == ("key",)
    assert checked.interfaces == ("JSONRPC 1.0 at https://agents.example:8443/rpc",)


def test_the_digest_does_not_depend_on_how_the_card_is_spelled() -> None:
    spelled = json.dumps(a_card(), indent=2, sort_keys=True).encode()

    assert check_card(raw(a_card()), FROM).digest == check_card(spelled, FROM).digest
    assert check_card(raw(a_card(version="2")), FROM).digest != check_card(spelled, FROM).digest


def test_the_first_interface_that_can_be_spoken_is_taken_with_its_route() -> None:
    interfaces: list[Json] = [
        interface("agents.example:9", "GRPC"),
        interface("https://elsewhere.example", "JSONRPC", "0.3"),
        interface("https://agents.example/a", tenant="blue"),
    ]
    checked = check_card(raw(a_card(supportedInterfaces=interfaces)), FROM)

    assert (checked.url, checked.route) == ("https://agents.example/a", "blue")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/rpc",
        "http://agents.example/rpc",
        "https://agents.example.evil.example/",
        "https://agents.example@evil.example/",
        "https://evil.example\\@agents.example/",
        "https://agents.example:0/",
        "//agents.example/",
        "file:///etc/passwd",
        "https://agents.example/ x",
        "https://\u0430gents.example/",
        "https://[::1/",
        "",
    ],
)
def test_a_card_that_lies_about_its_address_is_told_what_would_be_right(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_card(raw(a_card(supportedInterfaces=[interface(url)])), FROM)

    assert refused.value.detail["field"] == "supportedInterfaces[0].url"
    assert refused.value.detail["expected"] == "https://agents.example"
    assert "supportedInterfaces[0].url" in refused.value.message


def test_an_address_of_the_entrys_own_counts_instead() -> None:
    card = raw(a_card(supportedInterfaces=[interface("https://evil.example/")]))

    assert check_card(card, FROM, url="https://inside.example/rpc").url == "https://inside.example/rpc"


BAD: list[tuple[str, bytes, str]] = [
    ("no JSON", b"<html>", ""),
    ("a list", b"[]", ""),
    ("too large", b" " * (LARGEST_CARD + 1), ""),
    ("too deep", raw(a_card(x=json.loads("[" * 40 + "]" * 40))), ""),
    ("beyond reason", b'{"a":' + b"[" * 20000 + b"]" * 20000 + b"}", ""),
    ("a number nobody can tell apart", b'{"a": 1e400}', ""),
    ("no name", raw(a_card(name="")), "name"),
    ("an endless name", raw(a_card(name="x" * 201)), "name"),
    ("no description", raw(a_card(description=None)), "description"),
    ("no version", raw(a_card(version=1)), "version"),
    ("no interface", raw(a_card(supportedInterfaces=[])), "supportedInterfaces"),
    (
        "another binding",
        raw(a_card(supportedInterfaces=[interface("https://agents.example", "GRPC")])),
        "supportedInterfaces",
    ),
    (
        "another version",
        raw(a_card(supportedInterfaces=[interface("https://agents.example", version="2.0")])),
        "supportedInterfaces",
    ),
    ("no skills", raw(a_card(skills=[])), "skills"),
    ("too many skills", raw(a_card(skills=[*map(str, range(300))])), "skills"),
    ("a skill without a name", raw(a_card(skills=[{"id": "a"}])), "skills[0].name"),
    ("an endless tag", raw(a_card(skills=[{"id": "a", "name": "b", "tags": ["x" * 300]}])), "skills[0].tags"),
]


@pytest.mark.parametrize(("card", "field"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_a_bad_card_is_refused_by_field(card: bytes, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_card(card, FROM)

    assert refused.value.detail.get("field", "") == field


def test_what_cannot_be_seen_is_not_shown() -> None:
    hidden = "Re\u200bfunds\u202e\U000e0041\ufe0f\x1b[31m\x00"

    checked = check_card(raw(a_card(name=hidden, description="line\nline")), FROM)

    assert (checked.name, checked.description) == ("Refunds[31m", "line\nline")
    assert visible_text("Größe 日本 é") == "Größe 日本 é"


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_no_card_breaks_the_check(value: Json) -> None:
    for card in (value, {**a_card(), **json_object(value)}, a_card(skills=value), a_card(supportedInterfaces=value)):
        try:
            check_card(raw(card), FROM)
        except GatewayError:
            continue


def test_what_is_published_leads_to_the_gateway_only() -> None:
    card = a_card(
        url="https://agents.example/old",
        additionalInterfaces=[{"url": "https://agents.example/older"}],
        signatures=[{"protected": "x"}],
        securitySchemes={"oauth": {}},
        name="Re\u200bfunds",
    )
    card["x-kept"] = {"a": 1}
    card["skills"] = [{"id": "a", "name": "b", "tags": ["t\u200b"], "securityRequirements": [{}], "x-s": 1}]
    published = published_card(card, "refunds", "https://gate.example")

    assert "agents.example" not in json.dumps(published)
    assert published["supportedInterfaces"] == [interface("https://gate.example/agents/refunds")]
    assert published["name"] == "Refunds"
    assert published["x-kept"] == {"a": 1}
    assert published["skills"] == [{"id": "a", "name": "b", "description": "", "tags": ["t"], "x-s": 1}]
    assert json_object(published["capabilities"]) == {
        "streaming": True,
        "pushNotifications": False,
        "extendedAgentCard": False,
        "x-more": 1,
    }
    assert published.keys().isdisjoint({"signatures", "url", "additionalInterfaces"})
    read = ParseDict(published, AgentCard(), ignore_unknown_fields=True)
    assert read.security_schemes["bearer"].http_auth_security_scheme.scheme == "Bearer"


def test_our_own_extension_is_no_business_of_callers() -> None:
    extensions: list[Json] = [{"uri": "urn:drawbridge:delegation:1", "required": True}, {"uri": "urn:other"}]
    published = published_card(a_card(capabilities={"extensions": extensions}), "refunds", "https://gate.example")

    assert json_object(published["capabilities"])["extensions"] == [{"uri": "urn:other"}]


def test_a_workflow_gets_a_card_the_sdk_accepts() -> None:
    card = published_card(card_of("help", title="Help", description="Helps."), "help", "https://gate.example")

    read = ParseDict(card, AgentCard())
    assert (read.name, read.capabilities.streaming, read.skills[0].id) == ("Help", True, "help")
    assert check_card(raw(card), "https://gate.example/x").url == "https://gate.example/agents/help"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://a.example", "https://a.example/.well-known/agent-card.json"),
        ("https://a.example/", "https://a.example/.well-known/agent-card.json"),
        ("https://a.example/team/blue/?x=1", "https://a.example/team/blue/.well-known/agent-card.json"),
        ("https://a.example/cards/blue.json", "https://a.example/cards/blue.json"),
    ],
)
def test_the_card_is_found_from_the_address_of_its_host(address: str, expected: str) -> None:
    assert card_url(address) == expected
