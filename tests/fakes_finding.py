"""A gateway's part in finding out who gives tokens, in memory: a server at `PLACE`, and the issuers it may name."""

from collections.abc import Mapping
from typing import Any

import anyio

from adapters.net.authorization_server import NotThere
from adapters.net.challenge import NO_CHALLENGE, Challenge
from adapters.oauth.finding import Finding, Known
from adapters.oauth.terms import Terms
from adapters.oauth.vault import Connection
from gateway.core.errors import Denied, GatewayError
from gateway.core.json import JsonObject
from tests.fakes_accounts import ANA, PLACE, AccountHouse
from tests.fakes_oauth import ISSUER, FakeAuthorizationServer

AT = "https://crm.test/.well-known/oauth-protected-resource"
REGISTERS: JsonObject = {"registration_endpoint": f"{ISSUER}/register"}
LOOKS_UP: JsonObject = {"client_id_metadata_document_supported": True}
ABOUT: JsonObject = {"resource": PLACE, "authorization_servers": [ISSUER], "scopes_supported": ["read"]}


class FakeReach:
    """See `Reach`: a server at `PLACE`, and issuers."""

    def __init__(self) -> None:
        self.challenge = NO_CHALLENGE
        self.documents: dict[str, JsonObject] = {f"{AT}/mcp": ABOUT}
        self.issuers = {ISSUER: FakeAuthorizationServer()}
        self.asked: list[str] = []
        self.problem: GatewayError | None = None

    async def knock(self) -> Challenge:
        self.asked.append("knock")
        if self.problem is not None:
            raise self.problem
        return self.challenge

    async def document(self, url: str) -> JsonObject:
        self.asked.append(url)
        if url not in self.documents:
            raise NotThere("there is none")
        return self.documents[url]

    def server(self, issuer: str, defaults: "JsonObject | None" = None) -> FakeAuthorizationServer:
        if defaults is not None:
            self.issuers[issuer] = server = FakeAuthorizationServer(issuer)
            server.about = defaults
        return self.issuers[issuer]


class FindingHouse(AccountHouse):
    def __init__(self, beside: "FindingHouse | None" = None, **known: Any) -> None:
        super().__init__(beside)
        self.reach = FakeReach() if beside is None else beside.reach
        self.server = self.reach.issuers[ISSUER]
        if beside is None:
            self.server.about = REGISTERS
        document = self.accounts.connecting.client_document
        said = Known(slug="crm", place=PLACE, document=document)
        for name, value in known.items():
            object.__setattr__(said, name, value)
        self.finding = Finding(said, self.reach, self.accounts.registrations, self.clock)
        self.connection = Connection(slug="crm", agreement=self.finding)
        self.personal = self.accounts.at(self.connection, "default", self.poke)

    async def terms(self) -> Terms:
        with anyio.fail_after(60):
            return await self.finding.terms()

    async def asks_for_more(self, *scopes: str) -> "Mapping[str, object] | None":
        """What its owner is told when the server wants these scopes; None where nobody is asked."""
        token = self.accounts.tokens.of(self.connection, ANA)
        deadline_s = self.clock.monotonic_s() + 10
        shown = await token.get(deadline_s)
        try:
            assert await token.wider(shown, scopes, deadline_s) is shown
        except Denied as refused:
            return refused.detail
        return None
