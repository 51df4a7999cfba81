"""Where a server can send the gateway: nowhere that was not agreed to, whatever it says."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import orjson
import pytest

from adapters.identity.issuers import AccessTokens
from adapters.mcp.settings import ServerSettings
from adapters.net.egress import EgressGuard
from adapters.net.settings import EgressSettings
from adapters.net.tls import client_context
from adapters.oauth.discovery import origin_of, protected_by
from adapters.oauth.finding import Finding, Known
from adapters.oauth.reach import PING, NetReach
from gateway.app.accounts import ConnectedAccounts
from gateway.app.upstream_tokens import asking_of, upstream_tokens
from gateway.core.errors import GatewayError, Unavailable, UpstreamFailed
from tests.fakes import FakeClock
from tests.fakes_accounts import AccountHouse
from tests.fakes_mcp_client import DictSecrets
from tests.fakes_upstreams import Behave, Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio

OPEN = EgressSettings(allow=("127.0.0.0/8",), ports=())
WELL = "/.well-known/oauth-protected-resource"


def saying(documents: Mapping[str, Any], challenge: str = "", redirect: str = "") -> Behave:
    """Documents by their paths, `{}` in them being the server's own address."""

    def behave(exchange: Exchange) -> None:
        path = exchange.target.decode()
        if path in documents:
            exchange.answer(orjson.dumps(documents[path]), status=201 if exchange.method == b"POST" else 200)
        elif redirect and path.startswith("/.well-known"):
            exchange.answer(b"", status=302, more=f"location: {redirect}\r\n")
        elif path == "/mcp":
            exchange.answer(b"", status=401, more=f"www-authenticate: {challenge}\r\n" if challenge else "")
        else:
            exchange.answer(b"{}", status=404)

    return behave


def reach_to(server: RawServer, egress: EgressSettings | None = None) -> NetReach:
    guard = EgressGuard(egress or EgressSettings())
    return NetReach(slug="crm", url=server.url, message=PING, tls=client_context(), guard=guard)


def finding_at(server: RawServer, egress: EgressSettings | None = None) -> Finding:
    house, reach = AccountHouse(), reach_to(server, egress)
    document = house.accounts.connecting.client_document
    known = Known(slug="crm", place=reach.url, document=document)
    # A document nobody else can look up, so that it has to be registered.
    return Finding(known, reach, house.accounts.registrations, house.clock)


def issuer_at(url: str, **said: str) -> dict[str, Any]:
    about = {"issuer": url, "token_endpoint": f"{url}/token", "registration_endpoint": f"{url}/register", **said}
    return {"/.well-known/oauth-authorization-server": about, "/register": {"client_id": "registered"}}


async def test_an_issuer_on_a_network_nobody_agreed_to_is_not_dialled_and_one_that_is_allowed_is() -> None:
    async with raw_server(lambda exchange: inside(exchange)) as issuer:
        inside = saying(issuer_at(origin_of(issuer.url)))
        async with raw_server(lambda exchange: says(exchange)) as server:
            says = saying(
                {f"{WELL}/mcp": {"resource": server.url, "authorization_servers": [origin_of(issuer.url)]}},
                challenge='Bearer scope="read"',
            )
            with anyio.fail_after(30), pytest.raises(UpstreamFailed, match="cannot be used"):
                await finding_at(server).terms()
            assert issuer.exchanges == []
            with anyio.fail_after(30):
                terms = await finding_at(server, OPEN).terms()

    assert (terms.endpoint.client.id, terms.wish.scopes) == ("registered", ("read",))
    assert [each.method for each in server.exchanges if each.target == b"/mcp"] == [b"POST", b"POST"]
    assert all(b"authorization" not in each.headers for each in (*server.exchanges, *issuer.exchanges))


