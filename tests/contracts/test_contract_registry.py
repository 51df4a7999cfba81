"""What every `AgentRegistry` does."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from adapters.storage.registry import SqlAgentRegistry
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.errors import Conflict
from gateway.core.ports.storage import AgentRegistry, RegisteredAgent
from tests.contracts.databases import STORES, opened
from tests.fakes_storage import MemoryAgentRegistry

pytestmark = pytest.mark.anyio

AGENT = RegisteredAgent(
    slug="refunds",
    tenant="default",
    card_url="https://agents.example/refunds",
    card=b'{"name": "Refunds"}\n',
    digest="ab" * 32,
    added_at_us=10,
    added_by="ana",
    settings={"roles": ["support"], "timeout_s": 2.5, "headers": {"x-a": "1"}},
)


@pytest.fixture(params=STORES)
async def registry(request: pytest.FixtureRequest) -> AsyncIterator[AgentRegistry]:
    if request.param == "memory":
        yield MemoryAgentRegistry()
        return
    async with opened(request, GATEWAY_SCHEMA) as database:
        yield SqlAgentRegistry(database)


async def test_agents_come_back_whole_sorted_by_name(registry: AgentRegistry) -> None:
    first = replace(AGENT, slug="a-first", tenant="other", settings={})
    await registry.add(AGENT)
    await registry.add(first)

    assert await registry.all() == (first, AGENT)


async def test_a_name_is_taken_once_whatever_the_tenant(registry: AgentRegistry) -> None:
    await registry.add(AGENT)

    with pytest.raises(Conflict):
        await registry.add(replace(AGENT, tenant="other"))

    assert await registry.all() == (AGENT,)


async def test_a_removed_agent_is_gone_and_its_name_free(registry: AgentRegistry) -> None:
    await registry.add(AGENT)

    assert await registry.remove("refunds")
    assert not await registry.remove("refunds")
    await registry.add(AGENT)

    assert await registry.all() == (AGENT,)


async def test_the_digest_first_seen_stays_the_one_compared_with(registry: AgentRegistry) -> None:
    assert await registry.seen("refunds", "one", b"1", 10) == "one"
    assert await registry.seen("refunds", "two", b"2", 20) == "one"
    assert await registry.seen("refunds", "one", b"1", 30) == "one"
    assert await registry.seen("triage", "two", b"2", 40) == "two"


async def test_an_agent_added_again_is_pinned_anew(registry: AgentRegistry) -> None:
    await registry.add(AGENT)
    await registry.seen("refunds", "one", b"1", 10)
    await registry.remove("refunds")

    assert await registry.seen("refunds", "two", b"2", 20) == "two"
