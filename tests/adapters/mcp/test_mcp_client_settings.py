"""The section `servers`: what is refused before anything starts."""

import pytest
from pydantic import ValidationError

from adapters.mcp.settings import ServerSettings

AUTH = {"kind": "client_credentials", "issuer": "https://login.test", "client_id": "a", "client_secret": "env:A"}


@pytest.mark.parametrize(
    "section",
    [
        {"url": "http://127.0.0.1:9000/mcp", "headers": {"authorization": "env:TOKEN"}, "tags": ["read"]},
        {"command": ["python", "server.py"], "env": {"TOKEN": "file:/run/token"}, "cwd": "/srv"},
        {"url": "https://a.test/mcp", "tools": {"refund": {"idempotency": "argument:key", "timeout_s": 5}}},
        {"url": "https://a.test/mcp", "tools": {"refund": {"idempotency": "meta"}}, "tenant": "*", "trust": "trusted"},
        {"url": "https://a.test/mcp", "headers": {"x-key": "keyring:shop/key"}},
        {"url": "https://a.test/mcp", "tags": ["read"], "tools": {"find": {"deterministic": True}}, "concurrency": 2},
        {"url": "https://a.test/mcp", "tools": {"find": {"tags": ["read"], "stale_on_error": True}}, "queue": 0},
    ],
)
def test_a_server_is_described_in_a_few_lines(section: dict[str, object]) -> None:
    assert ServerSettings.model_validate(section)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({}, "either url"),
        ({"url": "http://a.test", "command": ["x"]}, "either url"),
        ({"url": "a.test/mcp"}, "http://"),
        ({"url": "ftp://a.test/mcp"}, "http://"),
        ({"url": "https://user:pw@a.test/mcp"}, "credential"),
        ({"url": "http://a.test", "env": {"A": "b"}}, "belong to a command"),
        ({"command": ["x"], "headers": {"a": "b"}}, "belong to a url"),
        ({"command": ["x"], "transport": "sse"}, "belongs to a url"),
        ({"command": ["x"], "env": {"A": "keyring:nothing"}}, "keyring:SERVICE/NAME"),
        ({"command": ["x"], "env": {"A": "env:"}}, "env:NAME"),
        ({"url": "http://a.test", "headers": {"host": "b"}}, "belongs to the transport"),
        ({"url": "http://a.test", "headers": {"Mcp-Name": "b"}}, "belongs to the transport"),
        ({"url": "http://a.test", "headers": {"a b": "c"}}, "can be sent"),
        ({"url": "http://a.test", "headers": {"a": "b\r\nc: d"}}, "can be sent"),
        ({"url": "http://a.test", "tags": ["Read Me"]}, "not a tag"),
        ({"url": "http://a.test", "timeout_s": 0}, "greater than 0"),
        ({"url": "http://a.test", "trust": "maybe"}, "trusted"),
        ({"url": "http://a.test", "tools": {"x": {"idempotency": "header:x"}}}, "argument:NAME"),
        ({"url": "http://a.test", "openapi": "a.yaml"}, "either url"),
        ({"url": "http://a.test", "base_url": "http://b.test"}, "belong to an OpenAPI document"),
        ({"command": ["x"], "safe_reads": True}, "belong to an OpenAPI document"),
        ({"openapi": "a.yaml", "env": {"A": "b"}}, "belong to a command"),
        ({"openapi": "a.yaml", "base_url": "ftp://b"}, "http://"),
        ({"openapi": "a.yaml", "credentials": {"key": "env:"}}, "env:NAME"),
        ({"openapi": "a.yaml", "tools": {"x": {"idempotency": "meta"}}}, "header:NAME"),
        ({"openapi": "a.yaml", "auth": AUTH}, "base_url"),
        (
            {"openapi": "a.yaml", "base_url": "https://b.test", "auth": AUTH, "credentials": {"k": "env:K"}},
            "either auth",
        ),
        ({"url": "http://a.test", "auth": AUTH, "headers": {"authorization": "env:A"}}, "either auth"),
        ({"command": ["x"], "auth": AUTH}, "belong to a url"),
        ({"url": "http://a.test", "unknown": 1}, "Extra inputs"),
        ({"url": "http://a.test", "concurrency": 0}, "greater than or equal to 1"),
        ({"url": "http://a.test", "queue": -1}, "greater than or equal to 0"),
        ({"url": "http://a.test", "tools": {"x": {"deterministic": True}}}, "tag it read"),
        ({"url": "http://a.test", "tools": {"x": {"stale_on_error": True}}}, "tag it read"),
        ({"url": "http://a.test", "tools": {"x": {"cache_ttl_s": 0}}}, "greater than 0"),
    ],
)
def test_a_mistake_is_named(section: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ServerSettings.model_validate(section)


def test_a_value_that_may_be_a_secret_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ValidationError) as failure:
        ServerSettings.model_validate({"url": "http://a.test", "headers": {"a b": "s3cret"}})
    assert "s3cret" not in str(failure.value)
