"""The tables of what runs claim outside, and their statements. Knows no transaction.

A resource is claimed by a job: a run with all that are nested in it. Of those several may need the same one, and it is
free again when the last of them has given it back.
"""

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    Connection,
    Index,
    MetaData,
    Table,
    and_,
    bindparam,
    delete,
    insert,
    literal,
    select,
    update,
)

from adapters.storage.columns import TEXT

HELD_US = 2**52
"""What is added to the end of a claim while its run is paused: later than any time there is, and than any twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a run asks for."""

    tenant: str
    resource: str
    run_id: str
    until_us: int


class ClaimTables:
    """Among `tables`."""

    def __init__(self, tables: MetaData) -> None:
        self._claims = Table(
            "claims",
            tables,
            Column("tenant", TEXT, primary_key=True),
            Column("resource", TEXT, primary_key=True),
            # The outermost run.
            Column("run_id", TEXT, nullable=False),
            Column("until_us", BigInteger, nullable=False),
            Index("claims_by_run", "run_id"),
        )
        self._claimants = Table(
            "claimants",
            tables,
            Column("run_id", TEXT, primary_key=True),
            Column("tenant", TEXT, primary_key=True),
            Column("resource", TEXT, primary_key=True),
            Index("claimants_by_resource", "tenant", "resource"),
        )
        self._jobs = Table(
            "jobs",
            tables,
            Column("run_id", TEXT, primary_key=True),
            Column("outermost", TEXT, nullable=False),
        )
        self._prepare()

    def _prepare(self) -> None:
        run: BindParameter[str] = bindparam("of_run")
        tenant: BindParameter[str] = bindparam("of_tenant")
        resource: BindParameter[str] = bindparam("of_resource")
        claims, claimants, jobs = self._claims, self._claimants, self._jobs
        claimed = and_(claims.c.tenant == tenant, claims.c.resource == resource)
        by_anyone = and_(claimants.c.tenant == tenant, claimants.c.resource == resource)
        by_run = (
            select(literal(1))
            .where(
                claimants.c.run_id == run,
                claimants.c.tenant == claims.c.tenant,
                claimants.c.resource == claims.c.resource,
            )
            .exists()
        )
        self._outermost = select(jobs.c.outermost).where(jobs.c.run_id == run)
        self._join = insert(jobs)
        self._leave_job = delete(jobs).where(jobs.c.run_id == run)
        self._claimed = select(claims).where(claimed)
        self._take = insert(claims)
        self._move = update(claims).where(claimed)
        self._free = delete(claims).where(claimed)
        self._claimants_of = select(claimants.c.run_id).where(by_anyone)
        self._need = insert(claimants)
        self._clear = delete(claimants).where(by_anyone)
        self._mine = select(claimants.c.tenant, claimants.c.resource).where(claimants.c.run_id == run)
        self._all = select(claimants.c.run_id).distinct()
        self._leave = delete(claimants).where(by_anyone, claimants.c.run_id == run)
        self._hold = update(claims).where(by_run, claims.c.until_us < HELD_US)
        self._hold = self._hold.values(until_us=claims.c.until_us + HELD_US)
        self._go_on = update(claims).where(by_run, claims.c.until_us >= HELD_US)
        self._go_on = self._go_on.values(until_us=claims.c.until_us - HELD_US + bindparam("held_us"))

    def add_claimants(self, connection: Connection) -> None:
        """To a file in which there was none but whoever is named in the claim."""
        self._claimants.create(connection)
        self._jobs.create(connection)
        columns = self._claims.c
        known = select(columns.run_id, columns.tenant, columns.resource)
        connection.execute(insert(self._claimants).from_select(["run_id", "tenant", "resource"], known))

    def join(self, connection: Connection, run_id: str, other: str) -> None:
        """Make a run part of the job another one belongs to, or is."""
        if self._job(connection, run_id) == run_id:
            connection.execute(self._join, {"run_id": run_id, "outermost": self._job(connection, other)})

    def take(self, connection: Connection, claim: Claim, now_us: int) -> bool:
        """Whether the run has it now."""
        place = {"of_tenant": claim.tenant, "of_resource": claim.resource}
        mine = {"run_id": claim.run_id, "tenant": claim.tenant, "resource": claim.resource}
        job = self._job(connection, claim.run_id)
        held = connection.execute(self._claimed, place).mappings().first()
        if held is None:
            taken = {"run_id": job, "until_us": claim.until_us}
            connection.execute(self._take, {"tenant": claim.tenant, "resource": claim.resource, **taken})
            connection.execute(self._need, mine)
            return True
        if held["run_id"] != job:
            if held["until_us"] > now_us:
                return False
            connection.execute(self._clear, place)
        known = frozenset(connection.execute(self._claimants_of, place).scalars())
        until_us = max(held["until_us"], claim.until_us) if known - {claim.run_id} else claim.until_us
        if held["run_id"] == job and held["until_us"] >= HELD_US > until_us:
            until_us += HELD_US
        connection.execute(self._move, {**place, "run_id": job, "until_us": until_us})
        if claim.run_id not in known:
            connection.execute(self._need, mine)
        return True

    def claiming(self, connection: Connection) -> set[str]:
        """The runs that have claimed something."""
        return set(connection.execute(self._all).scalars())

    def give_back(self, connection: Connection, run_id: str, only: tuple[str, str] | None = None) -> None:
        """What the run has claimed, or `only` one (tenant, resource) of it."""
        for tenant, resource in connection.execute(self._mine, {"of_run": run_id}).all():
            if only is None or (tenant, resource) == only:
                self._left(connection, {"of_tenant": tenant, "of_resource": resource}, run_id)

    def hold(self, connection: Connection, run_id: str) -> None:
        """Nothing the run has claimed lapses until it goes on."""
        connection.execute(self._hold, {"of_run": run_id})

    def let_go_on(self, connection: Connection, run_id: str, held_us: int) -> None:
        """What was held lapses, and as much later as it was held."""
        connection.execute(self._go_on, {"of_run": run_id, "held_us": held_us})

    def forget(self, connection: Connection, run_id: str) -> None:
        self.give_back(connection, run_id)
        connection.execute(self._leave_job, {"of_run": run_id})

    def _left(self, connection: Connection, place: dict[str, str], run_id: str) -> None:
        connection.execute(self._leave, {**place, "of_run": run_id})
        held = connection.execute(self._claimed, place).mappings().first()
        if held is None:
            return
        if connection.execute(self._claimants_of, place).first() is None:
            connection.execute(self._free, place)
        else:
            # Whoever claims it at this moment in another process meets this one here.
            connection.execute(self._move, {**place, "run_id": held["run_id"], "until_us": held["until_us"]})

    def _job(self, connection: Connection, run_id: str) -> str:
        return connection.execute(self._outermost, {"of_run": run_id}).scalar() or run_id
