"""The scratchpad as a pattern sees it: every look and every write is a place in the journal.

A look would otherwise show something else on replay, and a write would happen twice. The store records the outcome of a
write together with it, so that a crash between the two files changes nothing.
"""

from collections.abc import Mapping

from gateway.core.errors import Conflict
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.labels import CLEAN, Labels, labels_from_json
from gateway.core.ports.scratchpad import Entry
from gateway.orchestration.running.context import RunContext
from gateway.orchestration.running.persistence import persistently


class RunScratchpad:
    """See `Scratchpad`."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._id = run.spec.run_id

    async def get(self, key: str) -> Entry | None:
        async def act() -> JsonObject:
            entry = await persistently(lambda: self._run.wiring.scratch.get(self._id, key))
            return {"entry": None if entry is None else entry_to_json(entry)}

        found = (await self._run.wiring.journal.draw().run(f"scratchpad.get:{key}", act))["entry"]
        return None if found is None else entry_from_json(found)

    async def all(self) -> Mapping[str, Entry]:
        async def act() -> JsonObject:
            entries = await persistently(lambda: self._run.wiring.scratch.all(self._id))
            return {"entries": [entry_to_json(entry) for entry in entries.values()]}

        found = await self._run.wiring.journal.draw().run("scratchpad.all", act)
        entries = [entry_from_json(each) for each in json_list(found["entries"])]
        return {entry.key: entry for entry in entries}

    async def put(
        self, key: str, value: Json, *, expected_version: int | None, writer: str = "", labels: Labels = CLEAN
    ) -> Entry:
        slot = self._run.wiring.journal.draw()
        entry = Entry(key=key, value=value, version=0, writer=writer, labels=labels)

        async def act() -> JsonObject:
            try:
                stored = await persistently(
                    lambda: self._run.wiring.scratch.put(
                        self._id, entry, expected_version=expected_version, once=f"slot {slot.number}"
                    )
                )
            except Conflict as conflict:
                return {"conflict": conflict.message, "detail": conflict.detail}
            return {"entry": entry_to_json(stored)}

        outcome = await slot.run(f"scratchpad.put:{key}", act)
        if "entry" in outcome:
            return entry_from_json(outcome["entry"])
        raise Conflict(json_text(outcome["conflict"]), detail=json_object(outcome["detail"]))

    async def claim(self, resource: str, *, ttl_s: float) -> bool:
        async def act() -> JsonObject:
            now_us = self._run.wiring.clock.now_us()
            until_us = now_us + int(ttl_s * 1e6)
            tenant = self._run.spec.tenant
            claimed = await self._run.wiring.scratch.claim(tenant, self._id, resource, until_us=until_us, now_us=now_us)
            return {"claimed": claimed, "ttl_s": ttl_s}

        return (await self._run.wiring.journal.draw().run(f"scratchpad.claim:{resource}", act))["claimed"] is True

    async def release(self, resource: str) -> None:
        async def act() -> JsonObject:
            await persistently(lambda: self._run.wiring.scratch.release(self._run.spec.tenant, self._id, resource))
            return {}

        await self._run.wiring.journal.draw().run(f"scratchpad.release:{resource}", act)


def entry_to_json(entry: Entry) -> JsonObject:
    return {
        "key": entry.key,
        "value": entry.value,
        "version": entry.version,
        "writer": entry.writer,
        "labels": entry.labels.to_json(),
    }


def entry_from_json(value: Json) -> Entry:
    """See `entry_to_json`."""
    fields = json_object(value)
    version = fields.get("version")
    return Entry(
        key=json_text(fields.get("key")),
        value=fields.get("value"),
        version=version if isinstance(version, int) else 0,
        writer=json_text(fields.get("writer")),
        labels=labels_from_json(fields.get("labels")),
    )
