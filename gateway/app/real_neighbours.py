"""The upstreams a configuration names, for a scenario that asks the real ones: made as a gateway makes them."""

import os
import ssl
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from adapters.events.upstream import BusUpstream
from adapters.identity.issuers import AccessTokens
from adapters.identity.secrets import SecretResolver
from adapters.mcp.client_seal import Seal
from adapters.net.egress import EgressGuard
from adapters.net.tls import client_context
from adapters.system import SortableIds, SystemClock
from gateway.app.accounts import ConnectedAccounts
from gateway.app.neighbours import Neighbours
from gateway.app.sections import Sections, configuration_folder
from gateway.core.catalog import Shelf
from gateway.core.lists import Lists
from gateway.core.ports.upstream import Upstream
from gateway.testing.stores.accounts import MemoryAccounts as NoAccounts
from gateway.testing.stores.claims import MemoryClaims as NoClaims

CLOSE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialGround:
    """See `Ground`."""

    clock: SystemClock
    ids: SortableIds
    secrets: SecretResolver
    tls: ssl.SSLContext
    seal: Seal
    access_tokens: AccessTokens
    """Nobody brings one to a scenario."""
    accounts: ConnectedAccounts
    """Nobody has connected one here."""


@asynccontextmanager
async def real_neighbours(sections: Sections, owners: Collection[str]) -> AsyncGenerator[list[tuple[Upstream, str]]]:
    """Upstreams of these servers, agents and buses, each with its tenant, for the time of the block.

    Raises: InvalidRequest: one cannot be made, for example because a secret is missing.
    """
    clock = SystemClock()
    ground = TrialGround(
        clock=clock,
        ids=SortableIds(),
        secrets=SecretResolver(configuration_folder(sections)),
        tls=client_context(),
        seal=Seal(os.urandom(32), clock),
        access_tokens=AccessTokens(clock),
        accounts=ConnectedAccounts(NoAccounts(), NoClaims(), os.urandom(32), clock),
    )
    shelf = Shelf()
    # Never started: a scenario reads each list once, when its gateway begins.
    lists = Lists(shelf, limits=sections.limits, on_change=lambda: None)
    neighbours = Neighbours(ground, lists, limits=sections.limits, guard=EgressGuard(sections.egress))
    neighbours.apply({slug: each for slug, each in neighbours.made(sections, {}).items() if slug in owners})
    async with anyio.create_task_group() as tasks:
        for source in shelf.sources():
            if isinstance(source.upstream, BusUpstream):
                tasks.start_soon(source.upstream.watch)
        try:
            yield [(source.upstream, source.tenant) for source in shelf.sources()]
        finally:
            tasks.cancel_scope.cancel()
            with anyio.move_on_after(CLOSE_S, shield=True):
                neighbours.leave()
                await lists.aclose()
