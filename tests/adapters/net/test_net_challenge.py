"""What is read out of `WWW-Authenticate`, whoever wrote it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.net.challenge import MOST_SCOPES, NO_CHALLENGE, Challenge, challenge_from, scopes_in


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", NO_CHALLENGE),
        ("Bearer", NO_CHALLENGE),
        ('Bearer scope="a b", resource_metadata="https://x.test/m"', (("a", "b"), "https://x.test/m", False)),
        ("bearer SCOPE=a,error=insufficient_scope", (("a",), "", True)),
        ('Bearer realm="a, scope=\\"z\\"", scope="b"', (("b",), "", False)),
        ('Basic realm="scope=z", Bearer scope="b", DPoP scope="c"', (("b",), "", False)),
        ('Basic scope="z"', NO_CHALLENGE),
        ('Negotiate abc==, Bearer scope="b"', (("b",), "", False)),
        ('Bearer scope="a", scope="b"', (("a",), "", False)),
        ('Bearer scope="a", Bearer scope="b"', (("a",), "", False)),
        ('Bearer error="insufficient_scope', NO_CHALLENGE),
        ('Bearer scope="a\x00b c"', NO_CHALLENGE),
    ],
)
def test_the_first_bearer_challenge_counts(
    header: str, expected: "Challenge | tuple[tuple[str, ...], str, bool]"
) -> None:
    if isinstance(expected, tuple):
        scopes, metadata_url, insufficient = expected
        expected = Challenge(scopes=scopes, metadata_url=metadata_url, insufficient=insufficient)
    assert challenge_from(header) == expected


@settings(deadline=None)
@given(st.text())
def test_whatever_a_server_says_is_read_or_left(header: str) -> None:
    for text in (header, f"Bearer {header}", f'Bearer scope="{header}"'):
        found = challenge_from(text)
        assert all(scope.isascii() and scope.isprintable() and " " not in scope for scope in found.scopes)
        assert len(found.scopes) <= MOST_SCOPES


def test_of_too_many_scopes_or_one_that_is_none_nothing_is_believed() -> None:
    assert scopes_in("a b a") == ("a", "b")
    assert len(scopes_in(" ".join(map(str, range(MOST_SCOPES))))) == MOST_SCOPES
    assert scopes_in(" ".join(map(str, range(MOST_SCOPES + 1)))) == ()
    assert scopes_in('a "b"') == scopes_in("a \u00e4") == scopes_in("a" * 201) == ()
