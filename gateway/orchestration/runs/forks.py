"""New runs made from runs that have ended: with what was done before a step taken over, or from the beginning.

What is taken over stays what it was: records, step ids, and with them the keys of effects. From the step on, everything
gets ids of the new run, so nobody takes its messages for repeats. The new run's clock goes on where the step began.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from gateway.core.errors import Conflict, Exhausted, NotFound
from gateway.core.json import JsonObject, json_list, json_object, json_text
from gateway.core.ports.journal import Recorded, Write
from gateway.core.ports.runs import Run, RunStep
from gateway.core.task import TaskState
from gateway.orchestration.records.events import progress_body
from gateway.orchestration.records.spec import RunSpec, spec_from_json
from gateway.orchestration.wiring import Wiring

_CLAIMED, _RELEASED, _PUT = "scratchpad.claim:", "scratchpad.release:", "scratchpad.put:"
_BY_AGENTS = "put "
"""How names of writes begin that an agent made itself while it was at work."""


class Forks:
    """Makes runs from others, whoever has checked that the asker may."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    async def fork(self, run: Run, step: str) -> Run:
        """A new run that has done everything before `step`, and does the rest anew.

        `step` is a step's id, `RUN/2/refund`, or what follows the run in it. Of steps drawn together with it, those
        that succeeded and did not need it are taken over as well.

        Raises: NotFound: there is no such step; Conflict: the run is under way, what would be taken over was undone,
            or another run holds what it had claimed; Exhausted; Unavailable.
        """
        self._refuse_unfit(run)
        rows = await self._wiring.runs.steps(run.id)
        step_id = _step_id(run, step, rows)
        recorded = await self._wiring.journal.recorded(run.id)
        return await self._from_step(run, step_id, rows, taken_over(recorded, step_id), recorded)

    async def retried(self, run: Run, as_run: str) -> Run:
        """A new run in the place of one that failed: it goes on where the failure began. Asked for again under the same
        id, it is the same.

        What failed is tried again as the same step towards effects. Where what was done has been undone, all of it is
        begun again, as new steps; where no step failed, as further attempts at the same ones.

        Raises: Conflict: the run is under way; another run holds what it had claimed; Exhausted; Unavailable.
        """
        begun = await self._wiring.runs.find(run.tenant, as_run)
        if begun is not None and await self._wiring.journal.state(as_run):
            return begun
        if undone(run):
            return await self._from_beginning(run, (), as_run)
        self._refuse_unfit(run)
        rows = await self._wiring.runs.steps(run.id)
        recorded = await self._wiring.journal.recorded(run.id)
        failed = last_failed(recorded)
        if not failed:
            return await self._from_beginning(run, _steps(recorded, lambda slot: True), as_run)
        slots = taken_over(recorded, failed)
        return await self._from_step(run, failed, rows, slots, recorded, as_run)

    async def _from_step(
        self,
        run: Run,
        step_id: str,
        rows: Collection[RunStep],
        slots: tuple[int, ...],
        recorded: Mapping[int, Recorded],
        retried_as: str = "",
    ) -> Run:
        group = _group(recorded, step_id)
        began = min((row.started_at_us for row in rows if row.id == step_id), default=run.updated_at_us)
        held_us = run.held_us + max(0, self._wiring.clock.now_us() - began)
        spec = spec_from_json(dict(run.spec))
        redone = _steps(recorded, lambda slot: slot not in slots and _drawn(recorded[slot]).get("group") == group)
        made = replace(
            spec,
            run_id=retried_as or self._wiring.ids.new("run"),
            origin=run.id,
            origin_step=step_id,
            homes=_homes(spec, slots),
            redone=redone if retried_as else (),
            parent_run="",
            parent_step="",
        )
        await self._claim(made, spec.deadline_at_us + held_us, {slot: recorded[slot] for slot in slots})
        writes = await self._wiring.scratch.writes(run.id)
        await self._wiring.scratch.copy(run.id, made.run_id, _written(writes, {n: recorded[n] for n in slots}))
        return await self._begun(run, made, held_us, f"goes on from {step_id} of {run.id}")

    async def _from_beginning(self, run: Run, redone: tuple[int, ...], run_id: str) -> Run:
        held_us = max(0, self._wiring.clock.now_us() - run.created_at_us)
        spec = spec_from_json(dict(run.spec))
        made = replace(spec, run_id=run_id, origin=run.id, homes={}, redone=redone, parent_run="", parent_step="")
        return await self._begun(run, made, held_us, f"begins {run.id} again")

    def _refuse_unfit(self, run: Run) -> None:
        if not TaskState(run.state).terminal:
            raise Conflict(f"run {run.id} is under way: cancel it first", detail={"state": run.state})
        if undone(run):
            raise Conflict(
                f"run {run.id} has undone what it did: nothing can be taken over from it; begin it again with "
                "`drawbridge dead retry`",
                detail={"state": run.state},
            )

    async def _claim(self, made: RunSpec, until_us: int, taken: Mapping[int, Recorded]) -> None:
        """What the steps taken over had claimed, the new run holds again. Raises: Conflict: another run does."""
        scratch, now_us = self._wiring.scratch, self._wiring.clock.now_us()
        for resource, ttl_s in _claims(taken).items():
            until = until_us if ttl_s is None else now_us + int(ttl_s * 1e6)
            if not await scratch.claim(made.tenant, made.run_id, resource, until_us=until, now_us=now_us):
                await scratch.release_all(made.run_id)
                raise Conflict(f"{resource} is claimed by another run", detail={"resource": resource})

    async def _begun(self, run: Run, spec: RunSpec, held_us: int, said: str) -> Run:
        wiring, now_us = self._wiring, self._wiring.clock.now_us()
        made = await wiring.runs.open(
            Run(
                id=spec.run_id,
                workflow=run.workflow,
                tenant=run.tenant,
                owner=run.owner,
                state=TaskState.SUBMITTED.value,
                context_id=run.context_id,
                created_at_us=now_us,
                updated_at_us=now_us,
                input=run.input,
                spec=spec.to_json(),
                held_us=held_us,
            )
        )
        detail: JsonObject = {"event": "forked", "run": run.id, "step": spec.origin_step}
        await wiring.runs.append(made.id, "forked", progress_body(said, detail), now_us)
        try:
            await start(wiring, made)
        except (Exhausted, NotFound) as error:
            # It holds nothing, and nobody waits for it: not the one who asked, who is told why, nor any old effects.
            await wiring.scratch.release_all(made.id)
            await wiring.runs.update(made.id, state=TaskState.REJECTED.value, at_us=now_us, error=error.message)
            raise
        if made.state == TaskState.REJECTED.value:
            await wiring.runs.update(made.id, state=TaskState.WORKING.value, at_us=now_us)
        return made


