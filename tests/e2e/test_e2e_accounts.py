"""Upstreams that ask for tokens of a real issuer: one that says whose, one that wants more, a service, an agent."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio.from_thread import BlockingPortal

from tests.e2e import lying
from tests.e2e.conftest import Serve
from tests.e2e.gateways import META, UP_WITHIN_S, Caller, Gateway, answer_in, operator, text_of
from tests.e2e.issuers import Issuer, client_named, person_client, secret_of
from tests.fakes_upstreams import Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio

FREE = ("server/discover", "tools/list")
WELL_KNOWN = "/.well-known/oauth-protected-resource/found"
PETS: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Pets", "version": "1"},
    "paths": {"/list": {"get": {"operationId": "list", "responses": {"200": {"description": "a list"}}}}},
}
URLS: dict[str, Any] = {f"{META}clientCapabilities": {"elicitation": {"url": {}}}}


class Place:
    """A gateway before a server that names its issuer, a service and an agent that ask for tokens of the same one."""

    def __init__(self) -> None:
        self.issuer = Issuer(clients=[client_named("gateway"), person_client("web", "/oauth/callback")])
        self.issuer.registers = True
        self.upstream = RawServer(None)
        self.gateway: Gateway | None = None

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.upstream.port}"

    def configuration(self, pets: Path) -> dict[str, Any]:
        return {
            "servers": {
                "found": {"url": f"{self.root}/found", "auth": {"kind": "user"}},
                "pets": {
                    "openapi": str(pets),
                    "base_url": f"{self.root}/pets",
                    "auth": {"kind": "user", "issuer": self.issuer.url, "client_id": "web", "scopes": ["read"]},
                },
            },
            "agents": {
                "helper": {
                    "card": f"{self.root}/helper",
                    "url": f"{self.root}/helper",
                    "auth": {
                        "kind": "client_credentials",
                        "issuer": self.issuer.url,
                        "client_id": "gateway",
                        "client_secret": "env:GATEWAY_SECRET",
                        "scopes": ["read"],
                    },
                }
            },
            "roles": {"all": {"allow": ["tool:*/*", "agent:*"]}},
            "principals": {name: {"roles": ["all"], "key": f"env:{name.upper()}_KEY"} for name in ("karla", "bert")},
            "egress": {"allow": ["127.0.0.0/8"], "ports": []},
        }

    def behave(self, exchange: Exchange) -> None:
        path = exchange.target.decode()
        if path == WELL_KNOWN:
            said = {"resource": f"{self.root}/found", "authorization_servers": [self.issuer.url]}
            exchange.answer(json.dumps({**said, "scopes_supported": ["read"]}).encode())
        elif path.startswith("/helper") and exchange.method == b"GET":
            exchange.answer(json.dumps(lying.card(f"{self.root}/helper", "Helps.")).encode())
        elif path == "/found" and lying.message(exchange)["method"] in FREE:
            exchange.answer(lying.answer(exchange, _offered(lying.message(exchange)["method"])))
        else:
            self._let_in(exchange, path)

    def _let_in(self, exchange: Exchange, path: str) -> None:
        shown = exchange.headers.get(b"authorization", b"").decode().removeprefix("Bearer ")
        about = self.issuer.about(shown) if shown else {}
        if about.get("aud") != f"{self.root}/{path.split('/')[1]}":
            where = f'resource_metadata="{self.root}{WELL_KNOWN}", ' if path == "/found" else ""
            exchange.answer(b"", status=401, more=f'www-authenticate: Bearer {where}scope="read"\r\n')
        elif path == "/pets/list":
            exchange.answer(json.dumps([about["sub"]]).encode())
        elif path == "/helper":
            lying.keep_one_task(exchange)
        elif lying.message(exchange)["params"]["name"] == "change" and "write" not in about["scope"].split():
            wanted = 'error="insufficient_scope", scope="write"'
            exchange.answer(b"", status=403, more=f"www-authenticate: Bearer {wanted}\r\n")
        else:
            exchange.answer(lying.answer(exchange, lying.spoken(f"{about['sub']} may {about['scope']}")))

    def shown(self, path: str) -> list[str]:
        """The tokens requests to a path came with, each once."""
        there = [each for each in self.upstream.exchanges if each.target == path.encode()]
        lines = [each.headers.get(b"authorization", b"") for each in there]
        return [each.decode().removeprefix("Bearer ") for each in dict.fromkeys(lines) if each]


def _offered(method: str) -> dict[str, Any]:
    if method == "server/discover":
        return {**lying.DISCOVERED, "capabilities": {"tools": {}}}
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("say", "change")]
    return {"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private"}


@pytest.fixture(scope="module")
def place(serve: Serve, portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory) -> Generator[Place]:
    pets = tmp_path_factory.mktemp("pets") / "pets.json"
    pets.write_text(json.dumps(PETS))
    place = Place()
    with portal.wrap_async_context_manager(raw_server(place.behave)) as place.upstream:
        place.issuer.opaque = (f"{place.root}/found",)
        with place.issuer:
            place.gateway = serve(place.configuration(pets), GATEWAY_SECRET=secret_of("gateway"))
            yield place


async def offered(caller: Caller, tool: str) -> None:
    """Wait until the gateway has read the list that a tool is in."""
    with anyio.fail_after(UP_WITHIN_S):
        while tool not in await caller.tools():  # noqa: ASYNC110 - another process gets there
            await anyio.sleep(0.05)


async def connected(caller: Caller, tool: str, person: str) -> tuple[str, dict[str, Any]]:
    """Call a tool, open the page that is asked for, and call again: what the page said at last, and the result."""
    call: dict[str, Any] = {"name": tool, "arguments": {}, "_meta": URLS}
    asked = answer_in(await caller.modern("tools/call", call))["result"]
    assert asked["resultType"] == "input_required", asked
    params = asked["inputRequests"]["connect"]["params"]
    assert params["mode"] == "url"
    async with httpx2.AsyncClient(
        cookies={"person": person}, follow_redirects=True, trust_env=False, timeout=UP_WITHIN_S
    ) as at:
        page = await at.get(params["url"])
        done = await at.post(params["url"])
        assert done.status_code == 200, done.text
    again = {**call, "requestState": asked["requestState"], "inputResponses": {"connect": {"action": "accept"}}}
    return page.text, answer_in(await caller.modern("tools/call", again))


async def test_an_account_is_connected_where_the_server_says_widened_and_given_back(place: Place) -> None:
    assert place.gateway is not None
    async with Caller(place.gateway, "karla") as karla:
        await offered(karla, "found__say")
        _, said = await connected(karla, "found__say", "karl")
        page, changed = await connected(karla, "found__change", "karl")
        again = await karla.call("found__say")
    tokens = place.shown("/found")
    active = [place.issuer.about(token)["active"] for token in tokens]
    revoked = place.gateway.drawbridge("tokens", "revoke", "found", "--as", "karla")

    assert text_of(said) == "karl may read"
    assert "now wants all of this: read, write" in page
    assert text_of(changed) == text_of(again) == "karl may read write"
    assert active == [True, True], "the first one was for less, and counts on"
    assert revoked.returncode == 0, revoked.stderr
    assert place.issuer.about(tokens[-1])["active"] is False
    kept = [place.gateway.log, *place.gateway.data.glob("*.db*")]
    everything = b"".join(each.read_bytes() for each in kept)
    assert not any(token.encode() in everything for token in tokens)


async def test_a_described_service_asks_for_an_account_as_a_server_does(place: Place) -> None:
    assert place.gateway is not None
    async with Caller(place.gateway, "bert") as bert:
        await offered(bert, "pets__list")
        plain = await bert.call("pets__list")
        _, said = await connected(bert, "pets__list", "berta")
        again = await bert.call("pets__list")

    assert plain["result"]["isError"] is True and "/oauth/connect/" in text_of(plain)
    assert json.loads(text_of(said)) == json.loads(text_of(again)) == ["berta"]
    assert [place.issuer.about(token)["sub"] for token in place.shown("/pets/list")] == ["berta"]


async def test_an_agent_is_shown_the_gateways_own_token_for_it_and_nobody_elses(place: Place) -> None:
    assert place.gateway is not None
    async with Caller(place.gateway, "bert") as bert, operator(place.gateway) as root:
        await offered(bert, "agents__helper")
        said = await bert.call("agents__helper", message="hello")
        records = await root.records(call="agent:helper", outcome="ok")

    assert not said["result"].get("isError"), said
    (token,) = place.shown("/helper")
    about = place.issuer.about(token)
    assert (about["client_id"], about["aud"], about["scope"]) == ("gateway", f"{place.root}/helper", "read")
    assert bert.key not in token and token not in json.dumps(records)
