"""A pool whose every request shows an access token. Knows not where the token comes from."""

import ssl

from adapters.net.address import Address
from adapters.net.http1 import Pool, PoolLimits, header_lines
from adapters.net.response import Response
from gateway.core.errors import InvalidRequest
from gateway.core.ports.credentials import UpstreamToken
from gateway.core.ports.world import Secret


class AuthorizedPool(Pool):
    """See `Pool`. What is refused as unauthorised is sent once more, if there is another token by then."""

    def __init__(
        self, address: Address, *, name: str, tls: ssl.SSLContext, limits: PoolLimits, token: UpstreamToken
    ) -> None:
        if not address.secure and not is_loopback(address.host):
            raise InvalidRequest(f"{name}: an access token is shown over https only (http:// on this machine)")
        super().__init__(address, name=name, tls=tls, limits=limits)
        self._token = token

    async def send(
        self, method: bytes, target: bytes, headers: bytes, body: bytes, *, deadline_s: float, replay: bool = False
    ) -> Response:
        """See `Pool.send`, and `UpstreamToken.get` for what it raises beyond that."""
        shown = await self._token.get(deadline_s)
        response = await super().send(
            method, target, headers + _line(shown), body, deadline_s=deadline_s, replay=replay
        )
        if response.status != 401:
            return response
        self._token.refused(shown)
        try:
            another = await self._token.get(deadline_s)
        except BaseException:
            response.close()
            raise
        if another is shown:
            return response
        # Refused before it was looked at (RFC 9110, section 15.5.2), so that sending it again does nothing twice.
        response.close()
        return await super().send(method, target, headers + _line(another), body, deadline_s=deadline_s, replay=replay)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    return host in ("127.0.0.1", "::1", "localhost")


def _line(token: Secret) -> bytes:
    return header_lines([("authorization", f"Bearer {token.reveal()}")])
