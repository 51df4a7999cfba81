"""Access tokens of issuers outside: which count, where, until when, and what happens while an issuer is gone."""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import anyio
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey

from adapters.identity.issuers import AccessTokens
from adapters.identity.keyring import FRESH_S, MOST_KEYS, PAUSE_S, Keyring, key_for, keys_from_jwks
from gateway.core.errors import GatewayError, Unauthenticated, Unavailable, UpstreamFailed
from gateway.core.json import JsonObject
from gateway.core.ports.gateway import Identity
from tests.fakes import FakeClock
from tests.fakes_issuers import (
    EC_KEYS,
    GATEWAY,
    RSA_KEY,
    URL,
    FakeIssuer,
    issuer_named,
    public_jwk,
    settings_of,
    tokens_of,
    with_hmac,
)

pytestmark = pytest.mark.anyio

RULES = [{"when": {"groups": "support"}, "roles": ["support"]}]
PLACES = {"/mcp", "/mcp/orders", "/agents/refunds", "/api/v1/keys", "/"}
ASKING = {"client_id": "gateway", "client_secret": "env:X", "cache_s": 30, "grace_s": 300}


class House:
    """One issuer, and what recognises its tokens."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.fake = FakeIssuer(self.clock)
        self.issuer = issuer_named("corp", settings_of(rules=RULES, **settings), self.fake, self.clock)
        self.tokens = tokens_of(self.clock, self.issuer, scopes=frozenset({"read", "write"}))

    async def knock(self, token: bytes, path: str = "/mcp") -> Identity:
        with anyio.fail_after(60):
            return await identified(self.tokens, token, path)

    async def takes(self, token: bytes, path: str) -> bool:
        try:
            await self.knock(token, path)
        except Unauthenticated:
            return False
        return True


async def identified(tokens: AccessTokens, token: bytes, path: str = "/mcp") -> Identity:
    return await tokens.identify(sha256(token).digest(), token, path)


async def test_a_token_makes_its_subject_a_principal_with_the_roles_that_were_mapped() -> None:
    house = House()

    identity = await house.knock(house.fake.token(groups=["support", "admin"], scope="read other"))

    who = identity.principal
    assert (who.subject, who.kind, who.tenant, who.roles) == ("corp:ana", "client", "default", {"support"})
    assert who.agent_class.scopes == {"read"}, "only scopes calls can need"


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": None},
        {"exp": True},
        {"exp": "9999999999"},
        {"exp": 1_000},
        {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
        {"cnf": {}},
        {"nbf": 9_000_000_000 // 2},
        {"iat": 4_000_000_000},
        {"iss": URL + "/"},
        {"iss": "https://other.test"},
        {"aud": None},
        {"aud": []},
        {"aud": 7},
        {"aud": ["https://other.test", None]},
        {"aud": "https://other.test/mcp"},
        {"aud": GATEWAY + ".evil.test/mcp"},
        {"aud": f"{GATEWAY}/mcp/orders"},
        {"aud": f"{GATEWAY}/agents"},
        {"aud": GATEWAY + "/mcp?x"},
        {"sub": None},
        {"sub": ""},
        {"sub": "two words"},
        {"sub": "line\nbreak"},
        {"sub": 7},
        {"sub": "x" * 256},
    ],
    ids=str,
)
async def test_claims_that_are_not_right_are_refused(changed: dict[str, Any]) -> None:
    house = House()

    with pytest.raises(Unauthenticated):
        await house.knock(house.fake.token(**changed))


@pytest.mark.parametrize(
    ("header", "counts"),
    [
        ({}, True),
        ({"typ": "application/at+jwt"}, True),
        ({"typ": "AT+JWT"}, True),
        ({"typ": "JWT"}, False),
        ({"typ": "dpop+jwt"}, False),
        ({"typ": ""}, False),
        ({"kid": "nobody"}, False),
        ({"kid": "r1"}, False),
    ],
    ids=str,
)
async def test_the_header_decides_as_well(header: Mapping[str, Any], counts: bool) -> None:
    house = House()
    token = house.fake.token(header=header)

    if counts:
        await house.knock(token)
    else:
        with pytest.raises(Unauthenticated):
            await house.knock(token)


async def test_no_token_is_signed_with_nothing_or_with_a_key_everybody_has() -> None:
    house = House()
    claims = house.fake.claims()
    none = b".".join(
        urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=") for part in ({"alg": "none", "typ": "at+jwt"}, claims)
    )
    pem = EC_KEYS["k1"].as_pem(private=False)

    for token in (none + b".", none + b".AAAA", with_hmac(claims, pem), with_hmac(claims, b"secret" * 8)):
        with pytest.raises(Unauthenticated):
            await house.knock(token)


async def test_a_signature_that_is_another_keys_is_refused() -> None:
    house = House()
    stranger = ECKey.generate_key("P-256", {"kid": "k1"})
    header = {"alg": "ES256", "typ": "at+jwt", "kid": "k1"}
    forged = jwt.encode(header, house.fake.claims(), stranger, algorithms=["ES256"]).encode()
    head, body, signature = house.fake.token().split(b".")
    other_body = house.fake.token(sub="bob").split(b".")[1]

    for token in (forged, b".".join((head, other_body, signature)), b".".join((head, body, signature[:-4] + b"AAAA"))):
        with pytest.raises(Unauthenticated):
            await house.knock(token)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
async def test_rsa_signatures_count(algorithm: str) -> None:
    house = House()
    header = {"alg": algorithm, "typ": "at+jwt", "kid": "r1"}

    token = jwt.encode(header, house.fake.claims(), RSA_KEY, algorithms=[algorithm]).encode()

    assert (await house.knock(token)).principal.subject == "corp:ana"


@pytest.mark.filterwarnings("ignore:EdDSA")
async def test_edwards_curves_count() -> None:
    house = House()
    key = OKPKey.generate_key("Ed25519", {"kid": "e1"})
    house.fake.keys.append(public_jwk(key))

    token = jwt.encode({"alg": "EdDSA", "typ": "at+jwt", "kid": "e1"}, house.fake.claims(), key, algorithms=["EdDSA"])

    assert (await house.knock(token.encode())).principal.subject == "corp:ana"


async def test_an_algorithm_that_was_not_allowed_does_not_count() -> None:
    house = House(algorithms=["RS256"])

    with pytest.raises(Unauthenticated):
        await house.knock(house.fake.token())


@pytest.mark.parametrize(
    ("audience", "paths"),
    [
        (GATEWAY, PLACES),
        (f"{GATEWAY}/mcp", {"/mcp", "/mcp/orders"}),
        (f"{GATEWAY}/mcp/", {"/mcp", "/mcp/orders"}),
        (f"{GATEWAY}/mcp/orders", {"/mcp/orders"}),
        (["https://other.test", f"{GATEWAY}/agents/refunds"], {"/agents/refunds"}),
        ("urn:this-gateway", PLACES),
        ("https://api.test/", PLACES),
    ],
    ids=["all", "mcp", "mcp with a slash", "one server", "one agent", "configured", "configured with a slash"],
)
async def test_a_token_is_good_for_its_address_and_what_lies_below(audience: object, paths: set[str]) -> None:
    house = House(audience=["urn:this-gateway", "https://api.test/"])
    token = house.fake.token(aud=audience)

    assert {path for path in PLACES if await house.takes(token, path)} == paths
    if paths != PLACES:
        for path in ("/mcp-orders", "/mcp/../api", "/mcp/orders/../../api", "//mcp", "/mcp/orders\n"):
            assert not await house.takes(token, path)


async def test_a_token_that_is_known_costs_no_further_look_and_ends_at_its_time() -> None:
    house = House(clock_skew_s=10)
    token = house.fake.token()
    first = await house.knock(token)
    house.fake.go_down()

    house.clock.advance(605)
    assert await house.knock(token) is first
    house.clock.advance(10)
    with pytest.raises(Unauthenticated, match="expired"):
        await house.knock(token)
    assert house.fake.fetches == 1


async def test_tokens_that_begin_alike_are_never_taken_for_each_other() -> None:
    house = House()
    tokens = {name: house.fake.token(sub=name) for name in ("ana", "bob", "eve")}
    for _ in range(2):
        for name, token in tokens.items():
            assert (await house.knock(token)).principal.subject == f"corp:{name}"
            with pytest.raises(Unauthenticated):
                await house.knock(token + b"A")


async def test_an_issuer_that_is_down_refuses_the_unknown_and_says_why_and_is_not_asked_by_every_call() -> None:
    house = House()
    house.fake.go_down()

    for _ in range(50):
        with pytest.raises(Unavailable, match="corp"):
            await house.knock(house.fake.token())
    assert house.fake.fetches <= 1

    house.fake.problem = None
    house.clock.advance(PAUSE_S)
    assert (await house.knock(house.fake.token())).principal.subject == "corp:ana"


async def test_made_up_key_names_do_not_make_the_gateway_fetch_again_and_again() -> None:
    house = House()
    await house.knock(house.fake.token())
    house.clock.advance(PAUSE_S)

    for number in range(100):
        with pytest.raises(Unauthenticated):
            await house.knock(house.fake.token(header={"kid": f"made-up-{number}"}))

    assert house.fake.fetches == 2


async def test_a_key_that_is_new_is_fetched_when_a_token_names_it() -> None:
    house = House()
    await house.knock(house.fake.token())
    house.fake.keys.append(public_jwk(EC_KEYS["k2"]))
    house.clock.advance(PAUSE_S)

    assert (await house.knock(house.fake.token(kid="k2"))).principal.subject == "corp:ana"
    assert (await house.knock(house.fake.token())).principal.subject == "corp:ana"


async def test_a_key_that_was_withdrawn_takes_the_tokens_it_signed_along() -> None:
    house = House()
    token = house.fake.token()
    await house.knock(token)
    house.fake.keys = [public_jwk(EC_KEYS["k2"])]

    await house.issuer.keys.refresh()
    await house.knock(token)
    house.clock.advance(FRESH_S + 1)
    await house.issuer.keys.refresh()

    with pytest.raises(Unauthenticated):
        await house.knock(token)
    assert (await house.knock(house.fake.token(kid="k2"))).principal.subject == "corp:ana"


async def test_keys_nobody_could_fetch_again_stop_counting_for_tokens_that_are_new() -> None:
    house = House(keys_max_age_s=60)
    old = house.fake.token()
    await house.knock(old)
    house.fake.go_down()
    house.clock.advance(61)

    with pytest.raises(Unavailable):
        await house.knock(house.fake.token(jti="2"))
    assert (await house.knock(old)).principal.subject == "corp:ana"


async def test_many_at_once_wait_for_one_fetch() -> None:
    house = House()
    house.fake.held = anyio.Event()
    found: list[Identity] = []

    async def knock(number: int) -> None:
        found.append(await house.knock(house.fake.token(sub=f"s{number}")))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(knock, number)
        await anyio.wait_all_tasks_blocked()
        house.fake.held.set()

    assert {each.principal.subject for each in found} == {f"corp:s{number}" for number in range(20)}
    assert house.fake.fetches == 1


async def test_several_issuers_each_speak_for_themselves() -> None:
    clock = FakeClock()
    fakes = {name: FakeIssuer(clock, f"https://{name}.test") for name in ("acme", "bolt")}
    fakes["bolt"].keys = [public_jwk(EC_KEYS["k2"])]
    tokens = tokens_of(
        clock,
        *(
            issuer_named(name, settings_of(url=fake.url, tenant=name, audience=[f"urn:{name}"]), fake, clock)
            for name, fake in fakes.items()
        ),
    )

    ana = await identified(tokens, fakes["acme"].token(aud="urn:acme"))
    bob = await identified(tokens, fakes["bolt"].token(kid="k2", aud="urn:bolt", sub="ana"))
    assert (ana.principal.tenant, ana.principal.subject) == ("acme", "acme:ana")
    assert (bob.principal.tenant, bob.principal.subject) == ("bolt", "bolt:ana")
    for wrong in (
        fakes["acme"].token(aud="urn:bolt"),
        fakes["acme"].token(iss="https://bolt.test", aud="urn:bolt"),
        fakes["bolt"].token(kid="k2", iss="https://acme.test", aud="urn:acme"),
    ):
        with pytest.raises(Unauthenticated):
            await identified(tokens, wrong)


# Introspection


async def test_a_revoked_token_ends_when_its_issuer_is_next_asked() -> None:
    house = House(introspection=ASKING)
    token = house.fake.token()
    house.fake.active[token.decode()] = {"active": True}
    await house.knock(token)
    await house.knock(token)
    assert house.fake.questions == 1

    house.fake.active.clear()
    await house.knock(token)
    house.clock.advance(30)
    with pytest.raises(Unauthenticated, match="does not count"):
        await house.knock(token)


async def test_a_known_token_counts_for_a_while_longer_when_its_issuer_does_not_answer() -> None:
    house = House(introspection=ASKING)
    token = house.fake.token()
    house.fake.active[token.decode()] = {"active": True}
    await house.knock(token)
    house.fake.go_down()

    house.clock.advance(31)
    for _ in range(10):
        await house.knock(token)
    assert house.fake.questions == 2, "not asked again at once"
    with pytest.raises(Unavailable):
        await house.knock(house.fake.token(jti="2"))
    house.clock.advance(300)
    with pytest.raises(Unavailable):
        await house.knock(token)


async def test_a_token_that_is_no_jwt_is_what_its_issuer_says() -> None:
    house = House(introspection={**ASKING, "opaque": True})
    house.fake.active["opaque-1"] = {"active": True, **house.fake.claims(groups=["support"])}
    house.fake.active["opaque-2"] = {"active": True, **house.fake.claims(aud="https://other.test")}
    house.fake.active["opaque-3"] = {"active": True, **house.fake.claims(iss="https://other.test")}
    house.fake.active["opaque-4"] = {"active": "true", **house.fake.claims()}
    house.fake.active["opaque-5"] = {"active": True, **house.fake.claims(aud=None)}
    house.fake.active["opaque-6"] = {"active": True, **house.fake.claims(token_use="refresh_token")}
    house.fake.active["opaque-7"] = {"active": True, **house.fake.claims(token_type="DPoP")}
    house.fake.active["opaque-8"] = {"active": True, **house.fake.claims(cnf={"jkt": "x"})}

    assert (await house.knock(b"opaque-1")).principal.roles == {"support"}
    for number in (2, 3, 4, 5, 6, 7, 8, 9):
        with pytest.raises(Unauthenticated):
            await house.knock(b"opaque-%d" % number)


# Parsers


@settings(max_examples=50)
@given(st.binary(max_size=300))
async def test_no_bytes_make_it_fail_in_another_way(noise: bytes) -> None:
    house = House()

    for token in (noise, b"ey." + noise + b".", b"eyJhbGciOiJFUzI1NiJ9." + urlsafe_b64encode(noise) + b"." + noise):
        with pytest.raises(GatewayError):
            await house.knock(token)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=5), SCALARS, max_size=2)


@settings(max_examples=50)
@given(
    st.dictionaries(st.sampled_from(("iss", "aud", "exp", "nbf", "iat", "scope", "groups", "sub")), JSON, max_size=4)
)
async def test_signed_claims_of_any_shape_are_taken_or_refused(claims: dict[str, Any]) -> None:
    house = House()
    try:
        said = orjson.loads(orjson.dumps(claims))
    except orjson.JSONEncodeError:
        return
    try:
        identity = await house.knock(house.fake.token(**said))
    except GatewayError:
        return
    assert identity.principal.roles <= {"support"}


@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.sampled_from(("kty", "crv", "n", "e", "x", "y", "alg", "use", "kid")), JSON)))
def test_keys_of_any_shape_are_taken_or_left_out(keys: list[JsonObject]) -> None:
    for key in keys_from_jwks({"keys": [*keys]}).values():
        for algorithm in ("RS256", "ES256", "EdDSA"):
            key_for(key, algorithm)


def test_keys_that_are_none_are_left_out() -> None:
    secret: JsonObject = {"kty": "oct", "k": "c2VjcmV0", "kid": "k1", "alg": "HS256"}
    for_encryption: JsonObject = {**public_jwk(EC_KEYS["k1"]), "use": "enc"}
    small = {**public_jwk(RSA_KEY), "n": urlsafe_b64encode(b"\x81" * 128).decode()}

    assert keys_from_jwks({"keys": [secret, for_encryption]}) == {}
    assert key_for(small, "RS256") is None
    assert key_for({**public_jwk(RSA_KEY), "alg": "RS512"}, "RS256") is None
    none: tuple[JsonObject, ...] = ({}, {"keys": {}}, {"keys": [{} for _ in range(MOST_KEYS + 1)]})
    for said in none:
        with pytest.raises(UpstreamFailed):
            keys_from_jwks(said)


async def test_without_a_name_only_a_key_that_is_alone_is_meant() -> None:
    clock = FakeClock()
    fake = FakeIssuer(clock)
    ring = Keyring("corp", settings_of(), fake, clock)

    await ring.find("", "ES256")
    fake.keys.append(public_jwk(EC_KEYS["k2"]))
    clock.advance(FRESH_S + 1)
    await ring.refresh()

    with pytest.raises(Unauthenticated):
        await ring.find("", "ES256")
