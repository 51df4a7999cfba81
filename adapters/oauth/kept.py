"""One access token, kept until shortly before its time is over, and fetched once for all who wait."""

from collections.abc import Awaitable, Callable

import anyio

from adapters.oauth.terms import Agreement
from adapters.oauth.token_endpoint import Granted, TokenRefused
from gateway.core.errors import DeadlineExceeded, GatewayError
from gateway.core.ports.world import Clock, Secret

UNSAID_S = 300.0
"""How long a token is kept whose server did not say how long it counts, seconds."""
MARGIN_S = 60.0
"""How long before its end it is renewed; less for one that does not live long."""
NO_SOONER_S = 5.0
"""A token is not thrown away within this time after it was fetched, whatever an upstream says of it."""

MOST_WIDENED = 5
"""How often one token is got anew for more scopes."""


class KeptToken:
    """See `UpstreamToken`."""

    def __init__(
        self, fetch: Callable[[tuple[str, ...]], Awaitable[Granted]], agreement: Agreement, clock: Clock
    ) -> None:
        """`fetch` takes the scopes it is to be good for beyond those of the agreement."""
        self._fetch = fetch
        self._agreement = agreement
        self._clock = clock
        self._more: tuple[str, ...] = ()
        """What the token that is kept, and its successors, are good for beyond that."""
        self._widened = 0
        self._token: Secret | None = None
        self._fetched_s = self._renew_at_s = self._ends_at_s = 0.0
        self._turn = anyio.Lock()

    async def get(self, deadline_s: float) -> Secret:
        token = self._token
        if token is not None and self._clock.monotonic_s() < self._renew_at_s:
            return token
        return await self._in_turn(self._renewed, deadline_s)

    def refused(self, token: Secret) -> None:
        if self._token is token and self._clock.monotonic_s() >= self._fetched_s + NO_SOONER_S:
            self._agreement.doubt()
            self._token = None

    async def wider(self, token: Secret, scopes: tuple[str, ...], deadline_s: float) -> Secret:
        """See `UpstreamToken.wider`. A server that is never content is asked for no more after a few times."""
        if not self._agreement.widens:
            return token
        return await self._in_turn(lambda: self._wider(token, scopes), deadline_s)

    async def _in_turn(self, act: Callable[[], Awaitable[Secret]], deadline_s: float) -> Secret:
        try:
            with anyio.fail_after(max(0.0, deadline_s - self._clock.monotonic_s())):
                async with self._turn:
                    return await act()
        except TimeoutError as error:
            said = "the issuer of the gateway's token did not answer in time"
            raise DeadlineExceeded(said, detail={"sent": False}) from error

    async def _wider(self, token: Secret, scopes: tuple[str, ...]) -> Secret:
        lacking = tuple(each for each in scopes if each not in self._more)
        if not lacking:
            return await self._renewed()  # somebody else got it meanwhile
        if self._widened >= MOST_WIDENED:
            return token
        now_s, more = self._clock.monotonic_s(), (*self._more, *lacking)
        try:
            granted = await self._fetch(more)
        except TokenRefused:
            granted = None
        self._widened += 1
        if granted is None:
            return token
        # Only now: what is not given once, or not in time, is not to be asked for ever after.
        self._more = more
        return self._keep(granted, now_s)

    async def _renewed(self) -> Secret:
        now_s = self._clock.monotonic_s()
        if self._token is not None and now_s < self._renew_at_s:
            return self._token
        try:
            granted = await self._fetch(self._more)
        except GatewayError:
            if self._token is not None and now_s < self._ends_at_s:
                self._renew_at_s = min(now_s + NO_SOONER_S, self._ends_at_s)
                return self._token
            raise
        return self._keep(granted, now_s)

    def _keep(self, granted: Granted, now_s: float) -> Secret:
        """`now_s`: when it was asked for."""
        lives_s = UNSAID_S if granted.lives_s is None else granted.lives_s
        self._token = granted.access
        self._fetched_s = now_s
        self._ends_at_s = now_s + lives_s
        self._renew_at_s = now_s + lives_s - min(MARGIN_S, lives_s / 10)
        return granted.access
