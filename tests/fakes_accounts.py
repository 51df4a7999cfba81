"""A gateway's part in people's accounts, in memory: its stores, an issuer, one server, and browsers."""

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit

import anyio

from adapters.net.client_auth import Client
from adapters.oauth.connecting import CONNECT
from adapters.oauth.terms import Fixed, Terms, Wish
from adapters.oauth.token_endpoint import TokenEndpoint
from adapters.oauth.vault import Connection, Owner
from gateway.app.accounts import ConnectedAccounts
from gateway.core.json import JsonObject
from gateway.core.record import Outcome
from gateway.testing.stores.accounts import MemoryAccounts
from gateway.testing.stores.claims import MemoryClaims
from tests.fakes import FakeClock
from tests.fakes_oauth import ISSUER, FakeAuthorizationServer

PLACE = "https://crm.test/mcp"
ANA: Owner = ("default", "ana")
BOB: Owner = ("default", "bob")


@dataclass(frozen=True)
class Begun:
    """Where a browser was sent, and the cookie it has."""

    url: str
    cookie: str

    @property
    def asked(self) -> dict[str, str]:
        return asked_of(self.url)

    @property
    def mark(self) -> str:
        """Of the issuer, in the address the browser is to come back to."""
        return self.asked["redirect_uri"].partition("/oauth/callback")[2].removeprefix("/")

    def answer(self, **changed: str) -> dict[str, str]:
        """What the issuer sends it back with."""
        return {"code": "c0de", "state": self.asked["state"], "iss": ISSUER, **changed}


class WatchedClaims(MemoryClaims):
    """Tells when somebody did not get what another has."""

    def __init__(self) -> None:
        super().__init__()
        self.missed = anyio.Event()

    async def take(self, tenant: str, name: str, holder: str, *, now_us: int, until_us: int) -> bool:
        taken = await super().take(tenant, name, holder, now_us=now_us, until_us=until_us)
        if not taken:
            self.missed.set()
        return taken


class AccountHouse:
    def __init__(self, beside: "AccountHouse | None" = None) -> None:
        """`beside`: another gateway, on the same database."""
        self.clock = FakeClock()
        self.server = FakeAuthorizationServer() if beside is None else beside.server
        self.store = MemoryAccounts() if beside is None else beside.store
        self.claims = WatchedClaims() if beside is None else beside.claims
        self.accounts = ConnectedAccounts(self.store, self.claims, bytes(range(32)), self.clock)
        self.accounts.connecting.base = "https://gateway.test"
        endpoint = TokenEndpoint(self.server, Client(id="https://gateway.test/oauth/client.json"))
        wish = Wish(resource=PLACE, scopes=("crm",))
        self.endpoint = endpoint
        self.connection = self.connection_for(wish)
        self.notes: list[tuple[str, str, Outcome, JsonObject]] = []
        self.accounts.connecting.note = self._note
        self.poked = 0
        self.personal = self.accounts.at(self.connection, "default", self.poke)

    def connection_for(self, wish: Wish) -> Connection:
        return Connection(slug="crm", agreement=Fixed(Terms(endpoint=self.endpoint, wish=wish), PLACE))

    def poke(self) -> None:
        self.poked += 1

    def _note(self, tenant: str, operation: str, detail: JsonObject, outcome: Outcome) -> None:
        self.notes.append((tenant, operation, outcome, detail))

    def ticket(self, owner: Owner = ANA) -> str:
        return self.accounts.connecting.link(self.connection, owner).removeprefix(f"https://gateway.test{CONNECT}")

    async def begin(self, owner: Owner = ANA, browser: str = "a browser") -> Begun:
        return Begun(await self.accounts.connecting.begin(self.ticket(owner), browser), browser)

    async def connect(self, owner: Owner = ANA) -> None:
        await self.finish(await self.begin(owner))

    async def finish(self, begun: Begun, **changed: str) -> None:
        """As the issuer's answer brings it to the address it was asked to send the browser back to."""
        answer = begun.answer(**changed)
        await self.accounts.connecting.finish(answer, begun.cookie, begun.mark)

    async def get(self, owner: Owner = ANA) -> str:
        token = self.accounts.tokens.of(self.connection, owner)
        with anyio.fail_after(60):
            return (await token.get(self.clock.monotonic_s() + 10)).reveal()


def asked_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def challenge_of(verifier: str) -> str:
    """RFC 7636, section 4.2."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
