"""The pages on which people connect accounts: what browsers are told, and told from each other by."""

from http.cookies import SimpleCookie

import httpx2
import pytest

from adapters.oauth.door import ConnectDoor
from tests.fakes_accounts import ANA, AccountHouse, asked_of

pytestmark = pytest.mark.anyio


def browser(house: AccountHouse, base: str = "https://gateway.test") -> httpx2.AsyncClient:
    house.accounts.connecting.base = base
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(ConnectDoor(house.accounts.connecting)), base_url=base)


def link_of(house: AccountHouse) -> str:
    return house.accounts.connecting.link(house.connection, ANA)


async def test_the_page_names_the_person_and_the_server_and_is_neither_kept_nor_framed() -> None:
    house = AccountHouse()

    async with browser(house) as ana:
        page = await ana.get(link_of(house))

    assert page.status_code == 200
    assert "crm" in page.text and "ana (tenant default)" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "same-origin"
    assert "log in as" not in page.text


@pytest.mark.parametrize(
    ("base", "name", "secure"),
    [
        ("https://gateway.test", "__Host-drawbridge-connect", True),
        ("http://127.0.0.1:8640", "drawbridge-connect", False),
    ],
)
async def test_the_cookie_can_be_set_by_nobody_else_and_read_by_no_script(base: str, name: str, secure: bool) -> None:
    house = AccountHouse()

    async with browser(house, base) as ana:
        page = await ana.get(link_of(house))

    (morsel,) = SimpleCookie(page.headers["set-cookie"]).values()
    assert morsel.key == name and len(morsel.value) == 32
    assert (morsel["path"], morsel["domain"], morsel["samesite"]) == ("/", "", "Lax")
    assert morsel["httponly"] is True and bool(morsel["secure"]) is secure


async def test_who_goes_on_from_the_page_connects_the_account() -> None:
    house = AccountHouse()

    async with browser(house) as ana:
        url = link_of(house)
        await ana.get(url)
        sent = await ana.post(url)
        state = asked_of(sent.headers["location"])["state"]
        answer = {"code": "c0de", "state": state, "iss": house.server.issuer}
        done = await ana.get("/oauth/callback", params=answer)
        again = await ana.get(url)

    assert sent.status_code == 303 and sent.headers["cache-control"] == "no-store"
    assert done.status_code == 200 and "is connected for ana" in done.text
    assert again.status_code == 403 and "used before" in again.text
    assert await house.get() == "access-1"


async def test_two_links_can_be_open_in_one_browser_at_once() -> None:
    house = AccountHouse()

    async with browser(house) as ana:
        urls = [link_of(house), link_of(house)]
        for url in urls:
            await ana.get(url)
        sent = [await ana.post(url) for url in urls]
        answers = [{"code": "c", "state": asked_of(each.headers["location"])["state"]} for each in sent]
        done = [await ana.get("/oauth/callback", params={**answer, "iss": house.server.issuer}) for answer in answers]

    assert [each.status_code for each in done] == [200, 200]


async def test_nobody_goes_on_without_having_seen_the_page_or_in_anothers_place() -> None:
    house = AccountHouse()
    url = link_of(house)

    async with browser(house) as ana, browser(house) as eve:
        blind = await eve.post(url)
        await ana.get(url)
        late = await eve.get(url)
        posted = await eve.post(url, headers={"cookie": f"__Host-drawbridge-connect={'x' * 32}"})
        forged = await eve.post(url, headers={"cookie": "__Host-drawbridge-connect=short"})

    assert [each.status_code for each in (blind, late, posted, forged)] == [403] * 4
    assert "cookie" in blind.text and "another browser" in late.text
    assert house.server.forms == []


@pytest.mark.parametrize(
    "path",
    [
        "/oauth/",
        "/oauth/connect/",
        "/oauth/connect/x",
        "/oauth/callback",
        "/oauth/callback?state=a&state=b",
        "/oauth/login",
    ],
)
async def test_what_is_no_link_is_a_page_that_says_so(path: str) -> None:
    house = AccountHouse()

    async with browser(house) as somebody:
        page = await somebody.get(path)

    assert page.status_code in (400, 404)
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-store"


async def test_what_a_page_repeats_is_no_markup() -> None:
    house = AccountHouse()

    async with browser(house) as mallory:
        page = await mallory.get(house.accounts.connecting.link(house.connection, ("default", "<b>ana</b>")))

    assert "<b>ana" not in page.text and "&lt;b&gt;ana" in page.text


async def test_an_issuer_a_server_named_has_a_document_and_a_way_back_of_its_own() -> None:
    house, mark = AccountHouse(), "0a" * 16

    async with browser(house) as ana:
        said = (await ana.get(f"/oauth/client/{mark}.json")).json()
        page = await ana.get(link_of(house))
        sent = await ana.post(page.url)
        answer = {"code": "c0de", "state": asked_of(sent.headers["location"])["state"], "iss": house.server.issuer}
        elsewhere = await ana.get(f"/oauth/callback/{mark}", params=answer)
        lost = [
            (await ana.get(path)).status_code
            for path in (f"/oauth/client/{mark}", f"/oauth/client/{mark[1:]}.json", f"/oauth/callback/{mark}/x")
        ]

    assert said["client_id"] == f"https://gateway.test/oauth/client/{mark}.json"
    assert said["redirect_uris"] == [f"https://gateway.test/oauth/callback/{mark}"]
    assert elsewhere.status_code == 403 and house.server.forms == []
    assert lost == [404, 404, 404]


async def test_what_a_server_wants_more_is_shown_as_it_is_written() -> None:
    house = AccountHouse()

    async with browser(house) as ana:
        page = await ana.get(house.accounts.connecting.link(house.connection, ANA, ("crm", "<script>")))
        sent = await ana.post(page.url)

    assert "crm, &lt;script&gt;" in page.text
    assert asked_of(sent.headers["location"])["scope"] == "crm <script>"