async def start(wiring: Wiring, run: Run) -> None:
    """Have the engine accept a run, with what it takes over from another. Raises: Exhausted; Unavailable; NotFound."""
    spec = spec_from_json(dict(run.spec))
    if spec.parent_run:
        await wiring.scratch.belongs(spec.run_id, spec.parent_run)
    if spec.homes:
        slots = [slot for taken in spec.homes.values() for slot in taken]
        await wiring.journal.fork(run.id, spec.to_json(), origin=spec.origin, slots=slots, tenant=run.tenant)
    else:
        await wiring.journal.start(run.id, spec.to_json(), parent=spec.parent_run, tenant=run.tenant)


def undone(run: Run) -> bool:
    """Whether the run failed and made undone what it had done."""
    structured = json_object(json_object(json_object(run.output).get("content")).get("structured"))
    return bool(json_list(structured.get("undone")))


def taken_over(recorded: Mapping[int, Recorded], step_id: str) -> tuple[int, ...]:
    """Slots whose records a fork from this step takes over. Pure.

    All where the step never ended: whatever is recorded was drawn before it or beside it.
    """
    group = _group(recorded, step_id)
    if group is None:
        return tuple(sorted(recorded))
    anew = {step_id}
    slots: list[int] = []
    for slot in sorted(recorded):
        record, drawn = recorded[slot], _drawn(recorded[slot])
        if slot < group:
            slots.append(slot)
        elif drawn.get("group") == group:
            name = json_text(record.result.get("id"))
            if name in anew or anew.intersection(map(str, json_list(drawn.get("given")))):
                anew.add(name)
            elif record.result.get("ok") is True:
                slots.append(slot)
    return tuple(slots)


