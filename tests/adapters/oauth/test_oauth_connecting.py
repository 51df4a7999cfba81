"""Accounts at servers are connected by the person they are for alone, in one browser, once."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from adapters.net.client_auth import Client
from adapters.oauth.code_flow import VALID_S
from adapters.oauth.connecting import CALLBACK
from adapters.oauth.login import LOGIN_CALLBACK, Login
from adapters.oauth.terms import Fixed, Terms, Wish
from adapters.oauth.token_endpoint import TokenEndpoint
from adapters.oauth.vault import Owner
from gateway.core.errors import Conflict, Denied, InvalidRequest, NotFound, UpstreamFailed
from gateway.core.ports.world import Secret
from tests.fakes_accounts import ANA, BOB, PLACE, AccountHouse, Begun, asked_of, challenge_of
from tests.fakes_oauth import ISSUER, FakeAuthorizationServer

pytestmark = pytest.mark.anyio


async def test_a_person_who_goes_on_from_the_link_connects_their_account() -> None:
    house = AccountHouse()

    begun = await house.begin()
    asked = begun.asked
    await house.accounts.connecting.finish(begun.answer(), begun.cookie)

    assert begun.url.startswith(f"{ISSUER}/auth?")
    form = house.server.forms[0]
    assert {name: asked[name] for name in ("response_type", "resource", "scope", "redirect_uri")} == {
        "response_type": "code",
        "resource": "https://crm.test/mcp",
        "scope": "crm",
        "redirect_uri": f"https://gateway.test{CALLBACK}",
    }
    assert asked["code_challenge_method"] == "S256"
    assert asked["code_challenge"] == challenge_of(form["code_verifier"])
    assert form["code_verifier"] not in begun.url
    assert await house.get() == "access-1"
    assert house.poked == 1


async def test_a_state_that_was_stolen_is_of_no_use_in_another_browser() -> None:
    house = AccountHouse()
    begun, others = await house.begin(ANA), await house.begin(BOB, "another")

    for cookie in ("", others.cookie, begun.cookie + "x"):
        with pytest.raises(Denied, match="another browser"):
            await house.accounts.connecting.finish(begun.answer(), cookie)
    with pytest.raises(Denied, match="another browser"):
        await house.accounts.connecting.finish(others.answer(), begun.cookie)

    assert house.server.forms == []
    assert await house.store.all("default") == ()


@pytest.mark.parametrize("issuer", ["https://evil.test", ISSUER + "/", "", None])
async def test_an_answer_of_another_issuer_is_not_acted_upon(issuer: str | None) -> None:
    house = AccountHouse()
    begun = await house.begin()
    query = begun.answer()
    if issuer is None:
        del query["iss"]
    else:
        query["iss"] = issuer

    with pytest.raises(Denied):
        await house.accounts.connecting.finish(query, begun.cookie)

    assert house.server.forms == []


async def test_what_was_begun_is_finished_once_and_soon() -> None:
    house = AccountHouse()
    begun, late = await house.begin(), await house.begin()
    await house.accounts.connecting.finish(begun.answer(), begun.cookie)

    with pytest.raises(Conflict):
        await house.accounts.connecting.finish(begun.answer(), begun.cookie)
    house.clock.advance(VALID_S + 1)
    with pytest.raises(InvalidRequest, match="too old"):
        await house.accounts.connecting.finish(late.answer(), late.cookie)


@pytest.mark.parametrize("text", ["", "x", "AAAA", "é", "A" * 9000, "../..", "a=b"])
async def test_a_link_or_state_that_is_none_is_refused(text: str) -> None:
    house = AccountHouse()

    with pytest.raises(InvalidRequest):
        await house.accounts.connecting.open(text, "a browser")
    with pytest.raises(InvalidRequest):
        await house.accounts.connecting.finish({"state": text, "code": "c", "iss": ISSUER}, "cookie")


async def test_what_was_finished_is_finished_however_its_state_is_written() -> None:
    house = AccountHouse()
    begun = await house.begin()
    await house.accounts.connecting.finish(begun.answer(), begun.cookie)
    state = begun.asked["state"]

    for written in (f"{state}=", f"{state[:9]}!{state[9:]}", f"{state}.."):
        with pytest.raises((Conflict, InvalidRequest)):
            await house.accounts.connecting.finish(begun.answer(state=written), begun.cookie)

    assert len(house.server.forms) == 1


async def test_what_was_begun_at_one_issuer_is_not_finished_at_another_the_configuration_names_since() -> None:
    house = AccountHouse()
    begun = await house.begin()
    evil = FakeAuthorizationServer("https://evil.test")
    endpoint = TokenEndpoint(evil, Client(id="gateway"))
    agreement = Fixed(Terms(endpoint=endpoint, wish=Wish(resource=PLACE)), PLACE)
    house.accounts.at(replace(house.connection, agreement=agreement), "default", house.poke)
    query = begun.answer(iss="https://evil.test")

    with pytest.raises(Denied):
        await house.accounts.connecting.finish(query, begun.cookie)

    assert evil.forms == []


async def test_a_link_is_no_state_and_a_state_no_link() -> None:
    house = AccountHouse()
    begun = await house.begin()

    with pytest.raises(InvalidRequest):
        await house.accounts.connecting.open(begun.asked["state"], "a browser")
    with pytest.raises(InvalidRequest):
        await house.accounts.connecting.finish(begun.answer(state=house.ticket()), begun.cookie)


async def test_a_refusal_at_the_issuer_is_told_by_its_word_only() -> None:
    house = AccountHouse()
    for error, word in (("access_denied", "access_denied"), ("<script>", "does not say")):
        begun = await house.begin()
        query = begun.answer(error=error)
        del query["code"]

        with pytest.raises(Denied, match=word):
            await house.accounts.connecting.finish(query, begun.cookie)


async def test_an_issuer_without_pkce_is_not_used() -> None:
    house = AccountHouse()

    async def without() -> dict[str, str]:
        return {"issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/auth"}

    house.server.metadata = without  # pyright: ignore[reportAttributeAccessIssue] - another answer of the fake's

    with pytest.raises(UpstreamFailed, match="PKCE"):
        await house.begin()


async def test_a_server_that_is_gone_is_connected_to_no_longer() -> None:
    house = AccountHouse()
    ticket = house.ticket()
    house.accounts.only(["crm"])
    await house.accounts.connecting.open(ticket, "a browser")

    house.accounts.only([])

    with pytest.raises(NotFound):
        await house.accounts.connecting.open(ticket, "a browser")
    with pytest.raises(NotFound):
        house.accounts.link("default", "crm", "ana")


async def test_a_link_belongs_to_the_browser_that_opens_it_first_at_whichever_gateway() -> None:
    house = AccountHouse()
    other = AccountHouse(beside=house)
    ticket = house.ticket()
    await house.accounts.connecting.open(ticket, "ana's browser")

    for gateway in (house, other):
        with pytest.raises(Denied, match="another browser"):
            await gateway.accounts.connecting.open(ticket, "eve's browser")
        with pytest.raises(Denied, match="another browser"):
            await gateway.accounts.connecting.begin(ticket, "eve's browser")
    assert (await other.accounts.connecting.open(ticket, "ana's browser")).owner == ANA


async def test_a_link_that_was_used_is_over_also_for_the_browser_that_used_it() -> None:
    house = AccountHouse()
    ticket = house.ticket()
    await house.accounts.connecting.begin(ticket, "a browser")
    # Until an account is connected the person may begin anew.
    begun = Begun(await house.accounts.connecting.begin(ticket, "a browser"), "a browser")
    await house.accounts.connecting.finish(begun.answer(), begun.cookie)

    with pytest.raises(Denied, match="used before"):
        await house.accounts.connecting.begin(ticket, "a browser")
    assert ("default", "account.connected", "ok", {"server": "crm", "subject": "ana"}) in house.notes


# Where people log in first

CORP = "https://corp.test"
CORP_ANA: Owner = ("acme", "corp:ana")


class CorpHouse(AccountHouse):
    """At its login `people` says whom an ID token is about."""

    def __init__(self, beside: AccountHouse | None = None) -> None:
        super().__init__(beside)
        self.corp = FakeAuthorizationServer(CORP)
        self.corp.changed = {"id_token": "about-ana"}
        self.people: Mapping[str, Owner] = {"about-ana": CORP_ANA, "about-eve": ("acme", "corp:eve")}
        self.nonces: list[str] = []
        endpoint = TokenEndpoint(self.corp, Client(id="drawbridge", secret=Secret("s3cret")))
        login = Login(endpoint=endpoint, scopes=("openid", "profile"), recognise=self._recognise)
        self.accounts.connecting.logins = {"corp": login}

    async def _recognise(self, id_token: Secret, nonce: str) -> Owner:
        self.nonces.append(nonce)
        return self.people[id_token.reveal()]

    async def log_in(self, begun: Begun) -> Begun:
        """Where the browser goes on when the person has logged in."""
        query = begun.answer(iss=CORP)
        return Begun(await self.accounts.connecting.logged_in(query, begun.cookie), begun.cookie)


async def test_the_person_a_link_is_for_logs_in_and_connects_their_account() -> None:
    house = CorpHouse()

    begun = await house.begin(CORP_ANA)
    then = await house.log_in(begun)
    await house.accounts.connecting.finish(then.answer(), then.cookie)

    asked = begun.asked
    assert begun.url.startswith(f"{CORP}/auth?") and then.url.startswith(f"{ISSUER}/auth?")
    assert {name: asked[name] for name in ("client_id", "redirect_uri", "scope", "code_challenge_method")} == {
        "client_id": "drawbridge",
        "redirect_uri": f"https://gateway.test{LOGIN_CALLBACK}",
        "scope": "openid profile",
        "code_challenge_method": "S256",
    }
    assert house.nonces == [asked["nonce"]]
    assert asked["code_challenge"] == challenge_of(house.corp.forms[0]["code_verifier"])
    assert await house.get(CORP_ANA) == "access-1"


@pytest.mark.parametrize("who", [("acme", "corp:eve"), ("bolt", "corp:ana"), ("acme", "ana"), ("acme", "corp:Ana")])
async def test_somebody_else_at_the_browser_connects_nothing_and_is_recorded(who: Owner) -> None:
    house = CorpHouse()
    house.people = {"about-ana": who}
    begun = await house.begin(CORP_ANA)

    with pytest.raises(Denied, match="Nothing was connected"):
        await house.log_in(begun)

    assert house.server.forms == []
    assert await house.store.all("acme") == ()
    assert house.notes == [
        (
            "acme",
            "account.refused",
            "denied",
            {
                "server": "crm",
                "subject": "corp:ana",
                "reason": "somebody else is at the browser",
                "browser": f"{who[0]} {who[1]}",
            },
        )
    ]


async def test_whoever_cannot_be_recognised_connects_nothing_and_is_recorded() -> None:
    house = CorpHouse()
    house.corp.changed = {}
    begun = await house.begin(CORP_ANA)

    with pytest.raises(UpstreamFailed, match="ID token"):
        await house.log_in(begun)

    assert [operation for _, operation, _, _ in house.notes] == ["account.refused"]


async def test_a_login_counts_in_the_browser_it_was_begun_in_once_and_from_its_issuer() -> None:
    house = CorpHouse()
    begun = await house.begin(CORP_ANA)
    connecting = house.accounts.connecting

    with pytest.raises(Denied, match="another browser"):
        await connecting.logged_in(begun.answer(iss=CORP), "eve's browser")
    with pytest.raises(Denied, match="another issuer"):
        await connecting.logged_in(begun.answer(iss=ISSUER), begun.cookie)
    await house.log_in(begun)
    with pytest.raises(Conflict):
        await house.log_in(begun)

    assert len(house.corp.forms) == 1


async def test_no_step_is_left_out_by_bringing_what_was_begun_for_another() -> None:
    house = CorpHouse()
    begun = await house.begin(CORP_ANA)
    connecting = house.accounts.connecting

    with pytest.raises(InvalidRequest):
        await connecting.finish(begun.answer(), begun.cookie)
    then = await house.log_in(begun)
    with pytest.raises(InvalidRequest):
        await connecting.logged_in(then.answer(iss=CORP), then.cookie)
    with pytest.raises(InvalidRequest):
        await connecting.finish(then.answer(state=begun.asked["state"]), then.cookie)


async def test_whom_no_login_can_know_is_asked_only_for_their_word() -> None:
    house = CorpHouse()

    asked = await house.accounts.connecting.open(house.ticket(ANA), "a browser")
    stranger = await house.accounts.connecting.open(house.ticket(("acme", "bolt:ana")), "a browser")
    known = await house.accounts.connecting.open(house.ticket(CORP_ANA), "a browser")

    assert (asked.login, stranger.login) == (None, None)
    assert known.login is not None
    assert asked_of((await house.begin(ANA)).url)["client_id"].endswith("client.json")
