"""Who is at a browser: what an issuer says of whoever logs in there (OpenID Connect). Verifies and maps nothing."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from adapters.oauth.code_flow import CodeFlow, Flow
from adapters.oauth.token_endpoint import TokenEndpoint
from adapters.oauth.vault import Owner
from gateway.core.errors import UpstreamFailed
from gateway.core.json import JsonObject, json_text
from gateway.core.ports.world import Secret

LOGIN_CALLBACK = "/oauth/login"
Recognise: TypeAlias = Callable[[Secret, str], Awaitable[Owner]]
"""Whom an ID token with this nonce is about. Raises: Unauthenticated, Unavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """The gateway as a client at which people log in."""

    endpoint: TokenEndpoint
    scopes: tuple[str, ...]
    recognise: Recognise = field(repr=False)


async def begin_login(flow: CodeFlow, login: Login, base: str, browser: str, said: JsonObject) -> str:
    """Where the browser goes to say who is at it. Raises: see `CodeFlow.begin`."""
    nonce = secrets.token_urlsafe(24)
    query = {"scope": " ".join(login.scopes), "nonce": nonce}
    return await flow.begin(_flow(login, base), browser, {**said, "login": nonce}, query)


async def logged_in(flow: CodeFlow, login: Login, base: str, said: JsonObject, query: Mapping[str, str]) -> Owner:
    """Who is at the browser. Raises: see `CodeFlow.granted`; Unauthenticated: the ID token does not count."""
    granted = await flow.granted(_flow(login, base), said, query, {})
    if granted.id_token is None:
        raise UpstreamFailed(f"{login.endpoint.server.name} does not say who logged in: it gave no ID token")
    return await login.recognise(granted.id_token, json_text(said.get("login")))


def _flow(login: Login, base: str) -> Flow:
    return Flow(kind="login", redirect_uri=base + LOGIN_CALLBACK, endpoint=login.endpoint)
