"""Whose access tokens count, and where people log in: the section `oauth` made into what recognises them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from adapters.identity.id_tokens import principal_from_id_token
from adapters.identity.introspection import Introspection
from adapters.identity.issuers import Issuer
from adapters.identity.keyring import Keyring
from adapters.identity.oauth_settings import IssuerSettings, LoginSettings, OAuthSettings
from adapters.identity.settings import PrincipalSettings
from adapters.mcp.settings import ServerSettings
from adapters.net.authorization_server import AuthorizationServer
from adapters.net.egress import EgressGuard
from adapters.oauth.login import Login
from adapters.oauth.token_endpoint import TokenEndpoint
from adapters.oauth.vault import Owner
from gateway.app.oauth_client import client_from, secret_at
from gateway.app.upstream_tokens import Ground
from gateway.config.document import child
from gateway.config.load import Configuration
from gateway.config.problems import Problem
from gateway.core.catalog import EVERY_TENANT
from gateway.core.ports.world import Secret
from policies.token import TokenPolicy

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What the section is made into."""

    issuers: Mapping[str, Issuer]
    """By their identifiers."""
    logins: Mapping[str, Login]
    """By the names of issuers."""
    scopes: frozenset[str]
    """Every scope a call can need."""


def recognition_from(settings: OAuthSettings, ground: Ground, guard: EgressGuard) -> Recognition:
    """Raises: InvalidRequest: a secret leads nowhere."""
    servers = {
        name: AuthorizationServer(
            each.url, name=f"the issuer {name}", tls=ground.tls, guard=guard, timeout_s=each.timeout_s
        )
        for name, each in settings.issuers.items()
    }
    issuers = {name: _issuer(name, each, ground, servers[name]) for name, each in settings.issuers.items()}
    logins = {
        name: _login(issuers[name], each.login, ground, servers[name])
        for name, each in settings.issuers.items()
        if each.login is not None
    }
    return Recognition(
        issuers={each.settings.url: each for each in issuers.values()},
        logins=logins,
        scopes=frozenset(scope for needed in settings.scopes.values() for scope in needed),
    )


def recognise(recognition: Recognition, ground: Ground) -> None:
    """Have callers and browsers recognised by this from now on."""
    ground.access_tokens.configure(recognition.issuers, recognition.scopes)
    ground.accounts.connecting.logins = recognition.logins


def _issuer(name: str, settings: IssuerSettings, ground: Ground, server: AuthorizationServer) -> Issuer:
    asking = settings.introspection
    introspection = None
    if asking is not None:
        path = f"oauth.issuers.{name}.introspection.client_secret"
        introspection = Introspection(name, asking, secret_at(path, asking.client_secret, ground.secrets), server)
    return Issuer(
        name=name,
        settings=settings,
        keys=Keyring(name, settings, server, ground.clock),
        introspection=introspection,
    )


def _login(issuer: Issuer, settings: LoginSettings, ground: Ground, server: AuthorizationServer) -> Login:
    client = client_from(f"oauth.issuers.{issuer.name}.login", settings, ground)

    async def recognise(id_token: Secret, nonce: str) -> Owner:
        token, now_us = id_token.reveal().encode(), ground.clock.now_us()
        who = await principal_from_id_token(issuer, token, client=client.id, nonce=nonce, now_us=now_us)
        return who.tenant, who.subject

    return Login(endpoint=TokenEndpoint(server, client), scopes=settings.scopes, recognise=recognise)


def oauth_problems(configuration: Configuration) -> Iterator[Problem]:
    """Roles that rules give and nobody wrote; patterns that are none; accounts that can be connected for another."""
    settings = configuration.section("oauth", OAuthSettings)
    known = configuration.entries("roles")
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
    yield from _links_nobody_checks(configuration, settings)


def _links_nobody_checks(configuration: Configuration, settings: OAuthSettings) -> Iterator[Problem]:
    """Servers at which an account can be connected in another person's name."""
    servers = cast("Mapping[str, ServerSettings]", configuration.entries("servers"))
    people = cast("Mapping[str, PrincipalSettings]", configuration.entries("principals"))
    without = [name for name, each in settings.issuers.items() if each.login is None]
    for slug, server in servers.items():
        if server.auth is None or server.auth.kind != "user":
            continue
        keyed = [name for name, who in people.items() if who.roles and server.tenant in (who.tenant, EVERY_TENANT)]
        who = [*(f"the people of {name}" for name in without), *keyed]
        if who:
            more = f" and {len(who) - _MOST_NAMED} more" if len(who) > _MOST_NAMED else ""
            yield configuration.problem(
                child(child(child("servers", slug), "auth"), "kind"),
                f"{', '.join(who[:_MOST_NAMED])}{more} connect accounts by links nobody checks: whoever opens one"
                " first connects an account of theirs",
                expected="let them come with tokens of an issuer that has a login (oauth.issuers.NAME.login)",
                severity="warning",
            )
