"""What the gateway stands on, whatever its configuration says: files, keys, clocks. Opened once, closed in turn."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.identity.apikeys import KeyMint, new_key
from adapters.identity.authenticator import Authenticator
from adapters.identity.delegation import DelegationTokens
from adapters.identity.issuing import KeyIssuer
from adapters.identity.keyfiles import OperatorKey, operator_key, random_key
from adapters.identity.secrets import SecretResolver
from adapters.mcp.client_seal import Seal
from adapters.net.tls import client_context
from adapters.storage.approvals import SqlApprovals
from adapters.storage.audit.keys import load_or_create_audit_keys
from adapters.storage.audit.log import AuditFile, open_audit
from adapters.storage.costs import SqlCostLedger, open_costs
from adapters.storage.database import Database
from adapters.storage.dead_letters import SqlDeadLetters
from adapters.storage.directory import DataDirectory
from adapters.storage.effects import SqlEffectLedger
from adapters.storage.keys import SqlKeyStore
from adapters.storage.lock import StorageLock
from adapters.storage.notes import SqlNotes
from adapters.storage.opensteps import SqlOpenSteps
from adapters.storage.owners import SqlTaskOwners
from adapters.storage.registry import SqlAgentRegistry
from adapters.storage.runs import SqlRunStore
from adapters.storage.scratch import SqlScratchStore
from adapters.storage.settings import AuditSettings
from adapters.storage.tables import GATEWAY_SCHEMA
from adapters.system import SortableIds, SystemClock
from adapters.tokens import VocabularyCounter


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """Every part that lives as long as the process."""

    directory: DataDirectory
    clock: SystemClock
    ids: SortableIds
    secrets: SecretResolver
    tls: ssl.SSLContext
    audit: AuditFile
    effects: SqlEffectLedger
    owners: SqlTaskOwners
    registry: SqlAgentRegistry
    runs: SqlRunStore
    open_steps: SqlOpenSteps
    approvals: SqlApprovals
    scratch: SqlScratchStore
    notes: SqlNotes
    costs: SqlCostLedger
    counter: VocabularyCounter
    dead_letters: SqlDeadLetters
    tokens: DelegationTokens
    authenticator: Authenticator
    issuer: KeyIssuer
    operator: OperatorKey
    seal: Seal
    list_seal: bytes
    """Seals cursors of lists."""


@asynccontextmanager
async def open_foundation(
    directory: DataDirectory, folder: Path, settings: AuditSettings
) -> AsyncGenerator[Foundation]:
    """Everything opened in `directory`; `folder` is where the configuration's relative paths begin.

    Raises: Conflict: another gateway is at work there; InvalidRequest, Unavailable: a file cannot be used.
    """
    directory.prepare()
    clock, ids = SystemClock(), SortableIds()
    async with AsyncExitStack() as stack:
        stack.enter_context(StorageLock(directory.lock))
        database = await Database.open(directory.gateway_db, GATEWAY_SCHEMA)
        stack.push_async_callback(database.aclose)
        scratch = await SqlScratchStore.open(directory.scratch_db)
        stack.push_async_callback(scratch.aclose)
        costs = await stack.enter_async_context(open_costs(database))
        export = (folder / settings.export) if settings.export else None
        keys = load_or_create_audit_keys(directory.keys)
        audit = await stack.enter_async_context(
            open_audit(directory.audit_db, keys=keys, settings=settings, clock=clock, export=export, prefixes=("dbk_",))
        )
        open_steps = SqlOpenSteps(database)
        await open_steps.load()
        mint = KeyMint(random_key(directory.pepper))
        tokens = DelegationTokens(random_key(directory.delegation_key), clock=clock)
        authenticator = Authenticator(mint=mint, tokens=tokens, steps=open_steps, clock=clock)
        issuer = KeyIssuer(store=SqlKeyStore(database), mint=mint, authenticator=authenticator, clock=clock)
        await issuer.load()
        yield Foundation(
            directory=directory,
            clock=clock,
            ids=ids,
            secrets=SecretResolver(folder),
            tls=client_context(),
            audit=audit,
            effects=SqlEffectLedger(database, process=ids.new("proc")),
            owners=SqlTaskOwners(database),
            registry=SqlAgentRegistry(database),
            runs=SqlRunStore(database),
            open_steps=open_steps,
            approvals=SqlApprovals(database),
            scratch=scratch,
            notes=SqlNotes(database),
            costs=costs,
            counter=VocabularyCounter(),
            dead_letters=SqlDeadLetters(database),
            tokens=tokens,
            authenticator=authenticator,
            issuer=issuer,
            operator=operator_key(directory.operator_key, new_key),
            seal=Seal(random_key(directory.keys / "state.key"), clock),
            list_seal=random_key(directory.keys / "cursor.key"),
        )
