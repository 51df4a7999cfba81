"""How the gateway shows an authorization server who it is: by header, by form, or by what only its key can sign."""

from base64 import b64decode
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from pydantic import ValidationError

from adapters.net.auth_settings import AuthSettings
from adapters.net.client_auth import Client, ClientKey
from gateway.core.errors import InvalidRequest
from gateway.core.ports.world import Secret
from tests.fakes import FakeClock

ISSUER = "https://login.test"
SHORT = rsa.generate_private_key(65537, 1024)


def test_a_secret_goes_into_the_header_or_the_form_and_a_public_client_has_none() -> None:
    basic, post = Client(id="a:b", secret=Secret("s3cret%")), Client(id="a", secret=Secret("s3cret"), in_form=True)

    fields, ((name, shown),) = basic.shown_to(ISSUER)
    assert (fields, name, b64decode(shown.removeprefix("Basic "))) == ({}, "authorization", b"a%3Ab:s3cret%25")
    assert post.shown_to(ISSUER) == ({"client_id": "a", "client_secret": "s3cret"}, [])
    assert Client(id="a").shown_to(ISSUER) == ({"client_id": "a"}, [])


@pytest.mark.parametrize("written", ["pem", "jwk"])
@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(ECKey.generate_key("P-256"), "ES256"), (ECKey.generate_key("P-384"), "ES384"), (RSAKey.generate_key(), "RS256")],
    ids=["P-256", "P-384", "RSA"],
)
def test_a_key_signs_a_proof_for_this_issuer_and_this_minute(key: ECKey | RSAKey, algorithm: str, written: str) -> None:
    clock = FakeClock()
    secret = key.as_pem(private=True) if written == "pem" else orjson.dumps(key.as_dict(private=True))
    mine = ClientKey(Secret(secret.decode()), clock)
    client = Client(id="drawbridge", key=mine)

    (fields, headers), (again, _) = client.shown_to(ISSUER), client.shown_to(ISSUER)

    assert headers == []
    assert fields["client_id"] == "drawbridge"
    assert fields["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    said = jwt.decode(fields["client_assertion"], key, algorithms=[algorithm])
    now_s = clock.now_us() // 1_000_000
    once = said.claims.pop("jti")
    assert said.claims == {"iss": "drawbridge", "sub": "drawbridge", "aud": ISSUER, "iat": now_s, "exp": now_s + 60}
    assert once != jwt.decode(again["client_assertion"], key, algorithms=[algorithm]).claims["jti"]
    assert said.header["kid"] == mine.public["kid"] == key.thumbprint()
    assert "d" not in mine.public and "s3cret" not in repr(client)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "s3cret",
        "{}",
        "[]",
        ECKey.generate_key("P-256").as_pem(private=False).decode(),
        SHORT.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        OKPKey.generate_key("X25519").as_pem(private=True).decode(),
        orjson.dumps(OctKey.generate_key(256).as_dict(private=True)).decode(),
    ],
    ids=["nothing", "a secret", "no JWK", "a list", "a public key", "a short key", "not for signing", "symmetric"],
)
def test_what_is_no_private_key_to_sign_with_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ClientKey(Secret(secret), FakeClock())

    assert "s3cret" not in refused.value.message


def auth(**said: Any) -> AuthSettings:
    return AuthSettings.model_validate({"kind": "client_credentials", "issuer": ISSUER, "client_id": "a", **said})


@pytest.mark.parametrize("said", [{"client_secret": "env:A"}, {"client_key": "file:keys/a.pem"}], ids=str)
def test_a_client_has_a_secret_or_a_key_by_reference(said: dict[str, str]) -> None:
    assert auth(**said).references == said


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"client_secret": "env:A", "client_key": "env:B"},
        {"client_key": "hunter2-hunter2"},
        {"client_secret": "hunter2-hunter2"},
        {"client_key": "env:B", "client_id": ""},
        {"kind": "user", "client_key": "env:B", "client_id": ""},
        {"client_secret": "env:A", "issuer": "", "kind": "token_exchange"},
        {"client_secret": "env:A", "issuer": "", "token_url": "https://login.test/token"},
        {"client_secret": "env:A", "issuer": "http://login.test"},
        {"client_secret": "env:A", "token_url": "http://login.test/token"},
        {"client_secret": "env:A", "list_as": "ana"},
    ],
    ids=str,
)
def test_a_client_that_could_not_show_itself_or_would_in_clear_is_refused(said: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        auth(**said)

    assert "hunter2" not in str(refused.value)
