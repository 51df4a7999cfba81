"""Tokens the gateway has in its own name (RFC 6749, section 4.4), and those it exchanges a caller's for (RFC 8693)."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from adapters.oauth.kept import KeptToken
from adapters.oauth.token_endpoint import Granted, TokenEndpoint
from gateway.core.errors import Denied
from gateway.core.model import Request
from gateway.core.ports.credentials import UpstreamToken
from gateway.core.ports.world import Clock, Secret

MOST_CALLERS = 4096
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type, not a token


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a token is to be good for."""

    resource: str = ""
    scopes: tuple[str, ...] = ()
    audience: str = ""

    def form(self) -> dict[str, str]:
        """As parameters of a request (RFC 6749, RFC 8707)."""
        said = {"resource": self.resource, "scope": " ".join(self.scopes), "audience": self.audience}
        return {name: value for name, value in said.items() if value}


class ServiceTokens:
    """See `UpstreamTokens`: one token, whoever calls."""

    def __init__(self, endpoint: TokenEndpoint, wish: Wish, clock: Clock) -> None:
        form = {"grant_type": "client_credentials", **wish.form()}

        async def fetch() -> Granted:
            return await endpoint.grant(form)

        self.own: UpstreamToken = KeptToken(fetch, clock)

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
        endpoint: TokenEndpoint,
        wish: Wish,
        clock: Clock,
        token_of: Callable[[str], Secret | None],
    ) -> None:
        """`token_of` gives the access token behind a `Request.credential`, while it counts."""
        self._name = name
        self._endpoint = endpoint
        self._form = wish.form()
        self._clock = clock
        self._token_of = token_of
        self._kept: OrderedDict[str, KeptToken] = OrderedDict()
        # Lists are read in nobody's name but the gateway's.
        self.own: UpstreamToken = ServiceTokens(endpoint, wish, clock).own

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

            async def fetch() -> Granted:
                return await self._exchange(key)

            kept = self._kept[key] = KeptToken(fetch, self._clock)
            if len(self._kept) > MOST_CALLERS:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return kept

    async def _exchange(self, credential: str) -> Granted:
        subject = self._token_of(credential)
        if subject is None:
            raise Denied(
                f"{self._name} is called by the caller's own access token, and that no longer counts",
                detail={"policy": "credentials", "rule": "token-over", "sent": False},
            )
        return await self._endpoint.grant(
            {
                **self._form,
                "grant_type": _EXCHANGE,
                "subject_token": subject.reveal(),
                "subject_token_type": _ACCESS_TOKEN,
                "requested_token_type": _ACCESS_TOKEN,
            }
        )
