"""Headers that claim to say who the caller is."""

import pytest

from adapters.identity.headers import IDENTITY_HEADERS, is_identity_header


@pytest.mark.parametrize(
    "name",
    [
        b"X-Forwarded-User",
        b"x_forwarded_user",
        b"REMOTE-USER",
        b"X-Remote-User",
        b"X-Remote-Extra-Scopes",
        b"X-Auth-Request-Email",
        b"X-Goog-Authenticated-User-Email",
        b"X-Ms-Client-Principal",
        b"Cf-Access-Jwt-Assertion",
        b"X-Forwarded-Client-Cert",
        b"Impersonate-User",
        b"X-Drawbridge-Tenant",
    ],
)
def test_a_claim_of_identity_is_known_in_any_spelling(name: bytes) -> None:
    assert is_identity_header(name)


@pytest.mark.parametrize(
    "name",
    [b"authorization", b"content-type", b"mcp-session-id", b"traceparent", b"x-request-id", b"a2a-version"],
)
def test_what_claims_no_identity_stays(name: bytes) -> None:
    assert not is_identity_header(name)


def test_names_are_kept_in_the_form_they_are_compared_in() -> None:
    for name in IDENTITY_HEADERS:
        assert name == name.lower().replace(b"_", b"-")
