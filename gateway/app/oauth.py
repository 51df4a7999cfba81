"""Whose access tokens count: the section `oauth` made into what recognises them."""

import ssl
from collections.abc import Iterator, Mapping
from typing import Protocol, cast

from adapters.identity.introspection import Introspection
from adapters.identity.issuers import Issuer
from adapters.identity.keyring import Keyring
from adapters.identity.oauth_settings import IssuerSettings, OAuthSettings
from adapters.net.authorization_server import AuthorizationServer
from adapters.net.egress import EgressGuard
from gateway.config.document import child
from gateway.config.load import Configuration
from gateway.config.problems import Problem
from gateway.core.errors import InvalidRequest
from gateway.core.ports.world import Clock, Secrets
from policies.token import TokenPolicy


class Ground(Protocol):
    """What asking an issuer stands on; a `Foundation` is one."""

    @property
    def clock(self) -> Clock: ...

    @property
    def secrets(self) -> Secrets: ...

    @property
    def tls(self) -> ssl.SSLContext: ...


def issuers_from(settings: OAuthSettings, ground: Ground, guard: EgressGuard) -> dict[str, Issuer]:
    """Every issuer, by its identifier. Raises: InvalidRequest: a secret leads nowhere."""
    return {each.url: _issuer(name, each, ground, guard) for name, each in settings.issuers.items()}


def _issuer(name: str, settings: IssuerSettings, ground: Ground, guard: EgressGuard) -> Issuer:
    server = AuthorizationServer(
        settings.url, name=f"the issuer {name}", tls=ground.tls, guard=guard, timeout_s=settings.timeout_s
    )
    asking = settings.introspection
    introspection = None
    if asking is not None:
        try:
            secret = ground.secrets.resolve(asking.client_secret)
        except InvalidRequest as error:
            path = f"oauth.issuers.{name}.introspection.client_secret"
            raise InvalidRequest(f"{path}: {error.message}", detail={"path": path}) from error
        introspection = Introspection(name, asking, secret, server)
    return Issuer(
        name=name,
        settings=settings,
        keys=Keyring(name, settings, server, ground.clock),
        introspection=introspection,
    )


def scopes_of(settings: OAuthSettings) -> frozenset[str]:
    """Every scope a call can need."""
    return frozenset(scope for needed in settings.scopes.values() for scope in needed)


def oauth_problems(configuration: Configuration) -> Iterator[Problem]:
    """Roles that rules give and nobody wrote; patterns that are none."""
    settings = configuration.section("oauth", OAuthSettings)
    known = cast("Mapping[str, object]", configuration.sections.get("roles") or {})
    for name, issuer in settings.issuers.items():
        for index, rule in enumerate(issuer.rules):
            path = child(child(child(child("oauth", "issuers"), name), "rules"), index)
            for number, role in enumerate(rule.roles):
                if role not in known:
                    yield configuration.problem(
                        child(child(path, "roles"), number), f"there is no role {role!r}", name=role, known=known
                    )
    for pattern, needed in settings.scopes.items():
        try:
            TokenPolicy({pattern: needed})
        except ValueError as error:
            yield configuration.problem(child(child("oauth", "scopes"), pattern), str(error))
