"""Claims lead where the configuration says, and nowhere else."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.identity.claims import principal_from_claims
from adapters.identity.oauth_settings import IssuerSettings, OAuthSettings
from gateway.core.errors import Unauthenticated
from gateway.core.json import Json, JsonObject
from gateway.core.model import Principal, principal

NAMES = st.sampled_from(("groups", "role", "/realm/roles", "scope", "flag"))
VALUES = st.sampled_from(("a", "b", "c", "")) | st.booleans() | st.integers(0, 2)
CLAIM = VALUES | st.lists(VALUES, max_size=3) | st.none() | st.just({"roles": ["a"]})
CLAIMS = st.dictionaries(st.sampled_from(("groups", "role", "realm", "scope", "flag", "roles", "tenant")), CLAIM)
RULES = st.lists(
    st.fixed_dictionaries(
        {
            "when": st.dictionaries(NAMES, VALUES, max_size=2),
            "roles": st.lists(st.sampled_from(("one", "two", "three")), max_size=2),
            "tenant": st.sampled_from(("", "acme", "bolt")),
            "kind": st.sampled_from(("", "agent")),
        }
    ),
    max_size=4,
)
UNHURRIED = how(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def issuer(**settings: Any) -> IssuerSettings:
    return IssuerSettings.model_validate({"url": "https://issuer.test", **settings})


def who(settings: IssuerSettings, **claims: Json) -> Principal:
    return principal_from_claims("corp", settings, {"sub": "ana", **claims}, frozenset({"read"}))


@pytest.mark.parametrize(
    ("when", "claims", "applies"),
    [
        ({"groups": "support"}, {"groups": ["support", "x"]}, True),
        ({"groups": "support"}, {"groups": "support"}, True),
        ({"groups": "support"}, {"groups": "support-team"}, False),
        ({"groups": "support"}, {"groups": ["Support"]}, False),
        ({"groups": "support"}, {"groups": {"support": True}}, False),
        ({"groups": "support"}, {}, False),
        ({"scope": "read"}, {"scope": "write read"}, True),
        ({"scope": "read"}, {"scope": "reading"}, False),
        ({"groups": "write read"}, {"groups": "write read"}, True),
        ({"admin": True}, {"admin": True}, True),
        ({"admin": True}, {"admin": 1}, False),
        ({"admin": True}, {"admin": "true"}, False),
        ({"level": 1}, {"level": True}, False),
        ({"level": 1}, {"level": 1}, True),
        ({"/realm_access/roles": "ops"}, {"realm_access": {"roles": ["ops"]}}, True),
        ({"/a~1b/c~0d": "x"}, {"a/b": {"c~d": "x"}}, True),
        ({"/realm_access/roles": "ops"}, {"realm_access": ["roles"]}, False),
        ({"https://x.test/roles": "ops"}, {"https://x.test/roles": ["ops"]}, True),
        ({"a": "1", "b": "2"}, {"a": "1"}, False),
        ({}, {}, True),
    ],
    ids=str,
)
def test_a_rule_applies_when_every_claim_is_what_it_must_be(
    when: dict[str, Any], claims: JsonObject, applies: bool
) -> None:
    found = who(issuer(rules=[{"when": when, "roles": ["given"]}]), **claims)

    assert found.roles == ({"given"} if applies else set())


def test_rules_that_apply_add_up_and_no_other_role_appears() -> None:
    settings = issuer(
        rules=[
            {"when": {"groups": "a"}, "roles": ["one", "two"]},
            {"when": {"groups": "b"}, "roles": ["three"], "kind": "operator"},
            {"when": {"groups": "c"}, "roles": ["four"]},
        ]
    )

    found = who(settings, groups=["a", "b"], roles=["four", "operator"], kind="agent", scope="read more")

    expected = principal(
        "corp:ana", kind="operator", roles=frozenset({"one", "two", "three"}), scopes=frozenset({"read"})
    )
    assert found == expected


def test_a_tenant_comes_from_the_rules_or_the_caller_is_refused() -> None:
    settings = issuer(
        rules=[{"when": {"org": "1"}, "tenant": "acme"}, {"when": {"org": "2"}, "tenant": "bolt"}, {"roles": ["all"]}]
    )

    assert who(settings, org="1").tenant == "acme"
    assert who(settings, org="2").tenant == "bolt"
    refused: tuple[JsonObject, ...] = ({}, {"org": "3"}, {"org": ["1", "2"]}, {"tenant": "acme"})
    for claims in refused:
        with pytest.raises(Unauthenticated):
            who(settings, **claims)
    assert who(issuer(tenant="acme"), org="2").tenant == "acme"
    assert who(issuer()).tenant == "default"


def test_rules_that_disagree_about_the_kind_refuse_the_caller() -> None:
    settings = issuer(rules=[{"when": {"a": True}, "kind": "operator"}, {"when": {"b": True}, "kind": "agent"}])

    assert who(settings, a=True).kind == "operator"
    with pytest.raises(Unauthenticated):
        who(settings, a=True, b=True)


def test_another_claim_may_name_the_subject() -> None:
    settings = issuer(subject="email")

    assert who(settings, email="ana@corp.test").subject == "corp:ana@corp.test"
    with pytest.raises(Unauthenticated):
        who(settings)


@UNHURRIED
@given(RULES, CLAIMS)
def test_no_claim_grants_what_was_not_mapped(rules: list[dict[str, Any]], claims: dict[str, Any]) -> None:
    settings = issuer(rules=rules)
    try:
        found = who(settings, **claims)
    except Unauthenticated:
        return

    assert found.roles <= {role for rule in rules for role in rule["roles"]}
    assert found.tenant in {"default", *(rule["tenant"] for rule in rules)}
    assert found.kind in {"client", *(rule["kind"] for rule in rules)}
    assert found.subject == "corp:ana"


@UNHURRIED
@given(RULES, CLAIMS, st.sampled_from(("groups", "role", "flag")))
def test_a_claim_less_never_gives_more(rules: list[dict[str, Any]], claims: dict[str, Any], lost: str) -> None:
    rules = [{**rule, "tenant": "", "kind": ""} for rule in rules]
    fewer = {name: value for name, value in claims.items() if name != lost}

    assert who(issuer(rules=rules), **fewer).roles <= who(issuer(rules=rules), **claims).roles


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "http://issuer.test"},
        {"url": "issuer.test"},
        {"url": "https://issuer.test?x=1"},
        {"url": "https://user@issuer.test"},
        {"algorithms": ["none"]},
        {"algorithms": ["HS256"]},
        {"tenant": "acme", "rules": [{"tenant": "bolt"}]},
        {"introspection": {"client_id": "a", "client_secret": "hunter2-hunter2"}},
        {"introspection": {"client_id": "a", "client_secret": "env:A", "url": "http://issuer.test/introspect"}},
        {"jwks_url": "http://issuer.test/keys"},
        {"login": {"client_id": ""}},
        {"login": {"client_secret": "env:A"}},
        {"login": {"client_id": "a", "scopes": ["profile"]}},
        {"login": {"client_id": "a", "client_secret": "hunter2-hunter2"}},
        {"clock_skew_s": 3600},
    ],
    ids=str,
)
def test_settings_that_would_let_too_many_in_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        issuer(**settings)

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"issuers": {"agent": {"url": "https://a.test"}}},
        {"issuers": {"a:b": {"url": "https://a.test"}}},
        {"issuers": {"a": {"url": "https://a.test"}, "b": {"url": "https://a.test"}}},
        {
            "issuers": {
                name: {
                    "url": f"https://{name}.test",
                    "introspection": {"client_id": "a", "client_secret": "env:A", "opaque": True},
                }
                for name in ("a", "b")
            }
        },
        {"scopes": {"tool:*": []}},
        {"scopes": {"tool:*": ['quo"ted']}},
        {"scopes": {"tool:*": ["two words"]}},
    ],
    ids=str,
)
def test_issuers_that_cannot_be_told_apart_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OAuthSettings.model_validate(settings)
