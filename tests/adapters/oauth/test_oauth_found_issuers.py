"""Issuers that servers name get no more than they are due: no other's tokens, nobody's consent, no account's end."""

import anyio
import pytest
from joserfc.jwk import ECKey

from adapters.net.challenge import Challenge
from adapters.net.client_auth import Client, ClientKey
from adapters.oauth.finding import WITHIN_S, Finding, Known
from adapters.oauth.kept import NO_SOONER_S
from adapters.oauth.registrations import SHORTEST_S
from gateway.core.errors import Denied, Unavailable, UpstreamFailed
from gateway.core.ports.world import Secret
from tests.fakes import FakeClock
from tests.fakes_accounts import PLACE
from tests.fakes_finding import ABOUT, AT, LOOKS_UP, FakeReach, FindingHouse
from tests.fakes_oauth import ISSUER, FakeAuthorizationServer

pytestmark = pytest.mark.anyio


async def test_no_token_is_got_by_a_key_where_nobody_is_asked_from_an_issuer_a_server_names_elsewhere() -> None:
    # The gateway is known there, for another server, and the issuer may not look for whom a token is.
    key = ClientKey(Secret(ECKey.generate_key("P-256").as_pem(private=True).decode()), FakeClock())
    by_key = Client(id="https://gateway.test/client.json", key=key)

    with pytest.raises(UpstreamFailed, match="issuer"):
        await FindingHouse(client=by_key, people=False).terms()

    assert (await FindingHouse(client=by_key).terms()).issuer == ISSUER, "people are asked there"
    assert (await FindingHouse(client=by_key, people=False, issuer=ISSUER).terms()).issuer == ISSUER


async def test_what_people_agreed_to_for_one_server_is_not_taken_to_be_agreed_to_for_another() -> None:
    house, other = FindingHouse(), FindingHouse(slug="erp")
    house.server.about = other.server.about = LOOKS_UP

    found = [(await each.terms()).endpoint.client.id for each in (house, other)]

    assert len(set(found)) == 2


async def test_a_problem_that_is_told_to_many_holds_nothing_of_theirs() -> None:
    house = FindingHouse()
    house.reach.problem = Unavailable("it does not answer")
    depths: list[int] = []
    for _ in range(10):
        with pytest.raises(Unavailable) as failed:
            await house.terms()
        depths.append(len(failed.traceback))

    assert depths[1] == depths[-1]


async def test_a_refresh_token_goes_to_no_issuer_but_its_own_whatever_is_found_out_meanwhile() -> None:
    house = FindingHouse()
    await house.connect()
    house.reach.issuers["https://other.test"] = other = FakeAuthorizationServer("https://other.test")
    other.about = {"registration_endpoint": "https://other.test/register"}
    house.reach.documents[f"{AT}/mcp"] = {**ABOUT, "authorization_servers": ["https://other.test"]}
    house.clock.advance(600)
    house.finding.doubt()
    await house.terms()
    house.clock.advance(SHORTEST_S)
    now_us = house.clock.now_us()
    assert await house.claims.take("default", "account crm ana", "a gateway", now_us=now_us, until_us=now_us + 10**9)

    async def call() -> None:
        with pytest.raises(Denied):
            await house.get()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await house.claims.missed.wait()
            assert await house.finding.unknown()
            await house.claims.leave("default", "account crm ana", "a gateway")

    assert other.forms == []


async def test_a_gateway_that_knows_an_old_name_costs_nobody_an_account_connected_under_the_new_one() -> None:
    house = FindingHouse()
    await house.connect()
    beside = FindingHouse(beside=house)
    await beside.terms()
    house.server.forgotten.add("client-1")
    for each in (house, beside):
        each.clock.advance(600)
    with pytest.raises(Denied):
        await house.get()
    await house.connect()
    for each in (house, beside):
        each.clock.advance(600)

    assert (await beside.get()).startswith("access-")
    assert house.server.clients == ["client-1", "client-1", "client-2", "client-2"]


async def test_a_gateway_learns_at_once_that_another_has_registered_anew() -> None:
    house = FindingHouse()
    await house.terms()
    beside = FindingHouse(beside=house)
    await beside.terms()
    house.clock.advance(SHORTEST_S)
    beside.clock.advance(SHORTEST_S)
    assert await house.finding.unknown()
    await house.terms()

    assert await beside.finding.unknown()

    assert (await beside.terms()).endpoint.client.id == (await house.terms()).endpoint.client.id == "client-2"


async def test_an_account_of_a_name_that_is_over_is_connected_anew_whatever_the_issuer_calls_that() -> None:
    house = FindingHouse()
    await house.connect()
    house.clock.advance(600)
    assert await house.finding.unknown()
    house.server.status, house.server.changed = 400, {"error": "unauthorized_client"}

    with pytest.raises(Denied) as refused:
        await house.get()

    assert refused.value.detail["rule"] == "not-connected"


async def test_what_was_begun_at_a_gateway_that_registered_anew_is_finished_at_another() -> None:
    house = FindingHouse()
    await house.terms()
    beside = FindingHouse(beside=house)
    await beside.terms()
    for each in (house, beside):
        each.clock.advance(SHORTEST_S)
    assert await house.finding.unknown()

    await beside.finish(await house.begin())

    assert house.server.clients == ["client-2"]
    assert await beside.get() == "access-1"


class SlowReach(FakeReach):
    """Of a server that does not answer, which takes its time to be found out."""

    def __init__(self, clock: FakeClock, *, for_ever: bool) -> None:
        super().__init__()
        self._clock = clock
        self._for_ever = for_ever

    async def knock(self) -> Challenge:
        self.asked.append("knock")
        if self._for_ever:
            await anyio.sleep_forever()
        self._clock.advance(NO_SOONER_S)
        raise Unavailable("it does not answer")


@pytest.mark.parametrize("for_ever", [True, False])
async def test_whoever_waits_for_a_server_that_does_not_answer_waits_once_for_all(for_ever: bool) -> None:
    house = FindingHouse()
    reach = SlowReach(house.clock, for_ever=for_ever)
    known = Known(slug="crm", place=PLACE, document=house.accounts.connecting.client_document)
    finding = Finding(known, reach, house.accounts.registrations, house.clock, WITHIN_S if not for_ever else 0.05)

    with anyio.fail_after(60):
        for _ in range(3):
            with pytest.raises(Unavailable):
                await finding.terms()

    assert len(reach.asked) <= 1


async def test_an_issuer_a_server_names_to_which_the_gateway_is_known_by_hand_has_to_say_who_it_is() -> None:
    # It has no address of its own there, by which its answers would be known from those of another.
    house = FindingHouse(client=Client(id="by hand"))
    begun = await house.begin()
    answer = begun.answer()
    del answer["iss"]
    house.server.about = {"authorization_response_iss_parameter_supported": False}

    with pytest.raises(Denied, match="which issuer"):
        await house.accounts.connecting.finish(answer, begun.cookie, begun.mark)
    with pytest.raises(UpstreamFailed, match="issuer has to stand beside it"):
        await house.begin()

    assert house.server.forms == [] and begun.mark == ""
    await house.finish(begun)
    assert (await house.get()).startswith("access-")