@pytest.mark.parametrize("named", ["metadata", "registration"])
async def test_no_address_of_another_host_is_asked_that_a_server_or_its_issuer_names(named: str) -> None:
    async with raw_server(saying({})) as victim, raw_server(lambda exchange: says(exchange)) as server:
        # The issuer is the server itself, so that its own host was agreed to.
        other = {"registration_endpoint": f"{origin_of(victim.url)}/x"} if named == "registration" else {}
        about = issuer_at(origin_of(server.url), **other)
        protected = {"resource": server.url, "authorization_servers": [origin_of(server.url)]}
        challenge = f'Bearer resource_metadata="{origin_of(victim.url)}/about"' if named == "metadata" else ""
        says = saying({f"{WELL}/mcp": protected, **about}, challenge=challenge)
        with anyio.fail_after(30), pytest.raises(GatewayError, match="cannot be used"):
            await finding_at(server).terms()

    assert victim.exchanges == []


async def test_a_redirect_is_not_followed() -> None:
    async with raw_server(saying({})) as victim, raw_server(saying({}, redirect=victim.url)) as server:
        with anyio.fail_after(30), pytest.raises(UpstreamFailed, match="redirect"):
            await protected_by(server.url, reach_to(server, OPEN))

    assert victim.exchanges == []


async def test_a_server_that_never_answers_a_knock_to_its_end_may_still_have_published_what_it_wants() -> None:
    def behave(exchange: Exchange) -> None:
        if exchange.target == b"/mcp":
            exchange.stream(b"{}")
        else:
            says(exchange)

    async with raw_server(behave) as server:
        says = saying({WELL: {"resource": origin_of(server.url), "authorization_servers": [origin_of(server.url)]}})
        with anyio.fail_after(30):
            found = await protected_by(server.url, reach_to(server))

    assert (found.issuers, found.scopes) == ((origin_of(server.url),), ())


async def test_a_page_where_metadata_would_be_is_none() -> None:
    # A web application answers so to whatever it does not know.
    async with raw_server(lambda exchange: says(exchange)) as server:
        origin = origin_of(server.url)
        says = saying({f"{WELL}/mcp": "a page", WELL: {"resource": origin, "authorization_servers": [origin]}})
        with anyio.fail_after(30):
            found = await protected_by(server.url, reach_to(server))

    assert (found.issuers, found.resource) == ((origin,), origin)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallGround:
    """See `upstream_tokens.Ground`."""

    accounts: ConnectedAccounts
    clock: FakeClock
    access_tokens: AccessTokens
    secrets: DictSecrets
    tls: ssl.SSLContext


async def test_a_server_that_publishes_nothing_and_is_its_own_issuer_can_be_named_as_such() -> None:
    # MCP 2025-03-26. Its client registered by hand is then known to be there by the configuration.
    house = AccountHouse()
    async with raw_server(saying({})) as server:
        auth = {"kind": "user", "client_id": "by-hand", "issuer": origin_of(server.url)}
        asking = asking_of("crm", ServerSettings.model_validate({"url": server.url, "auth": auth}))
        assert asking is not None
        ground = SmallGround(
            accounts=house.accounts,
            clock=house.clock,
            access_tokens=AccessTokens(house.clock),
            secrets=DictSecrets({}),
            tls=client_context(),
        )
        upstream_tokens(asking, ground, EgressGuard(EgressSettings()), house.poke)
        with anyio.fail_after(60):
            terms = await house.accounts.connecting.connections["crm"].agreement.terms()
            about = await terms.endpoint.server.metadata()

    assert about["authorization_endpoint"] == f"{origin_of(server.url)}/authorize"
    assert not terms.must_say_who


@pytest.mark.parametrize("status", [429, 503])
async def test_an_issuer_that_is_asked_too_often_is_waited_for_as_one_that_is_away(status: int) -> None:
    """Else the next one a server names would count, and no account connected at the first."""

    def behave(exchange: Exchange) -> None:
        exchange.answer(b"{}", status=status)

    async with raw_server(behave) as server:
        issuer = reach_to(server, OPEN).server(origin_of(server.url))
        with pytest.raises(Unavailable):
            await issuer.metadata()
