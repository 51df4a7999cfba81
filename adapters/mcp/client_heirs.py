"""Calls that wait for their callers' answers, where each access token has connections of its own.

A client renews its token when it pleases, also between a question and its answer: the answer then comes under another
token than the call, and has to go where the call waits.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from gateway.core.errors import Denied
from gateway.core.ports.credentials import OVER, UpstreamToken
from gateway.core.ports.world import Secret

_MOST_ASKED = 4096


class Asked:
    """Under which key each question was asked, by the state its answer comes with."""

    def __init__(self) -> None:
        self._keys: OrderedDict[str, str] = OrderedDict()

    def note(self, state: str, key: str) -> None:
        """A caller was asked; the oldest question gives way to a new one where there is no more room."""
        self._keys[state] = key
        if len(self._keys) > _MOST_ASKED:
            self._keys.popitem(last=False)

    def take(self, state: str) -> str:
        """The key of a question that is answered now; empty where there is none."""
        return self._keys.pop(state, "")


class HeritableToken:
    """See `UpstreamToken`: a caller's own, and when that is over the one its caller came with since.

    Only then: as long as the first counts, the other may be for more than its owner is to have.
    """

    def __init__(self, token: UpstreamToken) -> None:
        self._token = token
        self.heir: UpstreamToken | None = None

    async def get(self, deadline_s: float) -> Secret:
        return await self._by_either(lambda token: token.get(deadline_s))

    async def wider(self, token: Secret, scopes: tuple[str, ...], deadline_s: float) -> Secret:
        return await self._by_either(lambda each: each.wider(token, scopes, deadline_s))

    def refused(self, token: Secret) -> None:
        self._token.refused(token)
        if self.heir is not None:
            self.heir.refused(token)

    async def _by_either(self, ask: Callable[[UpstreamToken], Awaitable[Secret]]) -> Secret:
        try:
            return await ask(self._token)
        except Denied as error:
            if self.heir is None or error.detail.get("rule") != OVER:
                raise
            return await ask(self.heir)
