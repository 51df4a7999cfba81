"""Tokens the gateway has in its own name (RFC 6749, section 4.4), and those it exchanges a caller's for (RFC 8693)."""

from collections import OrderedDict
from collections.abc import Callable

from adapters.oauth.kept import KeptToken
from adapters.oauth.terms import Agreement
from adapters.oauth.token_endpoint import Granted
from gateway.core.errors import Denied
from gateway.core.model import Request
from gateway.core.ports.credentials import OVER, UpstreamToken
from gateway.core.ports.world import Clock, Secret

MOST_CALLERS = 4096
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type, not a token


class ServiceTokens:
    """See `UpstreamTokens`: one token, whoever calls."""

    def __init__(self, agreement: Agreement, clock: Clock) -> None:
        async def fetch(more: tuple[str, ...]) -> Granted:
            terms = await agreement.terms()
            return await terms.endpoint.grant({"grant_type": "client_credentials", **terms.wish.form(more)})

        self.own: UpstreamToken = KeptToken(fetch, agreement, clock)

    def key(self, request: Request) -> str:
        return ""

    def of(self, key: str) -> UpstreamToken:
        return self.own


class ExchangedTokens:
    """See `UpstreamTokens`: each caller's own access token is exchanged for one that the upstream takes.

    Kept by the caller's token, not by its name: another token of the same caller may be for less.
    """

    def __init__(
        self,
        name: str,
        agreement: Agreement,
        clock: Clock,
        token_of: Callable[[str], Secret | None],
    ) -> None:
        """`token_of` gives the access token behind a `Request.credential`, while it counts."""
        self._name = name
        self._agreement = agreement
        self._clock = clock
        self._token_of = token_of
        self._kept: OrderedDict[str, KeptToken] = OrderedDict()
        # Lists are read in nobody's name but the gateway's.
        self.own: UpstreamToken = ServiceTokens(agreement, clock).own

    def key(self, request: Request) -> str:
        if not request.credential or request.principal.behind is not None:
            raise Denied(
                f"{self._name} is called by the caller's own access token, and this call came without one",
                detail={"policy": "credentials", "rule": "no-token", "sent": False},
            )
        return request.credential

    def of(self, key: str) -> UpstreamToken:
        kept = self._kept.get(key)
        if kept is None:

            async def fetch(more: tuple[str, ...]) -> Granted:
                return await self._exchange(key, more)

            kept = self._kept[key] = KeptToken(fetch, self._agreement, self._clock)
            if len(self._kept) > MOST_CALLERS:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return kept

    async def _exchange(self, credential: str, more: tuple[str, ...]) -> Granted:
        subject = self._token_of(credential)
        if subject is None:
            raise Denied(
                f"{self._name} is called by the caller's own access token, and that no longer counts",
                detail={"policy": "credentials", "rule": OVER, "sent": False},
            )
        terms = await self._agreement.terms()
        return await terms.endpoint.grant(
            {
                **terms.wish.form(more),
                "grant_type": _EXCHANGE,
                "subject_token": subject.reveal(),
                "subject_token_type": _ACCESS_TOKEN,
                "requested_token_type": _ACCESS_TOKEN,
            }
        )
