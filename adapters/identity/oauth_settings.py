"""The section `oauth` of the configuration: whose access tokens count here, and what they are good for."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from adapters.identity.settings import SecretReference
from adapters.net.auth_settings import ClientSettings, SecretsGoThere
from gateway.core.slugs import is_slug

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures with a public key only: `none` and HMAC have no place in a token somebody else issued (RFC 8725)."""
RESERVED_ISSUERS = frozenset({"agent", "workflow", "operator"})
"""Would make subjects that look like principals of another origin."""
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")


class ClaimRule(BaseModel):
    """What a token with these claims is given."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    when: dict[str, str | bool | int] = Field(default_factory=dict[str, str | bool | int])
    """Claims and what each must be, or hold if it is a list: `groups: support`. `scope` is a list of words; a name that
    begins with `/` is a JSON Pointer into nested claims. Empty: every valid token."""
    roles: tuple[str, ...] = ()
    """Roles it gives; those of all rules that apply add up."""
    tenant: str = ""
    """Tenant it puts the caller in; rules that apply and disagree refuse the token."""
    kind: Literal["", "client", "operator", "agent"] = ""
    """Kind it makes the caller; as with `tenant`."""


class IntrospectionSettings(BaseModel):
    """How an issuer is asked whether a token counts (RFC 7662)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    client_id: str
    """As whom the gateway asks."""
    client_secret: SecretReference
    """Reference to its secret there."""
    url: SecretsGoThere = ""
    """Where; by default what the issuer's metadata say."""
    opaque: bool = False
    """Tokens that are no JWTs are this issuer's. One issuer at most can have them."""
    cache_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """How long an answer counts: a revoked token may be taken for that much longer, seconds."""
    grace_s: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    """How long a known token counts beyond that while the issuer does not answer, seconds."""


class LoginSettings(ClientSettings):
    """The gateway as a client at which people log in (OpenID Connect), so that it knows who is at a browser."""

    client_id: Annotated[str, Field(min_length=1)]
    """The gateway's name there."""
    scopes: tuple[str, ...] = ("openid",)
    """What is asked for: whatever has the issuer put the claims that the rules name into its ID tokens."""

    @model_validator(mode="after")
    def _is_a_login(self) -> "LoginSettings":
        if "openid" not in self.scopes:
            raise ValueError("a login asks for the scope openid: without it nobody says who logged in")
        return self


class IssuerSettings(BaseModel):
    """Somebody whose access tokens count."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str
    """Its identifier, exactly as it stands in `iss`."""
    audience: tuple[str, ...] = ()
    """Further `aud` values that mean this gateway, at every address. Its own addresses always count."""
    tenant: str = ""
    """Tenant of all its callers; by default what the rules say, or `default` where none of them says anything."""
    kind: Literal["client", "operator", "agent"] = "client"
    """Kind of its callers where no rule says otherwise."""
    subject: str = "sub"
    """Claim that names the caller; the gateway calls it `ISSUER:VALUE`."""
    rules: tuple[ClaimRule, ...] = ()
    """What claims give. What no rule gives, nobody has."""
    algorithms: tuple[Algorithm, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    """Signatures that count."""
    token_types: tuple[str, ...] = ("at+jwt",)
    """`typ` headers that count (RFC 9068). Some issuers write `JWT` into access tokens too."""
    jwks_url: SecretsGoThere = ""
    """Where its keys are; by default what its metadata say."""
    keys_max_age_s: Annotated[float, Field(ge=60, le=604_800)] = 86_400.0
    """How long keys count that could not be fetched again, seconds."""
    clock_skew_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    """How far its clock may be from this one, seconds."""
    timeout_s: Annotated[float, Field(gt=0, le=30)] = 5.0
    """Longest the gateway waits for it, seconds."""
    login: LoginSettings | None = None
    """Have people log in there before they connect an account, so that nobody connects one in another's name."""
    introspection: IntrospectionSettings | None = None
    """Ask about each token, so that revoking one counts before it expires; needed for tokens that are no JWTs."""

    @property
    def audiences(self) -> frozenset[str]:
        """`audience` as the audiences of tokens are written here."""
        return frozenset(each.rstrip("/") or "/" for each in self.audience)

    @field_validator("url")
    @classmethod
    def _is_an_issuer(cls, url: str) -> str:
        parts = urlsplit(url)
        local = parts.hostname in ("127.0.0.1", "localhost", "::1")
        if not parts.hostname or (parts.scheme != "https" and not (local and parts.scheme == "http")):
            raise ValueError("write the issuer's https:// address (http:// for this machine only)")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("an issuer has no query, fragment or user name (RFC 8414, section 2)")
        return url

    @model_validator(mode="after")
    def _says_its_tenant_once(self) -> "IssuerSettings":
        if self.tenant and any(rule.tenant for rule in self.rules):
            raise ValueError("say the tenant for the issuer, or in its rules, not both")
        return self


class OAuthSettings(BaseModel):
    """Access tokens of issuers outside."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    issuers: dict[str, IssuerSettings] = Field(default_factory=dict[str, IssuerSettings])
    """Whose tokens count, each under a name of yours."""
    scopes: dict[str, tuple[str, ...]] = Field(default_factory=dict[str, tuple[str, ...]])
    """What calls need beyond a role's grant when they come with a token: pattern -> scopes, all of them. Patterns are
    those of roles; the scopes of all that match add up."""

    @field_validator("issuers")
    @classmethod
    def _can_be_told_apart(cls, issuers: dict[str, IssuerSettings]) -> dict[str, IssuerSettings]:
        for name in issuers:
            if not is_slug(name) or name in RESERVED_ISSUERS:
                raise ValueError(f"{name!r} cannot be an issuer's name: 1 to 24 lower case letters, digits and '-'")
        urls = [each.url for each in issuers.values()]
        if len(set(urls)) < len(urls):
            raise ValueError("two issuers have the same url")
        if sum(1 for each in issuers.values() if each.introspection is not None and each.introspection.opaque) > 1:
            # Asking each of them would show every issuer the others' tokens.
            raise ValueError("one issuer at most can have opaque tokens")
        return issuers

    @field_validator("scopes")
    @classmethod
    def _are_scopes(cls, scopes: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for pattern, needed in scopes.items():
            if not needed or not all(_SCOPE.fullmatch(scope) for scope in needed):
                raise ValueError(f"{pattern}: name the scopes it needs; no spaces, quotes or backslashes in them")
        return scopes
