import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.storage.audit.masking import MASK, Masker
from gateway.core.json import Json

MASKER = Masker(["iban"], ["drw_"])


@pytest.mark.parametrize(
    "name",
    [
        *("password", "PASSWORD", "user_password", "newPassword2", "token", "accessToken", "X-Api-Key", "api_key"),
        *(
            "client_secret",
            "Authorization",
            "proxy-authorization",
            "Set-Cookie",
            "private_key",
            "aws_secret_access_key",
        ),
        *("credentials", "iban", "customer_IBAN", "cvv", "refresh_token"),
    ],
)
def test_values_under_telling_names_are_masked(name: str) -> None:
    assert MASKER.value({"a": [{name: {"deep": 1}}]}) == {"a": [{name: MASK}]}


@pytest.mark.parametrize("name", ["max_tokens", "tokens", "order", "keyboard", "shipping", "authors", "libanon"])
def test_values_under_other_names_are_shown(name: str) -> None:
    assert MASKER.value({name: 17}) == {name: 17}


def test_that_nothing_was_given_is_shown() -> None:
    assert MASKER.value({"password": "", "token": None}) == {"password": "", "token": None}


@pytest.mark.parametrize(
    "secret",
    [
        *("sk-ant-api03-abcdefghijklmnop", "sk_live_abcdefghijklmnop", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
        *("github_pat_11AAAAAAA0abcdefghijkl", "glpat-abcdefghij0123456789", "xoxb-1234567890-abcdefghij"),
        *("AKIAIOSFODNN7EXAMPLE", "AIzaSyA1234567890abcdefghijklmnopqrstu", "drw_0123456789abcdef"),
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMIIEow cut off",
    ],
)
def test_what_looks_like_a_credential_is_masked_wherever_it_stands(secret: str) -> None:
    masked = MASKER.value({"note": f"use ({secret}"})
    assert masked == {"note": f"use ({MASK}"}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password=hunter2 ok", f"password={MASK} ok"),
        ('{"password": "correct horse", "a": 1}', f'{{"password": "{MASK}", "a": 1}}'),
        (r"{\"api_key\": \"zzz\", \"a\": 1}", rf"{{\"api_key\": \"{MASK}\", \"a\": 1}}"),
        ("Authorization: Bearer abcdefghijkl", f"Authorization: {MASK} {MASK}"),
        ("sent Basic dXNlcjpwYXNz", f"sent Basic {MASK}"),
        ("https://user:pw@example.org/x", f"https://user:{MASK}@example.org/x"),
        ("iban: DE89370400440532013000", f"iban: {MASK}"),
        ("the token was refused", "the token was refused"),
        ("a risk-averse task-force", "a risk-averse task-force"),
        ("", ""),
    ],
)
def test_pairs_in_free_text_are_masked(text: str, masked: str) -> None:
    assert MASKER.text(text) == masked


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
def test_masking_twice_changes_nothing_more_and_keeps_the_shape(value: Json) -> None:
    once = MASKER.value(value)
    assert type(once) is type(value)
    assert MASKER.value(once) == once


def test_what_is_no_json_is_named_by_its_type_and_depth_is_bounded() -> None:
    assert MASKER.value({"at": object()}) == {"at": "object"}
    deep: Json = "x"
    for _ in range(5000):
        deep = [deep]
    assert MASK in str(MASKER.value(deep))


@pytest.mark.parametrize(
    "evil", ["password" * 20_000, "token:" * 20_000, "a:" * 50_000 + "token", "://" * 30_000 + "@", "sk-" * 30_000]
)
def test_no_text_takes_more_than_linear_time(evil: str) -> None:
    # A search that backtracks would not come to its end while anybody waits.
    assert len(MASKER.text(evil)) <= len(evil)
