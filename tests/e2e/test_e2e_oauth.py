"""Access tokens of real issuers at a real gateway: who gets in, who does not, and how they are told what is missing."""

import json
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio.from_thread import BlockingPortal
from joserfc.jwk import ECKey
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client

from tests.e2e import lying
from tests.e2e.conftest import Serve
from tests.e2e.gateways import META, UP_WITHIN_S, Caller, answer_in, operator, text_of
from tests.e2e.issuers import (
    Issuer,
    client_named,
    document,
    person_client,
    raw,
    secret_of,
    signer_named,
    telling_lies,
)
from tests.fakes_upstreams import Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio

RULES = [{"when": {"groups": "support"}, "roles": ["support"]}]
ROLES = {
    "support": {
        "allow": ["tool:notes/*", "tool:service/*", "tool:swapped/*", "tool:mine/*", "tool:pets/*", "tool:asking/*"]
    }
}
LIES = ("huge", "redirect", "silent", "other", "nonsense")
CLAIMS = {
    **{name: {"groups": "support"} for name in ("chief", "karl", "eve")},
    "app": {"groups": ["support", "staff"]},
    "guest": {"groups": ["guests"]},
}
SIGNER = {"client_id": "signer", "client_secret": "", "client_key": "env:CLIENT_KEY"}
LISTED: dict[str, Any] = {
    "operationId": "list",
    "security": [{"login": []}],
    "responses": {"200": {"description": "a list"}},
}
PETS: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Pets", "version": "1"},
    "paths": {"/list": {"get": LISTED}},
    "components": {"securitySchemes": {"login": {"type": "oauth2", "flows": {}}}},
}
KEY = ECKey.generate_key("P-256")


