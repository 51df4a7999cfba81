"""An authorization server in memory that gives tokens, for the gateway as its client."""

from collections.abc import Mapping
from itertools import count
from typing import Any

import anyio

from adapters.net.authorization_server import Answered
from adapters.net.client_auth import Client
from gateway.core.errors import Denied, GatewayError
from gateway.core.json import JsonObject
from gateway.core.model import Request
from gateway.core.ports.credentials import UpstreamToken
from gateway.core.ports.world import Secret

ISSUER = "https://login.test"


class FakeAuthorizationServer:
    """See `GrantingServer`."""

    def __init__(self, issuer: str = ISSUER) -> None:
        self.name = "the issuer"
        self.issuer = issuer
        self.forms: list[Mapping[str, str]] = []
        self.problem: GatewayError | None = None
        self.held: anyio.Event | None = None
        """Answers wait for it."""
        self.status = 200
        self.changed: dict[str, Any] = {}
        self.about: JsonObject = {}
        """What its metadata say beyond the usual."""
        self.told: list[JsonObject] = []
        """What it was sent to register."""
        self.revoked: list[Mapping[str, str]] = []
        self.clients: list[str] = []
        """Who asked for tokens, one after the other."""
        self.forgotten: set[str] = set()
        """Clients it does not know any more."""
        self._numbers = count(1)

    async def metadata(self) -> JsonObject:
        usual: JsonObject = {
            "issuer": self.issuer,
            "token_endpoint": f"{self.issuer}/token",
            "authorization_endpoint": f"{self.issuer}/auth",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        return usual | self.about

    async def post(self, url: str, form: Mapping[str, str], client: Client) -> Answered:
        assert url == f"{self.issuer}/token"
        self.clients.append(client.id)
        self.forms.append(form)
        if self.held is not None:
            await self.held.wait()
        if self.problem is not None:
            raise self.problem
        if client.id in self.forgotten:
            return Answered(status=401, said={"error": "invalid_client"})
        number = next(self._numbers)
        said: JsonObject = {"access_token": f"access-{number}", "token_type": "Bearer", "expires_in": 600}
        if form["grant_type"] in ("authorization_code", "refresh_token"):
            said["refresh_token"] = f"refresh-{number}"
        return Answered(status=self.status, said={**said, **self.changed})

    async def revoke(self, url: str, form: Mapping[str, str], client: Client) -> None:
        assert url == f"{self.issuer}/revoke"
        self.revoked.append(form)
        if self.held is not None:
            await self.held.wait()
        if self.problem is not None:
            raise self.problem

    async def tell(self, url: str, said: JsonObject) -> Answered:
        assert url == f"{self.issuer}/register"
        self.told.append(said)
        number = len(self.told)
        return Answered(status=201, said={"client_id": f"client-{number}", "client_secret": f"s3cret-{number}"})


class CallersTokens:
    """See `UpstreamTokens`: each caller has one of its own, named after its credential, then another."""

    own = None

    def __init__(self) -> None:
        self.refusals: list[str] = []

    def key(self, request: Request) -> str:
        if not request.credential:
            raise Denied("there is no token", detail={"sent": False})
        return request.credential

    def of(self, key: str) -> UpstreamToken:
        return _CallersToken(key, self.refusals)


class _CallersToken:
    """See `UpstreamToken`."""

    def __init__(self, key: str, refusals: list[str]) -> None:
        self._token = Secret(f"first-{key}")
        self._key = key
        self._refusals = refusals

    async def get(self, deadline_s: float) -> Secret:
        return self._token

    def refused(self, token: Secret) -> None:
        self._refusals.append(token.reveal())
        self._token = Secret(f"second-{self._key}")

    async def wider(self, token: Secret, scopes: tuple[str, ...], deadline_s: float) -> Secret:
        return token
