"""From the claims of a verified token to a principal. Grants nothing that the configuration did not map. Pure."""

from collections.abc import Iterable

from adapters.identity.oauth_settings import ClaimRule, IssuerSettings
from gateway.core.errors import Unauthenticated
from gateway.core.json import Json, JsonObject, json_list, json_text
from gateway.core.model import DEFAULT_TENANT, Principal, PrincipalKind, principal
from gateway.core.pointers import NothingThere, at_pointer

_LONGEST_SUBJECT = 255
"""Of OpenID Connect Core, section 2."""
_KINDS: dict[str, PrincipalKind] = {"client": "client", "operator": "operator", "agent": "agent"}


def principal_from_claims(
    issuer: str, settings: IssuerSettings, claims: JsonObject, asked_for: frozenset[str] = frozenset()
) -> Principal:
    """Who the token is about; `issuer` is the name the configuration gives it, `asked_for` the scopes calls can need.

    Raises: Unauthenticated: the claims name nobody, or the rules that apply disagree.
    """
    applying = [rule for rule in settings.rules if applies(rule, claims)]
    roles = frozenset(role for rule in applying for role in rule.roles)
    kind = _agreed((rule.kind for rule in applying), "kind") or settings.kind
    return principal(
        f"{issuer}:{_subject(settings, claims)}",
        kind=_KINDS[kind],
        tenant=_tenant(settings, applying),
        roles=roles,
        # Others decide nothing, and would only multiply the classes that plans are made for.
        scopes=scopes_in(claims) & asked_for,
    )


def applies(rule: ClaimRule, claims: JsonObject) -> bool:
    """Whether every claim the rule names is, or holds, what it must."""
    return all(_holds(_claim(claims, name), name, wanted) for name, wanted in rule.when.items())


def scopes_in(claims: JsonObject) -> frozenset[str]:
    """The scopes a token was issued with (RFC 9068, section 2.2.3), some of them under the name others use."""
    said = claims.get("scope", claims.get("scp"))
    words = said.split(" ") if isinstance(said, str) else [json_text(each) for each in json_list(said)]
    return frozenset(word for word in words if word)


def _claim(claims: JsonObject, name: str) -> Json:
    if not name.startswith("/"):
        return claims.get(name)
    try:
        return at_pointer(claims, name)
    except NothingThere:
        return None


def _holds(said: Json, name: str, wanted: str | bool | int) -> bool:
    if name in ("scope", "scp") and isinstance(said, str):
        said = [*said.split(" ")]
    if isinstance(said, list):
        return any(_same(each, wanted) for each in said)
    return _same(said, wanted)


def _same(said: Json, wanted: str | bool | int) -> bool:
    # By type as well: to Python `True == 1`, and a claim of 1 was not mapped as true.
    return type(said) is type(wanted) and said == wanted


def _agreed(said: Iterable[str], what: str) -> str:
    different = {each for each in said if each}
    if len(different) > 1:
        raise Unauthenticated(f"the token's claims lead to more than one {what}")
    return next(iter(different), "")


def _tenant(settings: IssuerSettings, applying: list[ClaimRule]) -> str:
    if settings.tenant:
        return settings.tenant
    tenant = _agreed((rule.tenant for rule in applying), "tenant")
    if tenant:
        return tenant
    if any(rule.tenant for rule in settings.rules):
        # Whoever sorts callers into tenants does not want those that fit nowhere among the others.
        raise Unauthenticated("the token's claims lead to no tenant")
    return DEFAULT_TENANT


def _subject(settings: IssuerSettings, claims: JsonObject) -> str:
    subject = json_text(claims.get(settings.subject))
    sound = subject.isascii() and subject.isprintable() and " " not in subject
    if not subject or not sound or len(subject) > _LONGEST_SUBJECT:
        raise Unauthenticated("the token names nobody the gateway could call by a name")
    return subject
