"""What the gateway stands on, whatever its configuration says: files, keys, clocks. Opened once, closed in turn."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from adapters.identity.apikeys import KeyMint, new_key
from adapters.identity.authenticator import Authenticator
from adapters.identity.delegation import DelegationTokens
from adapters.identity.issuers import AccessTokens
from adapters.identity.issuing import KeyIssuer
from adapters.identity.keyfiles import OperatorKey, operator_key
from adapters.identity.resource import Resource
from adapters.identity.secrets import SecretResolver
from adapters.mcp.client_seal import Seal
from adapters.net.tls import client_context
from adapters.storage.accounts import SqlAccounts
from adapters.storage.approvals import SqlApprovals
from adapters.storage.archive import SqlRunArchive
from adapters.storage.audit.keys import load_or_create_audit_keys
from adapters.storage.audit.log import AuditFile, open_audit
from adapters.storage.changes import Changes
from adapters.storage.claims import SqlClaims
from adapters.storage.costs import SqlCostLedger, open_costs
from adapters.storage.dead_letters import SqlDeadLetters
from adapters.storage.directory import DataDirectory
from adapters.storage.effects import SqlEffectLedger
from adapters.storage.held_runs import HeldRuns
from adapters.storage.keys import KEYS, SqlKeyStore
from adapters.storage.lock import StorageLock
from adapters.storage.memory import SqlMemory
from adapters.storage.notes import SqlNotes
from adapters.storage.opensteps import SqlOpenSteps
from adapters.storage.owners import SqlTaskOwners
from adapters.storage.pins import SqlPins
from adapters.storage.registry import SqlAgentRegistry
from adapters.storage.runs import SqlRunStore
from adapters.storage.scratch import SqlScratchStore
from adapters.storage.starts import SqlStarts
from adapters.system import SortableIds, SystemClock
from adapters.tokens import VocabularyCounter
from gateway.app.accounts import ConnectedAccounts
from gateway.app.others import Others, among_others
from gateway.app.sections import Sections, configuration_folder
from gateway.app.storage import Storage, open_storage
from gateway.core.ports.world import Secret


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
    pins: SqlPins
    runs: SqlRunStore
    open_steps: SqlOpenSteps
    approvals: SqlApprovals
    scratch: SqlScratchStore
    notes: SqlNotes
    memory: SqlMemory
    costs: SqlCostLedger
    counter: VocabularyCounter
    dead_letters: SqlDeadLetters
    starts: SqlStarts
    archive: SqlRunArchive
    tokens: DelegationTokens
    authenticator: Authenticator
    accounts: ConnectedAccounts
    issuer: KeyIssuer
    operator: OperatorKey
    seal: Seal
    changes: Changes | None
    """What other gateways on the same database change; None where the data directory has it all."""
    others: Others
    postgres: Secret | None
    """The URL of that database."""

    def reached_at(self, url: str) -> None:
        """What clients and people call the gateway by, once it is known; before anything is made of it."""
        self.access_tokens.resource = Resource(url)
        self.accounts.connecting.base = self.access_tokens.resource.base

    @property
    def access_tokens(self) -> AccessTokens:
        """Whose access tokens are taken."""
        return self.authenticator.access_tokens


@asynccontextmanager
async def open_foundation(directory: DataDirectory, sections: Sections) -> AsyncGenerator[Foundation]:
    """Everything opened in `directory`, and where the sections say.

    Raises: Conflict: another gateway is at work there, or others on the database have other keys; InvalidRequest,
        Unavailable: a file or the database cannot be used.
    """
    directory.prepare()
    folder, settings = configuration_folder(sections), sections.audit
    clock, ids, secrets = SystemClock(), SortableIds(), SecretResolver(folder)
    async with AsyncExitStack() as stack:
        stack.enter_context(StorageLock(directory.lock))
        storage = await stack.enter_async_context(open_storage(directory, sections.storage, secrets, clock))
        database, changes = storage.rows, storage.changes
        costs = await stack.enter_async_context(open_costs(database))
        export = (folder / settings.export) if settings.export else None
        keys = load_or_create_audit_keys(directory.keys)
        audit = await stack.enter_async_context(
            open_audit(directory.audit_db, keys=keys, settings=settings, clock=clock, export=export, prefixes=("dbk_",))
        )
        open_steps, runs = SqlOpenSteps(database), SqlRunStore(database, None if database.shared else HeldRuns())
        await open_steps.load()
        tokens = DelegationTokens(storage.keys.delegation, clock=clock)
        authenticator, issuer = await _recognition(storage, tokens, open_steps, clock)
        others = await stack.enter_async_context(among_others(changes, ids.new("proc"), clock))
        if changes is not None:
            changes.on(KEYS, issuer.load)
            changes.each_time(runs.look)
        yield Foundation(
            directory=directory,
            clock=clock,
            ids=ids,
            secrets=secrets,
            tls=client_context(),
            audit=audit,
            effects=SqlEffectLedger(database, process=others.process),
            owners=SqlTaskOwners(database),
            registry=SqlAgentRegistry(database),
            pins=SqlPins(database),
            runs=runs,
            open_steps=open_steps,
            approvals=SqlApprovals(database),
            scratch=SqlScratchStore(storage.scratch),
            notes=SqlNotes(database),
            memory=SqlMemory(database),
            costs=costs,
            counter=VocabularyCounter(),
            dead_letters=SqlDeadLetters(database),
            starts=SqlStarts(database),
            archive=SqlRunArchive(database),
            tokens=tokens,
            authenticator=authenticator,
            accounts=ConnectedAccounts(SqlAccounts(database), SqlClaims(database), storage.keys.accounts, clock),
            issuer=issuer,
            operator=operator_key(directory.operator_key, new_key),
            seal=Seal(storage.keys.state, clock),
            changes=changes,
            others=others,
            postgres=storage.postgres,
        )


async def _recognition(
    storage: Storage,
    tokens: DelegationTokens,
    open_steps: SqlOpenSteps,
    clock: SystemClock,
) -> tuple[Authenticator, KeyIssuer]:
    """Who tells callers apart, and who mints what they are told apart by."""
    mint = KeyMint(storage.keys.pepper)
    authenticator = Authenticator(
        mint=mint,
        tokens=tokens,
        steps=open_steps,
        clock=clock,
        keys_are_current=None if storage.changes is None else partial(storage.changes.current, KEYS),
    )
    issuer = KeyIssuer(store=SqlKeyStore(storage.rows), mint=mint, authenticator=authenticator, clock=clock)
    await issuer.load()
    return authenticator, issuer
