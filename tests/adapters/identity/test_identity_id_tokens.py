"""Who logged in: only what the issuer says, to this client, about this login."""

from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from adapters.identity.id_tokens import principal_from_id_token
from gateway.core.errors import Unauthenticated
from gateway.core.model import Principal
from tests.fakes import FakeClock
from tests.fakes_issuers import EC_KEYS, FakeIssuer, issuer_named, settings_of, with_hmac

pytestmark = pytest.mark.anyio

NONCE = "n0nce"
RULES = [{"when": {"groups": "support"}, "roles": ["support"], "tenant": "acme"}]


class House:
    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.fake = FakeIssuer(self.clock)
        self.issuer = issuer_named("corp", settings_of(rules=RULES, **settings), self.fake, self.clock)

    def token(self, *, header: dict[str, Any] | None = None, key: ECKey = EC_KEYS["k1"], **changed: Any) -> bytes:
        """An ID token, `changed` claims in it; None leaves one out."""
        usual = {"aud": "drawbridge", "nonce": NONCE, "groups": ["support"]}
        claims = self.fake.claims(**{**usual, **changed})
        return jwt.encode({"alg": "ES256", "kid": "k1", **(header or {})}, claims, key).encode()

    async def who(self, token: bytes, nonce: str = NONCE) -> Principal:
        now_us = self.clock.now_us()
        return await principal_from_id_token(self.issuer, token, client="drawbridge", nonce=nonce, now_us=now_us)


async def test_whoever_logs_in_is_the_principal_their_access_tokens_make_them() -> None:
    house = House()

    who = await house.who(house.token())

    assert (who.tenant, who.subject, who.roles) == ("acme", "corp:ana", frozenset({"support"}))


@pytest.mark.parametrize(
    "said",
    [
        {"header": {"typ": "JWT"}},
        {"aud": ["drawbridge"]},
        {"aud": ["drawbridge", "other"], "azp": "drawbridge"},
        {"azp": "drawbridge"},
    ],
    ids=str,
)
async def test_an_id_token_for_this_client_counts(said: dict[str, Any]) -> None:
    house = House()

    assert (await house.who(house.token(**said))).subject == "corp:ana"


@pytest.mark.parametrize(
    "said",
    [
        {"aud": "other"},
        {"aud": None},
        {"aud": "drawbridge/"},
        {"aud": ["other"]},
        {"aud": ["drawbridge", "other"]},
        {"aud": ["drawbridge", "other"], "azp": "other"},
        {"azp": "other"},
        {"azp": 7},
        {"nonce": None},
        {"nonce": ""},
        {"nonce": "another"},
        {"nonce": 7},
        {"nonce": "n\u00f6nce"},
        {"iss": "https://other.test"},
        {"exp": 1_000},
        {"exp": None},
        {"iat": 4_000_000_000},
        {"sub": None},
        {"groups": ["guests"]},
        {"header": {"typ": "at+jwt"}},
        {"header": {"typ": "logout+jwt"}},
        {"header": {"kid": "nobody"}},
        {"key": ECKey.generate_key("P-256", {"kid": "k1"})},
    ],
    ids=lambda said: str(said)[:40],
)
async def test_any_other_is_refused(said: dict[str, Any]) -> None:
    house = House()

    with pytest.raises(Unauthenticated):
        await house.who(house.token(**said))


async def test_no_login_is_without_a_nonce_and_no_signature_without_a_key() -> None:
    house = House()
    claims = house.fake.claims(aud="drawbridge", nonce=NONCE, groups=["support"])

    for token, nonce in (
        (house.token(nonce=""), ""),
        (with_hmac(claims, b"s3cret" * 8), NONCE),
        (b"opaque", NONCE),
        (house.token(filler="x" * 20_000), NONCE),
    ):
        with pytest.raises(Unauthenticated):
            await house.who(token, nonce)


async def test_an_algorithm_that_was_not_allowed_does_not_count() -> None:
    house = House(algorithms=["RS256"])

    with pytest.raises(Unauthenticated):
        await house.who(house.token())