def last_failed(recorded: Mapping[int, Recorded]) -> str:
    """Id of the step drawn last of those whose last attempt failed; empty where none did. Pure."""
    ends: dict[str, bool] = {}
    for slot in sorted(recorded):
        result = recorded[slot].result
        if (name := json_text(result.get("id"))) and "ok" in result:
            ends.pop(name, None)
            ends[name] = result["ok"] is True
    return next((name for name, ok in reversed(ends.items()) if not ok), "")


def _group(recorded: Mapping[int, Recorded], step_id: str) -> int | None:
    """Slot of the first of those that were drawn together with the step; None where it never ended."""
    first = next((slot for slot in sorted(recorded) if recorded[slot].result.get("id") == step_id), None)
    if first is None:
        return None
    group = _drawn(recorded[first]).get("group")
    return group if isinstance(group, int) else first


def _steps(recorded: Mapping[int, Recorded], wanted: Callable[[int], bool]) -> tuple[int, ...]:
    return tuple(slot for slot in sorted(recorded) if "ok" in recorded[slot].result and wanted(slot))


def _drawn(record: Recorded) -> JsonObject:
    return json_object(record.result.get("drawn"))


def _homes(spec: RunSpec, slots: Collection[int]) -> Mapping[str, tuple[int, ...]]:
    homes: dict[str, tuple[int, ...]] = {}
    for slot in slots:
        home = spec.home(slot)
        homes[home] = (*homes.get(home, ()), slot)
    return homes


def _step_id(run: Run, step: str, rows: Collection[RunStep]) -> str:
    known = {row.id for row in rows}
    for step_id in (step, f"{run.id}/{step}"):
        if step_id in known:
            return step_id
    raise NotFound(f"run {run.id} has no step {step}; it has {', '.join(sorted(known)) or 'none'}")


def _claims(taken: Mapping[int, Recorded]) -> dict[str, float | None]:
    """What was claimed and not released, and for how long, seconds; None: until the run's end."""
    claims: dict[str, float | None] = {}
    for _, record in sorted(taken.items()):
        ttl_s = record.result.get("ttl_s")
        if record.name.startswith(_CLAIMED) and record.result.get("claimed") is True:
            claims[record.name.removeprefix(_CLAIMED)] = float(ttl_s) if isinstance(ttl_s, int | float) else None
        elif record.name.startswith(_RELEASED):
            claims.pop(record.name.removeprefix(_RELEASED), None)
        for resource in json_list(_drawn(record).get("claims")):
            claims[str(resource)] = None
    return claims


def _written(writes: Collection[Write], taken: Mapping[int, Recorded]) -> list[str]:
    """Names of the writes made in these slots: by the pattern, by steps as they ended, by agents at work."""
    puts = {f"slot {slot}" for slot, record in taken.items() if record.name.startswith(_PUT)}
    messages = {json_text(_drawn(record).get("message")) for record in taken.values()} - {""}
    steps = {json_text(record.result.get("id")) for record in taken.values()} - {""}
    return [
        write.once
        for write in writes
        if write.once in puts
        or write.once.removesuffix(f" {write.key}") in messages
        or (write.once.startswith(_BY_AGENTS) and write.writer in steps)
    ]
