"""What an authorization server says of itself, and which of the addresses it names are used."""

import pytest

from adapters.net.authorization_server import metadata_urls, web_address
from gateway.core.errors import UpstreamFailed
from gateway.core.json import Json


def test_metadata_are_looked_for_where_mcp_says_in_that_order() -> None:
    assert metadata_urls("https://login.test/acme/") == (
        "https://login.test/.well-known/oauth-authorization-server/acme",
        "https://login.test/.well-known/openid-configuration/acme",
        "https://login.test/acme/.well-known/openid-configuration",
    )
    assert metadata_urls("https://login.test") == (
        "https://login.test/.well-known/oauth-authorization-server",
        "https://login.test/.well-known/openid-configuration",
    )


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        ("https://login.test", "https://login.test/token"),
        ("https://login.test", "https://elsewhere.test/token?tenant=acme"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000/token"),
    ],
)
def test_an_address_to_which_secrets_may_go_is_taken(issuer: str, url: str) -> None:
    assert web_address({"issuer": issuer, "token_endpoint": url}, "token_endpoint") == url


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "/token",
        "javascript:alert(1)",
        "http://login.test/token",
        "http://127.0.0.1/token",
        "https://user@login.test/token",
        "https://login.test/token#fragment",
        "https://login.test/token\r\nset-cookie: a=b",
        "https://login.test/to ken",
        "https://[login.test/token",
        "https://login.test:99999/token",
        "https://l\u00f6gin.test/token",
    ],
)
def test_an_address_to_which_nothing_may_go_is_refused(url: Json) -> None:
    with pytest.raises(UpstreamFailed):
        web_address({"issuer": "https://login.test", "token_endpoint": url}, "token_endpoint")
