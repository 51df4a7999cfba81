"""How a visitor is let in by the authorization servers of the suite: directly, with the official SDK."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata

from tests.conformance.visits import Visit, plain_http

DOCUMENT = "https://conformance-test.local/client-metadata.json"
"""What the suite wants a client to be called that has a document of its own (CIMD)."""
_CALLBACK = "http://localhost:3030/callback"


class Pocket:
    """See the SDK's `TokenStorage`."""

    def __init__(self, info: OAuthClientInformationFull | None = None) -> None:
        self.tokens: Any = None
        self.info = info

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.info

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.info = client_info


def sdk_auth(visit: Visit) -> httpx2.Auth | None:
    """What the SDK signs in with; None where nobody asks for it."""
    if not visit.scenario.startswith("auth/"):
        return None
    name, secret = visit.context.get("client_id", ""), visit.context.get("client_secret", "")
    if visit.scenario == "auth/client-credentials-jwt":
        signed = SignedJWTParameters(
            issuer=name,
            subject=name,
            signing_key=visit.context["private_key_pem"],
            signing_algorithm=visit.context["signing_algorithm"],
        )
        return PrivateKeyJWTOAuthProvider(visit.url, Pocket(), name, signed.create_assertion_provider())
    if visit.scenario.startswith("auth/client-credentials"):
        return ClientCredentialsOAuthProvider(visit.url, Pocket(), name, secret)
    browser = _Browser()
    return OAuthClientProvider(
        visit.url,
        OAuthClientMetadata(client_name="visitor", redirect_uris=[_CALLBACK]),  # pyright: ignore[reportArgumentType] - it is parsed
        Pocket(_registered(name, secret) if name else None),
        redirect_handler=browser.open,
        callback_handler=browser.came_back,
        client_metadata_url=DOCUMENT,
    )


class _Browser:
    """Somebody who agrees to whatever an authorization server asks."""

    def __init__(self) -> None:
        self._came_back_to = ""

    async def open(self, url: str) -> None:
        async with plain_http() as http:
            self._came_back_to = (await http.get(url)).headers["location"]

    async def came_back(self) -> AuthorizationCodeResult:
        said = dict(parse_qsl(urlsplit(self._came_back_to).query))
        return AuthorizationCodeResult(code=said["code"], state=said.get("state"), iss=said.get("iss"))


def _registered(name: str, secret: str) -> OAuthClientInformationFull:
    return OAuthClientInformationFull.model_validate(
        {
            "client_id": name,
            "client_secret": secret,
            "redirect_uris": [_CALLBACK],
            "token_endpoint_auth_method": "client_secret_basic",
        }
    )
