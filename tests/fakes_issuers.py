"""An issuer of access tokens in memory: its keys, its tokens, and whatever can go wrong with it."""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import anyio
import orjson
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from adapters.identity.introspection import Introspection
from adapters.identity.issuers import AccessTokens, Issuer
from adapters.identity.keyring import Keyring
from adapters.identity.oauth_settings import IssuerSettings
from adapters.identity.resource import Resource
from adapters.net.authorization_server import Answered
from adapters.net.client_auth import Client
from gateway.core.errors import GatewayError, Unavailable
from gateway.core.json import JsonObject, json_from
from gateway.core.ports.world import Secret
from tests.fakes import FakeClock

GATEWAY = "https://gateway.test"
URL = "https://issuer.test"
EC_KEYS = {kid: ECKey.generate_key("P-256", {"kid": kid}) for kid in ("k1", "k2")}
RSA_KEY = RSAKey.generate_key(2048, {"kid": "r1"})


class FakeIssuer:
    """Implements `Publisher` and `Office`."""

    def __init__(self, clock: FakeClock, url: str = URL) -> None:
        self.url = url
        self.clock = clock
        self.keys: list[JsonObject] = [public_jwk(EC_KEYS["k1"]), public_jwk(RSA_KEY)]
        self.problem: GatewayError | None = None
        self.fetches = 0
        self.questions = 0
        self.active: dict[str, JsonObject] = {}
        """What introspection says, by token."""
        self.held: anyio.Event | None = None
        """Answers wait for it."""

    async def metadata(self) -> JsonObject:
        self._fail()
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "introspection_endpoint": f"{self.url}/introspect",
        }

    async def document(self, url: str, *, limit_bytes: int) -> JsonObject:
        self.fetches += 1
        if self.held is not None:
            await self.held.wait()
        self._fail()
        return {"keys": [*self.keys]}

    async def post(self, url: str, form: Mapping[str, str], client: Client) -> Answered:
        self.questions += 1
        if self.held is not None:
            await self.held.wait()
        self._fail()
        return Answered(status=200, said=self.active.get(form["token"], {"active": False}))

    def _fail(self) -> None:
        if self.problem is not None:
            raise self.problem

    def go_down(self) -> None:
        self.problem = Unavailable("the issuer cannot be asked at the moment")

    def claims(self, **changed: Any) -> dict[str, Any]:
        now_s = self.clock.now_us() // 1_000_000
        usual = {
            "iss": self.url,
            "sub": "ana",
            "aud": f"{GATEWAY}/mcp",
            "client_id": "app",
            "iat": now_s,
            "exp": now_s + 600,
            "jti": "1",
        }
        return {name: value for name, value in {**usual, **changed}.items() if value is not None}

    def token(self, *, kid: str = "k1", header: Mapping[str, Any] | None = None, **changed: Any) -> bytes:
        """A token of its, `changed` claims in it; None leaves one out."""
        said = {"alg": "ES256", "typ": "at+jwt", "kid": kid, **(header or {})}
        return jwt.encode(said, self.claims(**changed), EC_KEYS[kid], algorithms=["ES256"]).encode()


def public_jwk(key: ECKey | RSAKey | OKPKey) -> JsonObject:
    return json_from(key.as_dict(private=False))


def with_hmac(claims: dict[str, Any], secret: bytes) -> bytes:
    """A token signed with a secret that everybody knows."""
    parts = [urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=") for part in ({"alg": "HS256", "typ": "at+jwt"}, claims)]
    signature = hmac.digest(secret, b".".join(parts), "sha256")
    return b".".join((*parts, urlsafe_b64encode(signature).rstrip(b"=")))


def settings_of(**changed: Any) -> IssuerSettings:
    return IssuerSettings.model_validate({"url": URL, **changed})


def issuer_named(name: str, settings: IssuerSettings, fake: FakeIssuer, clock: FakeClock) -> Issuer:
    asking = settings.introspection
    return Issuer(
        name=name,
        settings=settings,
        keys=Keyring(name, settings, fake, clock),
        introspection=None if asking is None else Introspection(name, asking, Secret("s3cret"), fake),
    )


def tokens_of(clock: FakeClock, *issuers: Issuer, scopes: frozenset[str] = frozenset()) -> AccessTokens:
    tokens = AccessTokens(clock)
    tokens.resource = Resource(GATEWAY)
    tokens.configure({each.settings.url: each for each in issuers}, scopes)
    return tokens
