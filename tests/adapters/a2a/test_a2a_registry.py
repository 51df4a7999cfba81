"""Agents added by the address of their card."""

import json
from dataclasses import replace

import pytest

from adapters.a2a.registry import AgentDirectory, slug_from
from gateway.core.errors import Conflict, GatewayError, InvalidRequest, NotFound, Unavailable
from gateway.core.json import Json
from tests.fakes import FakeClock
from tests.fakes_storage import MemoryAgentRegistry

pytestmark = pytest.mark.anyio

CARD: dict[str, Json] = {
    "name": "Acme Refunds!",
    "description": "Refunds orders.",
    "version": "1",
    "supportedInterfaces": [
        {"url": "https://agents.example/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
    ],
    "skills": [{"id": "refund", "name": "Refund", "tags": ["money"]}],
    "x-kept": True,
}


class Web:
    """Cards by address."""

    def __init__(self) -> None:
        self.pages = {"https://agents.example/.well-known/agent-card.json": json.dumps(CARD).encode()}

    async def fetch(self, url: str) -> bytes:
        if url not in self.pages:
            raise Unavailable("the host cannot be reached")
        return self.pages[url]


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def directory(web: Web) -> AgentDirectory:
    return AgentDirectory(MemoryAgentRegistry(), web.fetch, FakeClock(), lambda: frozenset({"orders"}))


async def test_an_agent_is_added_by_its_host_and_shown_with_the_grant_to_paste(directory: AgentDirectory) -> None:
    added = await directory.add("https://agents.example", added_by="root", settings={"trust": "trusted"})

    shown = added.to_json()
    assert (shown["slug"], shown["grant"], shown["trust"]) == ("acme-refunds", "agent:acme-refunds", "trusted")
    assert shown["skills"] == [{"id": "refund", "name": "Refund", "description": "", "tags": ["money"]}]
    assert shown["interfaces"] == ["JSONRPC 1.0 at https://agents.example/rpc"]
    assert (added.added_by, added.settings.card) == ("root", added.card_url)
    assert await directory.all() == (added,)


async def test_looking_adds_nothing(directory: AgentDirectory) -> None:
    entry = await directory.look("https://agents.example", slug="refunds")

    assert entry.slug == "refunds"
    assert await directory.all() == ()


async def test_what_was_fetched_is_kept_byte_by_byte(directory: AgentDirectory, web: Web) -> None:
    await directory.add("https://agents.example", added_by="root")

    (kept,) = await directory.all()
    assert kept.card.raw == next(iter(web.pages.values()))


async def test_a_removed_agent_is_gone(directory: AgentDirectory) -> None:
    await directory.add("https://agents.example", added_by="root", slug="refunds")
    await directory.remove("refunds")

    assert await directory.all() == ()
    with pytest.raises(NotFound):
        await directory.remove("refunds")


async def test_what_the_configuration_has_is_removed_there(directory: AgentDirectory) -> None:
    with pytest.raises(NotFound, match="configuration"):
        await directory.remove("orders")


@pytest.mark.parametrize(
    ("slug", "error"),
    [("orders", Conflict), ("mcp", InvalidRequest), ("Refunds", InvalidRequest), ("a" * 25, InvalidRequest)],
)
async def test_a_name_that_is_taken_or_none_is_refused(
    directory: AgentDirectory, slug: str, error: type[GatewayError]
) -> None:
    with pytest.raises(error):
        await directory.add("https://agents.example", added_by="root", slug=slug)

    assert await directory.all() == ()


async def test_a_name_is_given_once(directory: AgentDirectory) -> None:
    await directory.add("https://agents.example", added_by="root", slug="refunds")

    with pytest.raises(Conflict):
        await directory.add("https://agents.example", added_by="root", slug="refunds")


async def test_a_setting_that_does_not_exist_is_named(directory: AgentDirectory) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await directory.add("https://agents.example", added_by="root", settings={"rolls": []})

    assert refused.value.detail["field"] == "rolls"


async def test_a_host_that_cannot_be_reached_is_not_registered(directory: AgentDirectory) -> None:
    with pytest.raises(Unavailable):
        await directory.add("https://nowhere.example", added_by="root")


async def test_a_changed_card_is_told_from_the_one_first_seen(directory: AgentDirectory, web: Web) -> None:
    first = await directory.add("https://agents.example", added_by="root", slug="refunds")
    web.pages = {url: json.dumps({**CARD, "version": "2"}).encode() for url in web.pages}
    changed = await directory.look("https://agents.example", slug="other")

    assert await directory.seen("refunds", first.card)
    assert not await directory.seen("refunds", changed.card)


async def test_a_kept_card_that_is_no_longer_acceptable_hides_only_itself(web: Web) -> None:
    registry = MemoryAgentRegistry()
    directory = AgentDirectory(registry, web.fetch, FakeClock(), frozenset)
    good = await directory.add("https://agents.example", added_by="root", slug="good")
    (kept,) = await registry.all()
    await registry.add(replace(kept, slug="bad", card=b"{}"))

    assert await directory.all() == (good,)


def test_a_slug_is_made_of_the_name() -> None:
    assert slug_from("  Größe & Acme_Refunds (EU) -- 2 ") == "gr-e-acme-refunds-eu-2"
    assert len(slug_from("a" * 60)) == 24
    assert slug_from("日本") == ""
