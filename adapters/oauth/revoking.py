"""Tokens nobody here will use again are given back to whoever gave them (RFC 7009), as far as that can be done soon."""

import anyio
import structlog

from adapters.net.authorization_server import web_address
from adapters.oauth.vault import Connection, Vault
from gateway.core.errors import GatewayError
from gateway.core.json import json_text
from gateway.core.ports.accounts import Account

log = structlog.get_logger(__name__)

WITHIN_S = 5.0
"""Longest an issuer is waited for, seconds. What is not given back by then ends by itself."""
_KINDS = (("refresh", "refresh_token"), ("access", "access_token"))
"""The first one ends, at most issuers, all that was given with it."""


async def give_back(vault: Vault, connection: Connection, account: Account) -> None:
    """Have an account's tokens revoked, which is no longer kept here. Raises nothing, and is not canceled."""
    said = vault.opened(account, connection)
    with anyio.move_on_after(WITHIN_S, shield=True) as scope:
        try:
            terms = await connection.agreement.terms()
            server = terms.endpoint.server
            about = await server.metadata()
            if terms.issuer != account.issuer or about.get("revocation_endpoint") is None:
                return
            url = web_address(about, "revocation_endpoint")
            for name, kind in _KINDS:
                token = json_text(said.get(name))
                if token:
                    await server.revoke(url, {"token": token, "token_type_hint": kind}, terms.endpoint.client)
        except GatewayError as error:
            log.warning("an account's tokens were not given back", server=connection.slug, reason=error.message)
    if scope.cancelled_caught:
        log.warning("an account's tokens were not given back in time", server=connection.slug)
