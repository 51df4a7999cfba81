"""What the gateway shows an upstream to be let in. Never what a caller showed the gateway."""

from typing import Protocol

from gateway.core.model import Request
from gateway.core.ports.world import Secret

OVER = "token-over"
"""The `rule` of a `Denied` that says that what a token was made from counts no longer."""


class UpstreamToken(Protocol):
    """The access token for one upstream, in one name."""

    async def get(self, deadline_s: float) -> Secret:
        """A token that counts, fetched now if there is none; `deadline_s` is monotonic.

        Raises: Denied: nobody gives the gateway one; UpstreamFailed, Unavailable, DeadlineExceeded: the issuer failed.
        """
        ...

    def refused(self, token: Secret) -> None:
        """The upstream did not take it, although its time is not over."""
        ...

    async def wider(self, token: Secret, scopes: tuple[str, ...], deadline_s: float) -> Secret:
        """Another token, good for these scopes as well as for what this one is; the same where none is to be had.

        Raises: Denied: only its owner can agree to that; else as `get`.
        """
        ...


class UpstreamTokens(Protocol):
    """The access tokens for one upstream, in everybody's name."""

    @property
    def own(self) -> UpstreamToken | None:
        """For lists, and for what concerns no caller; None: without any."""
        ...

    def key(self, request: Request) -> str:
        """In whose name the request is made: the same text, the same token. Raises: Denied: in nobody's."""
        ...

    def of(self, key: str) -> UpstreamToken:
        """The token for a key from `key`."""
        ...
