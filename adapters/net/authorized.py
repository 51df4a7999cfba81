"""Requests that show an access token, all of a pool in one name or each in its own. Knows not where it is from."""

import ssl
from collections.abc import Awaitable
from typing import Protocol

from adapters.net.address import Address
from adapters.net.challenge import Challenge, challenge_from
from adapters.net.http1 import Pool, PoolLimits, header_lines
from adapters.net.response import Response
from gateway.core.errors import InvalidRequest
from gateway.core.ports.credentials import UpstreamToken
from gateway.core.ports.world import Secret

_UNAUTHORISED = 401
_REFUSED = frozenset({_UNAUTHORISED, 403})


class Send(Protocol):
    """See `Pool.send`."""

    def __call__(
        self, method: bytes, target: bytes, headers: bytes, body: bytes, *, deadline_s: float, replay: bool = False
    ) -> Awaitable[Response]: ...


class Authorized:
    """Shows a token. What is refused is sent once more with another, and once more with one that is good for more."""

    def __init__(self, send: Send, token: UpstreamToken) -> None:
        self._send = send
        self._token = token

    async def send(
        self, method: bytes, target: bytes, headers: bytes, body: bytes, *, deadline_s: float, replay: bool = False
    ) -> Response:
        """See `Pool.send`, and `UpstreamToken.get` for what it raises beyond that."""
        shown = await self._token.get(deadline_s)
        lines = headers + _line(shown)
        response = await self._send(method, target, lines, body, deadline_s=deadline_s, replay=replay)
        for instead_of in (self._another, self._wider):
            if response.status not in _REFUSED:
                return response
            challenge = challenge_from(response.header(b"www-authenticate").decode("latin-1"))
            try:
                another = await instead_of(shown, response.status, challenge, deadline_s)
            except BaseException:
                response.close()
                raise
            if another is shown:
                continue
            # Refused before it was looked at (RFC 9110, section 15.5.2), so that sending it again does nothing twice.
            response.close()
            shown = another
            lines = headers + _line(another)
            response = await self._send(method, target, lines, body, deadline_s=deadline_s, replay=replay)
        return response

    async def _another(self, shown: Secret, status: int, challenge: Challenge, deadline_s: float) -> Secret:
        """In place of a token that does not count."""
        if status != _UNAUTHORISED or challenge.insufficient:
            return shown
        self._token.refused(shown)
        return await self._token.get(deadline_s)

    async def _wider(self, shown: Secret, status: int, challenge: Challenge, deadline_s: float) -> Secret:
        """In place of a token that counts, but not for this."""
        if not challenge.scopes or not (challenge.insufficient or status == _UNAUTHORISED):
            return shown
        return await self._token.wider(shown, challenge.scopes, deadline_s)


class AuthorizedPool(Pool):
    """See `Pool`. Shows one token with every request."""

    def __init__(
        self, address: Address, *, name: str, tls: ssl.SSLContext, limits: PoolLimits, token: UpstreamToken
    ) -> None:
        """Raises: InvalidRequest: the token would travel in clear."""
        check_secure(address, name)
        super().__init__(address, name=name, tls=tls, limits=limits)
        self._authorized = Authorized(super().send, token)

    async def send(
        self, method: bytes, target: bytes, headers: bytes, body: bytes, *, deadline_s: float, replay: bool = False
    ) -> Response:
        """See `Authorized.send`."""
        return await self._authorized.send(method, target, headers, body, deadline_s=deadline_s, replay=replay)


def check_secure(address: Address, name: str) -> None:
    """Raises: InvalidRequest: a token shown there would travel in clear to another machine."""
    if not address.secure and address.host not in ("127.0.0.1", "::1", "localhost"):
        raise InvalidRequest(f"{name}: an access token is shown over https only (http:// on this machine)")


def _line(token: Secret) -> bytes:
    return header_lines([("authorization", f"Bearer {token.reveal()}")])
