"""Tools that a server shows only to clients it can ask: who they are listed for."""

from dataclasses import replace

import pytest

from adapters.mcp.abilities import ABILITIES, ALL_ABILITIES, EVERY_ABILITY, abilities
from adapters.mcp.client_listing import Ask, read_listing
from adapters.mcp.settings import ServerSettings
from gateway.core.errors import UpstreamFailed
from gateway.core.json import JsonObject
from gateway.core.model import Capability
from tests.fakes_mcp_door import Caller, Reply, ShopGateway, opened, tool

pytestmark = pytest.mark.anyio

SERVER = ServerSettings(url="http://a.test/mcp")
TOOLS: JsonObject = {"capabilities": {"tools": {}}}


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({}, set[str]()),
        ({"elicitation": {}}, {"elicitation"}),
        ({"elicitation": {"url": {}}}, {"elicitation.url"}),
        ({"elicitation": None, "sampling": 1, "roots": {"listChanged": True}}, {"roots"}),
        ({"sampling": {"tools": {}}}, {"sampling", "sampling.tools"}),
        (EVERY_ABILITY, {*ABILITIES, ALL_ABILITIES}),
    ],
)
def test_what_a_client_declares_is_known_by_words(declared: JsonObject, words: set[str]) -> None:
    assert abilities(declared) == words


@pytest.mark.parametrize("word", ABILITIES)
def test_each_word_is_declared_by_what_stands_beside_it(word: str) -> None:
    assert word in abilities(ABILITIES[word])
    assert ALL_ABILITIES not in abilities(ABILITIES[word])


class Choosy:
    """A server that shows tools to whom it can ask."""

    def __init__(self) -> None:
        self.asked = 0
        self.late = 100
        """How often it has to be asked before everybody is shown `new`."""

    def as_able(self, able: JsonObject) -> Ask:
        async def ask(method: str, params: JsonObject) -> JsonObject:
            self.asked += 1
            names = ["plain"]
            names += ["draw"] if "sampling" in able or "roots" in able else []
            names += ["both"] if "sampling" in able and "roots" in able else []
            names += ["new"] if self.asked > self.late else []
            return {"tools": [{"name": name} for name in names]}

        return ask


async def needs_of(server: Choosy) -> dict[str, frozenset[str]]:
    listing = await read_listing("shop", SERVER, TOOLS, server.as_able({}), server.as_able)
    return {each.local: each.needs for each in listing.capabilities}


async def test_each_tool_is_known_with_what_its_clients_must_be_able_to_be_asked_for() -> None:
    assert await needs_of(Choosy()) == {
        "plain": frozenset(),
        "draw": {"sampling", "sampling.tools", "roots"},
        "both": {ALL_ABILITIES},
    }


async def test_a_server_that_shows_everybody_the_same_is_asked_twice_and_no_more() -> None:
    server = Choosy()

    def same(able: JsonObject) -> Ask:
        return server.as_able({})

    await read_listing("shop", SERVER, TOOLS, same({}), same)
    assert server.asked == 2


async def test_a_tool_that_came_meanwhile_is_everybodys() -> None:
    server = Choosy()
    server.late = 1
    assert (await needs_of(server))["new"] == frozenset()


async def test_a_server_that_fails_whoever_can_be_asked_keeps_what_everybody_is_shown() -> None:
    server = Choosy()

    def as_able(able: JsonObject) -> Ask:
        async def fail(method: str, params: JsonObject) -> JsonObject:
            raise UpstreamFailed("one session is all there is")

        return fail

    listing = await read_listing("shop", SERVER, TOOLS, server.as_able({}), as_able)
    assert [each.local for each in listing.capabilities] == ["plain"]


def needing(name: str, *needs: str) -> Capability:
    return replace(tool(name), needs=frozenset(needs))


def names(reply: Reply) -> list[str]:
    return [each["name"] for each in reply.json["result"]["tools"]]


async def test_a_client_is_shown_what_it_can_be_asked_for_in_either_era_and_may_call_the_rest_too() -> None:
    gateway = ShopGateway(tool("plain"), needing("draw", "sampling"), needing("both", ALL_ABILITIES))
    able: JsonObject = {"io.modelcontextprotocol/clientCapabilities": {"sampling": {}}}
    async with opened(gateway) as door:
        caller, other = Caller(door), Caller(door)
        assert names(await caller.ask("tools/list", meta=able)) == ["orders__draw", "orders__plain"]
        assert names(await caller.ask("tools/list")) == ["orders__plain"]
        await caller.initialize(capabilities={"sampling": {}})
        await other.initialize(capabilities=EVERY_ABILITY)
        assert names(await caller.say("tools/list")) == ["orders__draw", "orders__plain"]
        assert names(await other.say("tools/list")) == ["orders__both", "orders__draw", "orders__plain"]
        await caller.ask("tools/call", {"name": "orders__both", "arguments": {}})
    assert [each.capability for each in gateway.requests] == ["tool:orders/both"], "its server has the last word"
