"""One access token, kept until shortly before its time is over, and fetched once for all who wait."""

from collections.abc import Awaitable, Callable

import anyio

from adapters.oauth.token_endpoint import Granted
from gateway.core.errors import DeadlineExceeded, GatewayError
from gateway.core.ports.world import Clock, Secret

UNSAID_S = 300.0
"""How long a token is kept whose server did not say how long it counts, seconds."""
MARGIN_S = 60.0
"""How long before its end it is renewed; less for one that does not live long."""
NO_SOONER_S = 5.0
"""A token is not thrown away within this time after it was fetched, whatever an upstream says of it."""


class KeptToken:
    """See `UpstreamToken`."""

    def __init__(self, fetch: Callable[[], Awaitable[Granted]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._token: Secret | None = None
        self._fetched_s = self._renew_at_s = self._ends_at_s = 0.0
        self._turn = anyio.Lock()

    async def get(self, deadline_s: float) -> Secret:
        token = self._token
        if token is not None and self._clock.monotonic_s() < self._renew_at_s:
            return token
        try:
            with anyio.fail_after(max(0.0, deadline_s - self._clock.monotonic_s())):
                async with self._turn:
                    return await self._renewed()
        except TimeoutError as error:
            said = "the issuer of the gateway's token did not answer in time"
            raise DeadlineExceeded(said, detail={"sent": False}) from error

    def refused(self, token: Secret) -> None:
        if self._token is token and self._clock.monotonic_s() >= self._fetched_s + NO_SOONER_S:
            self._token = None

    async def _renewed(self) -> Secret:
        now_s = self._clock.monotonic_s()
        if self._token is not None and now_s < self._renew_at_s:
            return self._token
        try:
            granted = await self._fetch()
        except GatewayError:
            if self._token is not None and now_s < self._ends_at_s:
                self._renew_at_s = min(now_s + NO_SOONER_S, self._ends_at_s)
                return self._token
            raise
        lives_s = UNSAID_S if granted.lives_s is None else granted.lives_s
        self._token = granted.access
        self._fetched_s = now_s
        self._ends_at_s = now_s + lives_s
        self._renew_at_s = now_s + lives_s - min(MARGIN_S, lives_s / 10)
        return granted.access
