"""What runs of a workflow keep for later runs of it: where it stands, and how it is written and read."""

from functools import partial

from gateway.core.json import Json
from gateway.core.ports.orchestration import Note, Whose
from gateway.core.ports.runs import NotePlace
from gateway.orchestration.records.spec import RunSpec
from gateway.orchestration.running.context import RunContext
from gateway.orchestration.running.persistence import persistently


async def keep(run: RunContext, note: Note) -> None:
    """Write the note where later runs of the workflow find it."""
    place = _place(run.spec, note.topic, note.key, note.whose)
    at_us = run.wiring.clock.now_us()
    until_us = at_us + int(note.ttl_s * 1e6)
    await persistently(partial(run.wiring.notes.put, place, note.id, note.value, at_us=at_us, until_us=until_us))


async def kept(run: RunContext, topic: str, key: str, whose: Whose, limit: int) -> list[Json]:
    """Values noted there, newest first."""
    place = _place(run.spec, topic, key, whose)
    get = partial(run.wiring.notes.get, place, now_us=run.wiring.clock.now_us(), limit=limit)
    return [*await persistently(get)]


def _place(spec: RunSpec, topic: str, key: str, whose: Whose) -> NotePlace:
    owner = spec.caller.first.subject if whose == "caller" else ""
    return NotePlace(tenant=spec.tenant, workflow=spec.workflow, owner=owner, topic=topic, key=key)
