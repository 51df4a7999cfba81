"""The listening side: every door of a composition, and the application they stand in."""

from dataclasses import dataclass

from adapters.a2a.publish import Face
from adapters.a2a.server import A2aDoor
from adapters.http.api import Api, ApiParts
from adapters.http.server import Health, Server, hosts_from
from adapters.http.settings import ListenSettings
from adapters.identity.headers import is_identity_header
from adapters.identity.resource import ProtectedResource
from adapters.mcp.door import McpDoor
from adapters.oauth.door import ConnectDoor
from adapters.storage.audit.reader import AuditReader
from gateway import __version__
from gateway.app.composition import Composition
from gateway.app.operations import (
    AgentsOfGateway,
    AuditBodiesOfGateway,
    AuditOfGateway,
    ChaosOfGateway,
    CostsOfGateway,
    DirectoryOfGateway,
    ExplainerOfGateway,
    KeysOfGateway,
    PrincipalsOfGateway,
)
from gateway.app.pins import PinsOfGateway
from gateway.app.reloading import Reloading
from gateway.core.model import DEFAULT_TENANT


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """What answers on the gateway's port."""

    application: Server
    mcp: McpDoor
    health: Health
    reloading: Reloading


def doors_of(composition: Composition, listen: ListenSettings, *, port: int, address: str) -> Doors:
    """Every door, listening for `listen` on `port`; `address` is the gateway's own URL."""
    foundation, limits = composition.foundation, composition.sections.limits
    gateway, authenticator = composition.pipeline, foundation.authenticator
    clock, ids = foundation.clock, foundation.ids
    directory = DirectoryOfGateway(composition)
    reloading = Reloading(composition.reload, clock)
    health = Health(
        gaps=lambda: gateway.gaps(DEFAULT_TENANT),
        open_breakers=lambda: sum(len(owner.open_breakers) for owner, _ in gateway.load(DEFAULT_TENANT).owners),
        conflicts=lambda: len(directory.not_offered(DEFAULT_TENANT)),
        storage_answers=lambda: foundation.changes is None or foundation.changes.answers,
        refuses=lambda: reloading.refused is not None,
    )
    resource = ProtectedResource(foundation.access_tokens.resource, lambda: composition.sections.oauth)
    mcp = McpDoor(
        gateway=gateway,
        authenticator=authenticator,
        clock=clock,
        ids=ids,
        limits=limits,
        challenges=resource,
        offers=composition.offers,
    )
    a2a = A2aDoor(
        gateway,
        authenticator,
        foundation.owners,
        clock=clock,
        ids=ids,
        limits=limits,
        face=Face(public_url=listen.public_url or address, challenges=resource),
    )
    application = Server(
        mcp=mcp,
        a2a=a2a,
        api=Api(_api_parts(composition, directory, reloading)),
        hosts=hosts_from(listen, port),
        health=health,
        stripped=is_identity_header,
        resources=resource.metadata,
        connect=ConnectDoor(foundation.accounts.connecting),
    )
    return Doors(application=application, mcp=mcp, health=health, reloading=reloading)


def _api_parts(composition: Composition, directory: DirectoryOfGateway, reloading: Reloading) -> ApiParts:
    foundation = composition.foundation
    return ApiParts(
        gateway=composition.pipeline,
        authenticator=foundation.authenticator,
        directory=directory,
        principals=PrincipalsOfGateway(composition),
        explainer=ExplainerOfGateway(composition),
        agents=AgentsOfGateway(composition),
        keys=KeysOfGateway(foundation.issuer),
        runs=foundation.runs,
        control=composition.orchestrator.control,
        approving=composition.orchestrator.approving,
        explaining=composition.orchestrator.explaining,
        retention=composition.retention,
        dead_letters=composition.orchestrator.dead_letters,
        costs=CostsOfGateway(composition),
        memories=composition.memories,
        accounts=foundation.accounts,
        pins=PinsOfGateway(composition.pinning),
        advising=composition.orchestrator.advising,
        audit=AuditOfGateway(AuditReader(foundation.directory.audit_db)),
        bodies=AuditBodiesOfGateway(foundation.directory.audit_db),
        load=composition.pipeline,
        chaos=ChaosOfGateway(composition),
        reload=reloading,
        clock=foundation.clock,
        ids=foundation.ids,
        version=__version__,
    )
