"""What a scenario's gateway serves for the real agents it asks: its MCP and A2A doors, where the configuration says it
listens, for whoever brings the token of the step they are at work on. Nobody else has a key here.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from starlette.types import Receive, Scope, Send

from adapters.a2a.card import knows_delegation
from adapters.a2a.publish import Face
from adapters.a2a.server import A2aDoor
from adapters.http.server import Health, Server, hosts_from
from adapters.identity.apikeys import KeyMint
from adapters.identity.authenticator import Authenticator
from adapters.identity.delegation import DelegationTokens
from adapters.identity.headers import is_identity_header
from adapters.mcp.door import McpDoor
from gateway.app.listening import Listener, address_of, bound
from gateway.app.mcp_offers import offers_of
from gateway.app.sections import Sections
from gateway.core.pipeline import Pipeline
from gateway.core.ports.storage import OpenStep, OpenSteps
from gateway.core.ports.world import Clock, Ids
from gateway.testing.stores.owners import MemoryOwners


class TrialDoors:
    """Of one world: its tokens outlive the gateway that minted them."""

    def __init__(self, sections: Sections, steps: OpenSteps, clock: Clock, ids: Ids) -> None:
        self._sections = sections
        self._clock = clock
        self._ids = ids
        self._tokens = DelegationTokens(os.urandom(32), clock=clock)
        self._authenticator = Authenticator(mint=KeyMint(os.urandom(32)), tokens=self._tokens, steps=steps, clock=clock)
        self._owners = MemoryOwners()

    def mint(self, step: OpenStep) -> str:
        """What the agent of the step shows at the doors."""
        return self._tokens.mint(step)

    @asynccontextmanager
    async def open(self, gateway: Pipeline) -> AsyncGenerator[None]:
        """The doors of one gateway process, for the time of the block; none where no agent calls back.

        Raises: Conflict: the port is taken, perhaps by a gateway that runs; InvalidRequest: the address is not this
            machine's.
        """
        if not self._called_back(gateway):
            yield
            return
        listen = self._sections.listen
        with bound(listen) as listening:
            port: int = listening.getsockname()[1]
            mcp = McpDoor(
                gateway=gateway,
                authenticator=self._authenticator,
                clock=self._clock,
                ids=self._ids,
                limits=self._sections.limits,
                offers=lambda: offers_of(self._sections),
            )
            a2a = A2aDoor(
                gateway,
                self._authenticator,
                self._owners,
                clock=self._clock,
                ids=self._ids,
                limits=self._sections.limits,
                face=Face(public_url=listen.public_url or address_of(listen, listening)),
            )
            health = Health(gaps=dict[str, str], open_breakers=lambda: 0)
            health.ready = True
            server = Listener(
                Server(
                    mcp=mcp,
                    a2a=a2a,
                    api=_nothing,
                    hosts=hosts_from(listen, port),
                    health=health,
                    stripped=is_identity_header,
                )
            )
            async with mcp.running(), anyio.create_task_group() as tasks:
                tasks.start_soon(server.serve, [listening])
                await server.listening.wait()
                try:
                    yield
                finally:
                    mcp.stop()
                    server.should_exit = server.force_exit = True

    def _called_back(self, gateway: Pipeline) -> bool:
        """Whether any of the agents is given a token."""
        agents = self._sections.agents.items()
        return any(each.delegation or knows_delegation(gateway.about(slug).get("card")) for slug, each in agents)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """There is no REST API here."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})