class Asking:
    """A server of before 2026 that asks in each call, and ends it when it has been told."""

    def __init__(self) -> None:
        self.calls: list[Exchange] = []

    def say(self, exchange: Exchange) -> None:
        said = lying.message(exchange) if exchange.body else {}
        match said.get("method"):
            case "initialize":
                hello: dict[str, Any] = {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"tools": {}},
                    "serverInfo": {},
                }
                exchange.answer(lying.answer(exchange, hello), more="mcp-session-id: s1\r\n")
            case "tools/list":
                exchange.answer(lying.answer(exchange, {"tools": [{"name": "say", "inputSchema": {"type": "object"}}]}))
            case "tools/call":
                self.calls.append(exchange)
                question = {"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {"message": "?"}}
                exchange.stream(json.dumps(question).encode())
            case None if said:
                exchange.answer(b"", status=202)
                self.calls[-1].event(lying.answer(self.calls[-1], {"content": [{"type": "text", "text": "told"}]}))
                self.calls[-1].end()
            case _:
                exchange.answer(b"", status=202 if "id" not in said and said else 405)


ASKING = Asking()


def say(exchange: Exchange) -> None:
    """A server with one tool, which says nothing of interest; and a service, which says less."""
    if exchange.target == b"/asking":
        ASKING.say(exchange)
        return
    if exchange.method == b"GET":
        exchange.answer(b"[]")
        return
    match lying.message(exchange)["method"]:
        case "server/discover":
            said: dict[str, Any] = {**lying.DISCOVERED, "capabilities": {"tools": {}}}
        case "tools/list":
            tools = [{"name": "say", "inputSchema": {"type": "object"}}]
            said = {"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private"}
        case _:
            said = lying.spoken("done")
    exchange.answer(lying.answer(exchange, said))


class Place:
    """A gateway whose callers come with tokens of two tenants' issuers, one of which is asked about each."""

    def __init__(self, serve: Serve, acme: Issuer, bolt: Issuer, liar: str, upstream: RawServer, pets: Path) -> None:
        self.upstream = upstream
        self.upstream_url = f"http://127.0.0.1:{upstream.port}"
        self.acme, self.bolt, self.liar = acme, bolt, liar
        program = [sys.executable, str(Path(__file__).with_name("stdio_server.py")), "unused"]
        self.gateway = serve(
            {
                "servers": {
                    "notes": {"command": program, "tenant": "acme"},
                    "service": self.server(
                        "service",
                        "client_credentials",
                        client_id="signer",
                        client_secret="",
                        client_key="env:CLIENT_KEY",
                    ),
                    "swapped": self.server("swapped", "token_exchange"),
                    "asking": {**self.server("asking", "token_exchange"), "transport": "http"},
                    "pets": self.service(pets),
                    "mine": {**self.server("mine", "user", client_id="web", client_secret=""), "tenant": "*"},
                },
                "roles": ROLES,
                "principals": {
                    "keyed": {"roles": ["support"], "tenant": "acme", "key": "env:KEYED_KEY"},
                    "olga": {"kind": "operator", "tenant": "acme", "key": "env:OLGA_KEY"},
                    "karla": {"roles": ["support"], "key": "env:KARLA_KEY"},
                },
                "oauth": {
                    "scopes": {"tool:notes/*": ["read"], "tool:notes/noise": ["write"]},
                    "issuers": {
                        "acme": {
                            "url": acme.url,
                            "tenant": "acme",
                            "rules": RULES,
                            "clock_skew_s": 0,
                            "timeout_s": 30,
                            "login": {"client_id": "desk", "client_key": "env:CLIENT_KEY"},
                        },
                        "bolt": {
                            "url": bolt.url,
                            "tenant": "bolt",
                            "rules": RULES,
                            "subject": "client_id",
                            "audience": ["urn:bolt"],
                            "timeout_s": 30,
                            "introspection": {
                                "client_id": "gateway",
                                "client_secret": "env:BOLT_SECRET",
                                "opaque": True,
                                "cache_s": 0,
                            },
                        },
                        **{lie: {"url": f"{liar}/{lie}", "timeout_s": 1} for lie in LIES},
                    },
                },
            },
            BOLT_SECRET=secret_of("gateway"),
            CLIENT_KEY=KEY.as_pem(private=True).decode(),
        )

    def server(self, slug: str, kind: str, **more: str) -> dict[str, Any]:
        auth = {"kind": kind, "issuer": self.acme.url, "client_id": "gateway", "client_secret": "env:BOLT_SECRET"}
        url = f"{self.upstream_url}/{slug}"
        return {"url": url, "tenant": "acme", "auth": {**auth, **more, "scopes": ["read"]}}

    def service(self, document: Path) -> dict[str, Any]:
        server = self.server("pets", "token_exchange")
        return {**server, "openapi": str(document), "base_url": server["url"], "url": ""}

    def last_shown(self, slug: str) -> str:
        """The token the last request to a server came with."""
        target = f"/{slug}".encode()
        shown = [each.headers.get(b"authorization") for each in self.upstream.exchanges if each.target == target]
        return [each for each in shown if each][-1].decode().removeprefix("Bearer ")

    @property
    def resource(self) -> str:
        return f"{self.gateway.url}/mcp"

    def caller(self, token: str) -> Caller:
        return Caller(self.gateway, "somebody", token)


@pytest.fixture(scope="module")
def place(serve: Serve, portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory) -> Generator[Place]:
    pets = tmp_path_factory.mktemp("pets") / "pets.json"
    pets.write_text(json.dumps(PETS))
    web = person_client("web", "/oauth/callback")
    desk = person_client("desk", "/oauth/login", **signer_named("desk", KEY))
    clients = [web, desk, signer_named("signer", KEY), *map(client_named, ("app", "guest", "chief", "gateway"))]
    with (
        Issuer(clients=clients, claims=CLAIMS) as acme,
        Issuer(clients=clients, claims=CLAIMS, opaque=("urn:bolt",)) as bolt,
        telling_lies(lie_of) as liar,
        portal.wrap_async_context_manager(raw_server(say)) as upstream,
    ):
        yield Place(serve, acme, bolt, liar, upstream, pets)


def lie_of(path: str, at: str) -> bytes | None:
    """What an issuer says that is not to be trusted."""
    lie = next(each for each in LIES if each in path)
    if "openid" in path or "oauth-" in path:
        about = {"issuer": f"{at}/{lie}", "jwks_uri": f"{at}/{lie}/keys"}
        return {
            "silent": None,
            "other": document({**about, "issuer": f"{at}/huge"}),
            "nonsense": raw(b"\xff" * 64),
        }.get(lie, document(about))
    if lie == "redirect":
        return raw(b"", "302 Found", f"location: {at}/huge/keys")
    return raw(b'{"keys":[' + b"1," * 4_000_000 + b"1]}")


async def listed(caller: Caller, path: str = "/mcp") -> httpx2.Response:
    return await caller.modern("tools/list", {}, path=path)


async def test_whoever_has_no_token_is_told_where_to_get_one(place: Place) -> None:
    async with place.caller("") as nobody:
        refused = await nobody.send("/mcp/notes", b"{}", without=("authorization",))
        challenge = refused.headers["www-authenticate"]
        where = f"{place.gateway.url}/.well-known/oauth-protected-resource/mcp/notes"
        said = await nobody.send(where.removeprefix(place.gateway.url), b"", method="GET", without=("authorization",))

    assert refused.status_code == 401
    assert challenge == f'Bearer scope="read", resource_metadata="{where}"'
    assert said.json() == {
        "resource": f"{place.gateway.url}/mcp/notes",
        "authorization_servers": [place.acme.url, place.bolt.url, *(f"{place.liar}/{lie}" for lie in LIES)],
        "bearer_methods_supported": ["header"],
        "resource_name": "Drawbridge",
        "scopes_supported": ["read", "write"],
    }


async def test_two_tenants_tokens_lead_into_two_tenants(place: Place) -> None:
    tokens = (place.acme.token("app", place.resource), place.bolt.token("app", "urn:bolt"))
    async with place.caller(tokens[0]) as ana, place.caller(tokens[1]) as bob:
        assert "notes__echo" in await ana.tools()
        assert await bob.tools() == ["mine__say"], "which is of every tenant"


async def test_a_role_that_no_claim_leads_to_is_not_given(place: Place) -> None:
    async with place.caller(place.acme.token("guest", place.resource)) as guest:
        assert await guest.tools() == []


async def test_a_token_for_another_resource_or_of_a_stranger_is_refused(place: Place) -> None:
    mine = place.acme.token("app", place.resource)
    for token, path, why in (
        (place.acme.token("app", "https://other.test/mcp"), "/mcp", "audience"),
        (place.acme.token("app", f"{place.resource}/notes"), "/mcp", "audience"),
        (place.bolt.token("app", place.resource) + "x", "/mcp", ""),
        (mine, "/agents/refunds", "audience"),
    ):
        async with place.caller(token) as caller:
            refused = await listed(caller, path)
        challenge = refused.headers["www-authenticate"]
        assert refused.status_code == 401
        assert 'error="invalid_token"' in challenge and why in challenge
        assert token not in refused.text + challenge
    async with place.caller(place.acme.token("app", f"{place.resource}/notes")) as caller:
        assert (await listed(caller, "/mcp/notes")).status_code == 200


async def test_a_call_without_its_scope_is_told_which_to_ask_for_and_goes_through_with_it(place: Place) -> None:
    async with place.caller(place.acme.token("app", place.resource)) as narrow:
        assert "notes__noise" in await narrow.tools(), "what needs a scope is listed"
        refused = await narrow.modern("tools/call", {"name": "notes__noise", "arguments": {"text": "milk"}})
    async with place.caller(place.acme.token("app", place.resource, "read write")) as wide:
        done = await wide.call("notes__noise", text="milk")

    assert refused.status_code == 403
    assert refused.headers["www-authenticate"] == (
        'Bearer error="insufficient_scope", scope="read write", error_description="it needs read write", '
        f'resource_metadata="{place.gateway.url}/.well-known/oauth-protected-resource/mcp"'
    )
    assert answer_in(refused)["error"]["code"] == 1403
    assert not done["result"].get("isError")


async def test_a_token_that_was_revoked_is_refused_at_the_next_call(place: Place) -> None:
    token = place.bolt.token("app", "urn:bolt")
    async with place.caller(token) as bob:
        assert (await listed(bob)).status_code == 200
        place.bolt.revoke("app", token)
        assert (await listed(bob)).status_code == 401


async def test_no_token_is_written_anywhere(place: Place) -> None:
    token = place.acme.token("app", place.resource)
    async with place.caller(token) as ana:
        await listed(ana)
        await ana.call("notes__echo")
    async with operator(place.gateway) as root:
        assert (await root.api("/status")).status_code == 200
    written = [path for path in place.gateway.folder.rglob("*") if path.is_file() and path.stat().st_size]
    signature = token.rpartition(".")[2].encode()

    assert place.gateway.log in written
    assert [path.name for path in written if signature in path.read_bytes()] == []


async def test_the_sdk_finds_the_issuer_by_itself(place: Place) -> None:
    auth = ClientCredentialsOAuthProvider(
        server_url=place.resource,
        storage=Pocket(),
        client_id="app",
        client_secret=secret_of("app"),
        scope="read",
        issuer=place.acme.url,
    )
    async with (
        httpx2.AsyncClient(auth=auth, trust_env=False, timeout=UP_WITHIN_S) as http,
        Client(streamable_http_client(place.resource, http_client=http)) as client,
    ):
        names = [tool.name for tool in (await client.list_tools()).tools]

    assert "notes__echo" in names


async def test_doctor_tells_how_the_issuers_are(place: Place) -> None:
    async with place.caller(place.acme.token("app", place.resource)) as ana:
        await listed(ana)

    found = json.loads(place.gateway.drawbridge("doctor", "--json").stdout)["findings"]

    issuers = {each["about"]: each for each in found if each["about"].startswith("issuer ")}
    assert issuers["issuer acme"]["level"] == "ok"
    assert "1 key" in issuers["issuer acme"]["text"]


@pytest.mark.parametrize("lie", LIES)
async def test_an_issuer_that_lies_or_is_silent_costs_its_own_callers_a_moment_and_nobody_else(
    place: Place, lie: str
) -> None:
    claims = {"iss": f"{place.liar}/{lie}", "aud": place.resource, "sub": "eve", "exp": 4_000_000_000}
    parts = (json.dumps(part).encode() for part in ({"alg": "ES256", "typ": "at+jwt", "kid": "k1"}, claims))
    forged = b".".join((*(urlsafe_b64encode(part).rstrip(b"=") for part in parts), b"A" * 86)).decode()
    async with place.caller(forged) as eve, place.caller(place.acme.token("app", place.resource)) as ana:
        with anyio.fail_after(120):
            refused = await listed(eve)
            assert (await listed(ana)).status_code == 200

    assert refused.status_code == 503
    assert answer_in(refused)["error"]["data"]["reason"] == "UNAVAILABLE"
    assert f"issuer {lie}" in refused.text and "127.0.0.1" not in refused.text


# What the gateway shows its upstreams


async def test_each_upstream_sees_a_token_made_for_it_and_never_the_callers(place: Place) -> None:
    mine = {name: place.acme.token(name, place.resource) for name in ("app", "chief")}
    seen = {"service": list[str](), "swapped": list[str]()}
    for name in ("app", "chief", "app"):
        async with place.caller(mine[name]) as caller:
            for tool, shown in seen.items():
                said = await caller.call(f"{tool}__say")
                assert not said["result"].get("isError"), said
                shown.append(place.last_shown(tool))
    about = {token: place.acme.about(token) for tokens in seen.values() for token in tokens}

    assert len(set(seen["service"])) == 1
    assert about[seen["service"][0]]["client_id"] == "signer", "which said so by its key"
    assert [about[token].get("on_behalf_of") for token in seen["swapped"]] == ["app", "chief", "app"]
    assert all(about[token]["aud"].endswith(f"/{tool}") for tool in seen for token in seen[tool])
    everything = b"".join(each.headers.get(b"authorization", b"") for each in place.upstream.exchanges)
    assert not any(token.encode() in everything for token in mine.values())


async def test_an_answer_under_a_renewed_token_reaches_the_call_that_waits_for_it(place: Place) -> None:
    before, renewed = (place.acme.token("app", place.resource) for _ in range(2))
    able: dict[str, Any] = {f"{META}clientCapabilities": {"elicitation": {}}}
    pay: dict[str, Any] = {"name": "asking__say", "arguments": {}, "_meta": able}
    async with place.caller(before) as caller:
        asked = answer_in(await caller.modern("tools/call", pay))["result"]
    answers: dict[str, Any] = {"question": {"action": "accept", "content": {}}}
    async with place.caller(renewed) as caller:
        again = {**pay, "inputResponses": answers, "requestState": asked["requestState"]}
        told = answer_in(await caller.modern("tools/call", again))
    assert before != renewed
    assert (text_of(told), len(ASKING.calls)) == ("told", 1)


async def test_a_service_with_a_document_is_called_in_each_callers_name(place: Place) -> None:
    for name in ("app", "chief"):
        async with place.caller(place.acme.token(name, place.resource)) as caller:
            said = await caller.call("pets__list")
        assert not said["result"].get("isError"), said
        about = place.acme.about(place.last_shown("pets/list"))
        assert (about["on_behalf_of"], about["aud"]) == (name, f"{place.upstream_url}/pets")


async def test_a_caller_by_key_is_told_why_its_token_cannot_be_exchanged(place: Place) -> None:
    async with Caller(place.gateway, "keyed") as keyed:
        said = await keyed.call("swapped__say")

    assert said["result"]["isError"] is True
    assert "own access token" in text_of(said)


URLS: dict[str, Any] = {f"{META}clientCapabilities": {"elicitation": {"url": {}}}}


def browser(person: str) -> httpx2.AsyncClient:
    """Somebody who is logged in at the issuer."""
    return httpx2.AsyncClient(cookies={"person": person}, follow_redirects=True, trust_env=False, timeout=UP_WITHIN_S)


async def test_a_person_connects_an_account_and_is_served_by_it(place: Place) -> None:
    say = {"name": "mine__say", "arguments": {}, "_meta": URLS}
    async with Caller(place.gateway, "karla") as karla, browser("karl") as karl:
        asked = answer_in(await karla.modern("tools/call", say))["result"]
        url = asked["inputRequests"]["connect"]["params"]["url"]
        page = await karl.get(url)
        done = await karl.post(url)
        again = {**say, "requestState": asked["requestState"], "inputResponses": {"connect": {"action": "accept"}}}
        said = answer_in(await karla.modern("tools/call", again))["result"]
        async with place.caller(place.acme.token("app", place.resource)) as other:
            others = await other.call("mine__say")

    assert asked["resultType"] == "input_required"
    assert asked["inputRequests"]["connect"]["params"]["mode"] == "url"
    assert "karla" in page.text and page.headers["cache-control"] == "no-store"
    assert done.status_code == 200 and "is connected for karla" in done.text
    assert not said.get("isError")
    assert place.acme.about(place.last_shown("mine"))["sub"] == "karl"
    assert others["result"]["isError"] is True
    assert f"{place.gateway.url}/oauth/connect/" in text_of(others)


async def test_an_answer_of_the_issuer_is_of_no_use_in_another_browser(place: Place) -> None:
    link = place.gateway.drawbridge("tokens", "connect", "mine", "--as", "mallory", "--json")
    async with browser("karl") as karl, browser("eve") as eve:
        url = json.loads(link.stdout)["url"]
        await karl.get(url)
        karl.follow_redirects = False
        answer = await karl.post(url)
        while not answer.headers["location"].startswith(f"{place.gateway.url}/oauth/callback"):
            answer = await karl.get(answer.url.join(answer.headers["location"]))
        stolen = await eve.get(answer.headers["location"])

    assert stolen.status_code == 403
    assert "another browser" in stolen.text


async def link_for(caller: Caller) -> str:
    """Where somebody who calls is sent to connect an account."""
    asked = answer_in(await caller.modern("tools/call", {"name": "mine__say", "arguments": {}, "_meta": URLS}))
    url: str = asked["result"]["inputRequests"]["connect"]["params"]["url"]
    return url


async def test_where_there_is_a_login_only_the_very_person_connects_an_account(place: Place) -> None:
    tokens = {name: place.acme.token_of(name, "web", place.resource) for name in ("karl", "eve")}
    async with place.caller(tokens["karl"]) as karl, place.caller(tokens["eve"]) as eve:
        # Each is made to open the other's link: eve wants her account to be used as karl's, and his as hers.
        for caller, other in ((karl, "eve"), (eve, "karl")):
            async with browser(other) as lured:
                url = await link_for(caller)
                page = await lured.get(url)
                refused = await lured.post(url)
            assert refused.status_code == 403 and "Nothing was connected" in refused.text
            assert f"logged in as acme:{other}" in refused.text and "log in as acme:" in page.text
        assert await link_for(karl), "he still has none"

        async with browser("karl") as his:
            url = await link_for(karl)
            await his.get(url)
            done = await his.post(url)
        said = await karl.call("mine__say")
        hers = await eve.call("mine__say")
    said_of = place.gateway.drawbridge("audit", "search", "account.refused", "--outcome", "denied", "--json").stdout
    refusals = [record["detail"] for record in json.loads(said_of)["records"]]

    assert done.status_code == 200 and "is connected for acme:karl" in done.text
    assert not said["result"].get("isError")
    assert place.acme.about(place.last_shown("mine"))["sub"] == "karl"
    assert hers["result"]["isError"] is True
    assert [(each["subject"], each["browser"]) for each in refusals] == [
        ("acme:karl", "acme acme:eve"),
        ("acme:eve", "acme acme:karl"),
    ]


async def test_accounts_are_listed_and_revoked_without_a_token_being_shown(place: Place) -> None:
    gateway = place.gateway
    token = place.last_shown("mine")

    listed_ = gateway.drawbridge("tokens", "list", "--json").stdout
    revoked = gateway.drawbridge("tokens", "revoke", "mine", "--as", "karla")
    async with Caller(gateway, "karla") as karla:
        said = await karla.call("mine__say")

    (account,) = json.loads(listed_)["accounts"]
    assert (account["server"], account["subject"]) == ("mine", "karla")
    assert token not in listed_
    assert token.encode() not in b"".join(path.read_bytes() for path in gateway.data.glob("*.db*"))
    assert revoked.returncode == 0
    assert said["result"]["isError"] is True


# Last, for it stops the issuers


async def test_known_tokens_outlive_their_issuer_and_new_keys_are_found(place: Place) -> None:
    old = place.acme.token("app", place.resource)
    async with place.caller(old) as ana, place.caller("") as other:
        assert (await listed(ana)).status_code == 200
        place.acme.stop()
        assert (await listed(ana)).status_code == 200

        place.acme.keys = ("k2",)
        place.acme.start()
        other.key = place.acme.token("app", place.resource)
        # A key nobody knows is looked for no more often than every quarter of a minute.
        until_s = time.monotonic() + 120
        while (status := (await listed(other)).status_code) == 401:
            assert time.monotonic() < until_s
            await anyio.sleep(0.5)
        assert status == 200
        assert (await listed(ana)).status_code == 401, "its key was withdrawn"


class Pocket:
    """See the SDK's `TokenStorage`."""

    def __init__(self) -> None:
        self.tokens: Any = None
        self.info: Any = None

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> Any:
        return self.info

    async def set_client_info(self, client_info: Any) -> None:
        self.info = client_info
