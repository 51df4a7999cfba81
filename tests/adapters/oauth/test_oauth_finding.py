"""Who gives tokens for a server that says so itself: found, believed as far as it goes, registered with once."""

from collections.abc import Sequence

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.net.challenge import NO_CHALLENGE, Challenge
from adapters.net.client_auth import Client
from adapters.oauth.discovery import MOST_ISSUERS, are_about
from adapters.oauth.finding import KEPT_S, mark_of
from adapters.oauth.kept import NO_SOONER_S
from adapters.oauth.registrations import MOST, SHORTEST_S, Registration
from gateway.core.errors import Conflict, Denied, Unavailable, UpstreamFailed
from gateway.core.json import Json, JsonObject, json_text
from gateway.core.ports.world import Secret
from tests.fakes_accounts import ANA, AccountHouse, Begun
from tests.fakes_finding import ABOUT, AT, LOOKS_UP, REGISTERS, FindingHouse
from tests.fakes_oauth import ISSUER, FakeAuthorizationServer

pytestmark = pytest.mark.anyio

MARK = mark_of("crm", ISSUER)


async def test_a_server_says_who_gives_tokens_and_the_gateway_registers_there_once() -> None:
    house = FindingHouse()

    await house.connect()
    beside = FindingHouse(beside=house)
    again = await beside.terms()

    assert await house.get() == "access-1"
    assert again.endpoint.client.id == "client-1" and again.endpoint.client.secret is not None
    assert house.server.told == [
        {
            "client_name": "Drawbridge",
            "redirect_uris": [f"https://gateway.test/oauth/callback/{MARK}"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "client_secret_basic",
            "application_type": "web",
        }
    ]
    rows = await house.store.all("")
    assert len(rows) == 1 and b"s3cret" not in rows[0].sealed and "s3cret" not in repr(rows)


async def test_whoever_looks_the_document_up_is_not_registered_with() -> None:
    house = FindingHouse()
    house.server.about = REGISTERS | LOOKS_UP

    assert (await house.terms()).endpoint.client.id == f"https://gateway.test/oauth/client/{MARK}.json"
    assert house.server.told == []


async def test_many_who_find_at_once_register_once() -> None:
    houses = [FindingHouse()]
    houses += [FindingHouse(beside=houses[0]) for _ in range(4)]
    found: list[str] = []

    async def find(house: FindingHouse) -> None:
        found.append((await house.terms()).endpoint.client.id)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for house in (*houses, *houses):
                tasks.start_soon(find, house)

    assert found == ["client-1"] * 10


async def test_a_server_that_names_one_issuer_after_the_other_fills_no_store() -> None:
    house = FindingHouse()
    for number in range(MOST + 3):
        issuer = f"https://{number}.test"
        house.reach.issuers[issuer] = server = FakeAuthorizationServer(issuer)
        server.about = {"registration_endpoint": f"{issuer}/register"}
        house.reach.documents[f"{AT}/mcp"] = {**ABOUT, "authorization_servers": [issuer]}
        await house.terms()
        house.finding.doubt()
        house.clock.advance(NO_SOONER_S)

    assert {row.issuer for row in await house.store.all("")} == {f"https://{each}.test" for each in range(3, MOST + 3)}


@pytest.mark.parametrize(
    ("challenge", "documents", "expected"),
    [
        (Challenge(scopes=("write",)), {f"{AT}/mcp": ABOUT}, ("write",)),
        (NO_CHALLENGE, {f"{AT}/mcp": ABOUT}, ("read",)),
        (NO_CHALLENGE, {AT: {**ABOUT, "resource": "https://crm.test"}}, ("read",)),
        (NO_CHALLENGE, {f"{AT}/mcp": {**ABOUT, "scopes_supported": []}}, ()),
        (Challenge(metadata_url="https://crm.test/about"), {"https://crm.test/about": ABOUT}, ("read",)),
        (Challenge(metadata_url="https://crm.test/gone"), {f"{AT}/mcp": ABOUT}, ("read",)),
    ],
    ids=["challenged", "supported", "at the root", "none", "at an address", "not at the address"],
)
async def test_scopes_are_those_of_the_challenge_then_those_of_the_metadata(
    challenge: Challenge, documents: dict[str, JsonObject], expected: tuple[str, ...]
) -> None:
    house = FindingHouse()
    house.reach.challenge, house.reach.documents = challenge, documents

    found = await house.terms()
    house.server.about = {**REGISTERS, "scopes_supported": ["offline_access"]}
    renewing = await FindingHouse(beside=house).terms()

    assert found.wish.scopes == expected
    assert renewing.wish.scopes == ((*expected, "offline_access") if expected else ())


async def test_what_the_configuration_says_goes_before_what_is_found() -> None:
    house = FindingHouse(scopes=("mine",), resource="urn:crm", client=Client(id="by hand"))
    found = await house.terms()

    assert (found.wish.scopes, found.wish.resource, found.endpoint.client.id) == (("mine",), "urn:crm", "by hand")
    named = FindingHouse(issuer=ISSUER)
    named.reach.documents = {}
    assert (await named.terms()).issuer == ISSUER
    assert named.reach.asked == [], "the server is not asked what is known"


@pytest.mark.parametrize(
    "said",
    [
        {"resource": "https://evil.test/mcp"},
        {"resource": "https://crm.test/mcp/deeper"},
        {"resource": "https://crm.test"},
        {"resource": "https://crm.test/mcp?a=b"},
        {"resource": "https://crm.test/mcp#a"},
        {"resource": "https://crm.test/m"},
        {"resource": "http://crm.test/mcp"},
        {"resource": "https://crm.test:8443/mcp"},
        {"resource": "https://crm.test@evil.test/mcp"},
        {"resource": "https://crm.test/../mcp"},
        {"resource": ""},
        {"authorization_servers": ["http://login.test"]},
        {"authorization_servers": ["http://127.0.0.1:9000"]},
        {"authorization_servers": ["file:///etc/passwd"]},
        {"authorization_servers": ["https://user:word@login.test"]},
        {"authorization_servers": ["https://login.test/#x"]},
        {"authorization_servers": ["https://login.test/?a=b"]},
        {"authorization_servers": ["javascript:alert(1)"]},
    ],
    ids=str,
)
async def test_metadata_about_another_or_that_lead_nowhere_are_not_believed(said: JsonObject) -> None:
    house = FindingHouse()
    house.reach.documents = {f"{AT}/mcp": {**ABOUT, **said}}

    with pytest.raises(UpstreamFailed):
        await house.terms()
    assert house.server.told == [] and house.server.forms == []


async def test_an_address_of_metadata_without_https_is_not_asked() -> None:
    house = FindingHouse()
    house.reach.challenge = Challenge(metadata_url="http://169.254.169.254/latest")

    with pytest.raises(UpstreamFailed, match="https"):
        await house.terms()
    assert house.reach.asked == ["knock"]


async def test_a_secret_of_the_configuration_goes_to_no_issuer_a_server_names_elsewhere() -> None:
    house = FindingHouse(client=Client(id="gateway", secret=Secret("s3cret")))
    with pytest.raises(UpstreamFailed, match="issuer"):
        await house.terms()
    assert house.server.forms == []

    at_home = FindingHouse(client=Client(id="gateway", secret=Secret("s3cret")))
    at_home.reach.documents = {}
    assert (await at_home.terms()).issuer == "https://crm.test"


async def test_a_server_of_before_metadata_gives_tokens_itself() -> None:
    house = FindingHouse()
    house.reach.documents = {}

    begun = await house.begin()

    assert begun.url.startswith("https://crm.test/authorize?")
    assert begun.asked["client_id"] == "client-1"


async def test_an_issuer_that_neither_looks_up_nor_registers_is_named_as_what_is_missing() -> None:
    house = FindingHouse()
    house.server.about = {}

    with pytest.raises(UpstreamFailed, match="by hand"):
        await house.terms()


async def test_terms_are_found_again_after_a_while_when_in_doubt_soon_and_never_at_once() -> None:
    house = FindingHouse()
    await house.terms()
    house.clock.advance(NO_SOONER_S)
    await house.terms()
    assert house.reach.asked.count("knock") == 1

    house.finding.doubt()
    await house.terms()
    house.finding.doubt()
    await house.terms()
    assert house.reach.asked.count("knock") == 2
    house.clock.advance(KEPT_S)
    await house.terms()
    assert house.reach.asked.count("knock") == 3


async def test_a_server_that_does_not_answer_is_not_asked_again_at_once() -> None:
    house = FindingHouse()
    house.reach.problem = Unavailable("it does not answer")
    for _ in range(3):
        with pytest.raises(Unavailable):
            await house.terms()
    house.reach.problem = None
    house.clock.advance(NO_SOONER_S)

    assert (await house.terms()).issuer == ISSUER
    assert house.reach.asked.count("knock") == 2


async def test_a_server_that_has_moved_to_another_issuer_is_connected_anew_and_shares_nothing() -> None:
    house = FindingHouse()
    await house.connect()
    other = FakeAuthorizationServer("https://other.test")
    other.about = {"registration_endpoint": "https://other.test/register"}
    other.changed = {"access_token": "the-others"}
    house.reach.issuers["https://other.test"] = other
    house.reach.documents[f"{AT}/mcp"] = {**ABOUT, "authorization_servers": ["https://other.test"]}
    token = house.accounts.tokens.of(house.connection, ANA)
    house.clock.advance(NO_SOONER_S)

    token.refused(await token.get(house.clock.monotonic_s() + 10))
    with pytest.raises(Denied):
        await house.get()
    begun = await house.begin()
    with pytest.raises(Denied, match="another issuer"):
        await house.finish(begun, iss=ISSUER)
    begun = await house.begin()
    await house.finish(begun, iss="https://other.test")

    assert await house.get() == "the-others"
    assert len(other.told) == 1 and [form["grant_type"] for form in other.forms] == ["authorization_code"]
    assert [form["grant_type"] for form in house.server.forms] == ["authorization_code"]


async def test_a_code_of_another_issuer_is_not_passed_for_one_of_the_issuer_a_server_names() -> None:
    # Where it is asked to agree, the server's issuer sends the browser to one that does not say who it is.
    house, honest = FindingHouse(), AccountHouse()
    begun, elsewhere = await house.begin(), await honest.begin()
    answer = begun.answer()
    del answer["iss"]
    house.server.about = {**REGISTERS, "authorization_response_iss_parameter_supported": False}

    for mark in (elsewhere.mark, mark_of("crm", "https://other.test")):
        with pytest.raises(Denied, match="another issuer's"):
            await house.accounts.connecting.finish(answer, begun.cookie, mark)

    assert house.server.forms == []
    await house.accounts.connecting.finish(answer, begun.cookie, begun.mark)
    assert len(house.server.forms) == 1


async def test_what_was_begun_under_one_name_is_not_finished_under_another() -> None:
    house = FindingHouse()
    begun = await house.begin()
    house.clock.advance(SHORTEST_S)
    assert await house.finding.unknown()

    with pytest.raises(Denied, match="another name"):
        await house.finish(begun)

    assert house.server.forms == []


async def test_an_issuer_that_forgot_the_gateway_has_it_registered_anew_once() -> None:
    house = FindingHouse()
    await house.connect()
    house.clock.advance(600)
    house.server.status, house.server.changed = 401, {"error": "invalid_client"}

    with pytest.raises(Denied) as refused:
        await house.get()
    assert refused.value.detail["rule"] == "not-connected"
    begun = await house.begin()
    with pytest.raises(UpstreamFailed, match="invalid_client"):
        await house.finish(begun)
    assert len(house.server.told) == 2, "and not again while the new one is young"
    house.server.status, house.server.changed = 200, {}
    await house.connect()

    assert (await house.get()).startswith("access-")
    assert house.server.clients == ["client-1", "client-1", "client-2", "client-2"]


async def test_whoever_comes_back_to_an_issuer_that_forgot_the_gateway_opens_the_link_again() -> None:
    house = FindingHouse()
    begun = await house.begin()
    house.clock.advance(SHORTEST_S)
    house.server.status, house.server.changed = 400, {"error": "invalid_client"}

    with pytest.raises(Conflict, match="open the link again"):
        await house.finish(begun)

    house.server.status, house.server.changed = 200, {}
    await house.connect()
    assert house.server.clients == ["client-1", "client-2"]


# A server that wants more


async def test_an_owner_is_asked_for_all_they_had_and_what_the_server_wants_more() -> None:
    house = FindingHouse()
    await house.connect()

    asked = await house.asks_for_more("write")
    assert asked is not None and asked["rule"] == "scope" and "scopes" not in asked
    ticket = json_text(asked["url"]).rpartition("/")[2]  # pyright: ignore[reportArgumentType] - of a JSON object
    begun = Begun(await house.accounts.connecting.begin(ticket, "a browser"), "a browser")
    await house.finish(begun)

    assert begun.asked["scope"] == "read write"
    assert (await house.store.all("default"))[0].scope == "read write"
    assert await house.asks_for_more("write") is None, "they have it now"
    assert await house.get() == "access-2"


async def test_a_server_that_is_never_content_is_not_asked_for_for_ever() -> None:
    house = FindingHouse()
    await house.connect()
    house.server.changed = {"scope": "read"}

    times = 0
    while (asked := await house.asks_for_more(f"more-{times}")) is not None:
        times += 1
        ticket = json_text(asked["url"]).rpartition("/")[2]  # pyright: ignore[reportArgumentType] - of a JSON object
        begun = Begun(await house.accounts.connecting.begin(ticket, "a browser"), "a browser")
        await house.finish(begun)
        assert times < 10

    assert times == 3
    house.clock.advance(3600)
    await house.connect()
    assert await house.asks_for_more("more") is not None


async def test_no_more_is_asked_for_than_the_configuration_names() -> None:
    house = FindingHouse(scopes=("read",))
    await house.connect()

    assert await house.asks_for_more("write") is None


# Whose metadata count


class Away(FakeAuthorizationServer):
    """It does not answer."""

    async def metadata(self) -> JsonObject:
        raise Unavailable("it does not answer")


_PATHS = st.lists(st.sampled_from(["mcp", "a", "..", "%2e", ""]), max_size=3).map("/".join)


@settings(deadline=None)
@given(_PATHS, _PATHS)
def test_metadata_are_about_what_is_at_their_place_or_at_the_root_about_the_host(path: str, other: str) -> None:
    url = f"https://crm.test/{path}"
    for at in (AT, f"{AT}/mcp", "https://crm.test/about"):
        if are_about(f"https://crm.test/{other}", url, at):
            assert other.strip("/") in ({path.strip("/"), ""} if at == AT else {path.strip("/")})
        assert not are_about(f"https://crm.test.evil.test/{path}", url, at)
        assert not are_about(f"https://crm.test:444/{path}", url, at)
    assert are_about("HTTPS://CRM.test:443", url, AT)


async def test_metadata_about_a_whole_host_count_where_that_has_them_whoever_names_the_address() -> None:
    house = FindingHouse()
    whole: JsonObject = {**ABOUT, "resource": "https://crm.test"}
    house.reach.documents = {AT: whole, "https://crm.test/about": whole}
    house.reach.challenge = Challenge(metadata_url="https://crm.test/about")
    with pytest.raises(UpstreamFailed, match="another address"):
        await house.terms()

    house.clock.advance(NO_SOONER_S)
    house.reach.challenge = Challenge(metadata_url=AT)

    assert (await house.terms()).wish.resource == "https://crm.test"


async def test_the_next_issuer_is_asked_where_the_first_is_of_no_use_and_the_first_waited_for_where_it_is_away() -> (
    None
):
    house = FindingHouse()
    mute, away = FakeAuthorizationServer("https://mute.test"), Away("https://away.test")
    house.reach.issuers |= {each.issuer: each for each in (mute, away)}
    named: list[Json] = ["http://plain.test", mute.issuer, ISSUER, "http://plain.test/last"]

    house.reach.documents[f"{AT}/mcp"] = {**ABOUT, "authorization_servers": [away.issuer, ISSUER]}
    with pytest.raises(Unavailable):
        await house.terms()
    house.clock.advance(NO_SOONER_S)
    house.reach.documents[f"{AT}/mcp"] = {**ABOUT, "authorization_servers": named}
    assert (await house.terms()).issuer == ISSUER

    house = FindingHouse()
    house.reach.issuers[mute.issuer] = mute
    crowd: list[Json] = [f"http://plain{number}.test" for number in range(MOST_ISSUERS)]
    house.reach.documents[f"{AT}/mcp"] = {**ABOUT, "authorization_servers": [*crowd, ISSUER]}
    with pytest.raises(UpstreamFailed, match="https"):
        await house.terms()
    assert house.server.told == []


async def test_an_operator_has_the_gateway_registered_anew_at_an_issuer_that_forgot_it() -> None:
    house = FindingHouse()
    beside = FindingHouse(beside=house)
    before = [(await each.terms()).endpoint.client.id for each in (house, beside)]

    assert await house.accounts.register_anew("default", "crm")

    after = [(await each.terms()).endpoint.client.id for each in (house, beside)]
    assert (before, after) == (["client-1", "client-1"], ["client-2", "client-2"])
    assert house.server.told[0] == house.server.told[1]


async def test_registrations_are_those_of_the_operators_tenant_and_outlive_their_servers() -> None:
    house = FindingHouse(tenant="acme")
    house.accounts.at(house.connection, "acme", house.poke)
    await house.terms()

    def seen(rows: Sequence[Registration]) -> list[tuple[str, str]]:
        return [(each.server, each.issuer) for each in rows]

    for configured in (True, False):
        assert seen(await house.accounts.registered("acme")) == [("crm", ISSUER)], configured
        assert seen(await house.accounts.registered("default")) == [], configured
        assert not await house.accounts.register_anew("default", "crm"), configured
        house.accounts.only([])
    assert await house.accounts.register_anew("acme", "crm")
    assert seen(await house.accounts.registered("acme")) == []
    assert not await house.accounts.register_anew("acme", "crm")


async def test_registrations_of_every_tenants_servers_are_the_default_tenants_to_forget() -> None:
    house = FindingHouse(tenant="*")
    house.accounts.at(house.connection, "*", house.poke)
    await house.terms()

    assert await house.accounts.registered("acme") == []
    assert not await house.accounts.register_anew("acme", "crm")
    assert [each.server for each in await house.accounts.registered("default")] == ["crm"]
    assert await house.accounts.register_anew("default", "crm")
