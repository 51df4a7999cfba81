"""Every store of pins keeps these promises."""

from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from adapters.storage.pins import SqlPins
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.errors import Conflict, NotFound
from gateway.core.ports.pinning import Pin, Pins
from gateway.testing.stores.pins import MemoryPins
from tests.contracts.databases import STORES, opened

pytestmark = pytest.mark.anyio


@pytest.fixture(params=STORES)
async def pins(request: pytest.FixtureRequest) -> AsyncGenerator[Pins]:
    if request.param == "memory":
        yield MemoryPins()
        return
    async with opened(request, GATEWAY_SCHEMA) as database:
        yield SqlPins(database)


FIRST = Pin(
    tenant="default",
    owner="orders",
    name="tool:orders/refund",
    digest="a" * 64,
    definition={"name": "refund", "inputSchema": {"maximum": 2**63 - 1}, "description": "\u200b\x00 Refunds"},
    approved_at_us=1,
    seen_digest="a" * 64,
    seen={"name": "refund"},
    seen_at_us=1,
)
CHANGED = replace(
    FIRST, digest="", definition={}, seen_digest="b" * 64, seen={"name": "refund", "title": "R"}, seen_at_us=2
)


async def test_what_is_seen_first_is_kept_as_it_is_given_and_of_what_comes_later_only_what_was_seen(pins: Pins) -> None:
    other = replace(FIRST, tenant="elsewhere")
    assert await pins.see([FIRST, other]) == (FIRST, other)
    expected = replace(FIRST, seen_digest=CHANGED.seen_digest, seen=CHANGED.seen, seen_at_us=2)
    assert await pins.see([CHANGED]) == (expected,)
    assert await pins.all() == (expected, other)


async def test_what_is_seen_again_unchanged_changes_nothing(pins: Pins) -> None:
    await pins.see([FIRST])
    assert await pins.see([replace(FIRST, approved_at_us=9, seen_at_us=9)]) == (FIRST,)
    assert await pins.all() == (FIRST,)


async def test_what_was_looked_at_is_what_is_approved(pins: Pins) -> None:
    await pins.see([FIRST])
    await pins.see([CHANGED])
    with pytest.raises(Conflict):
        await pins.approve("default", FIRST.name, FIRST.digest, at_us=5, by="olga")
    with pytest.raises(NotFound):
        await pins.approve("elsewhere", FIRST.name, CHANGED.seen_digest, at_us=5, by="olga")
    approved = await pins.approve("default", FIRST.name, CHANGED.seen_digest, at_us=5, by="olga")
    assert approved == replace(
        CHANGED, digest=CHANGED.seen_digest, definition=CHANGED.seen, approved_at_us=5, approved_by="olga"
    )
    assert await pins.all() == (approved,)
