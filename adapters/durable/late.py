"""A journal that is not there before somebody needs it: gateways without workflows neither load nor run an engine."""

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from gateway.core.errors import Unavailable
from gateway.core.json import Json, JsonObject
from gateway.core.ports.journal import Journal, Recorded, RunBody, Slot

MakeJournal: TypeAlias = Callable[[], Journal]


class LateJournal:
    """See `ports.journal.Journal`. Made by `make` when it is launched; until then there are no runs."""

    def __init__(self, make: MakeJournal) -> None:
        self._make = make
        self._made: Journal | None = None

    @property
    def launched(self) -> bool:
        return self._made is not None

    async def launch(self, body: RunBody) -> None:
        journal = self._make()
        await journal.launch(body)
        self._made = journal

    async def aclose(self) -> None:
        if self._made is not None:
            await self._made.aclose()

    async def start(self, run_id: str, spec: JsonObject, *, parent: str = "", tenant: str = "") -> None:
        await self._journal.start(run_id, spec, parent=parent, tenant=tenant)

    async def wait(self, run_id: str) -> JsonObject:
        return await self._journal.wait(run_id)

    def holds(self) -> bool:
        return self._made is None or self._made.holds()

    def executes(self, run_id: str) -> bool:
        return self._made is not None and self._made.executes(run_id)

    async def state(self, run_id: str) -> str:
        return await self._journal.state(run_id)

    async def spec(self, run_id: str) -> "JsonObject | None":
        return await self._journal.spec(run_id)

    async def cancel(self, run_id: str) -> None:
        await self._journal.cancel(run_id)

    async def resume(self, run_id: str) -> None:
        await self._journal.resume(run_id)

    def draw(self) -> Slot:
        return self._journal.draw()

    async def receive(self, topic: str, timeout_s: float) -> Json:
        return await self._journal.receive(topic, timeout_s)

    async def send(self, run_id: str, topic: str, message: Json, key: str) -> None:
        await self._journal.send(run_id, topic, message, key)

    async def fork(
        self, run_id: str, spec: JsonObject, *, origin: str, slots: Collection[int], tenant: str = ""
    ) -> None:
        await self._journal.fork(run_id, spec, origin=origin, slots=slots, tenant=tenant)

    async def recorded(self, run_id: str) -> Mapping[int, Recorded]:
        return await self._journal.recorded(run_id)

    async def attempts(self, run_id: str, step_id: str) -> tuple[JsonObject, ...]:
        return await self._journal.attempts(run_id, step_id)

    async def given_up(self, skip: int = 0) -> tuple[str, ...]:
        return () if self._made is None else await self._made.given_up(skip)

    async def forget(self, run_ids: Collection[str]) -> frozenset[str]:
        return frozenset() if self._made is None else await self._made.forget(run_ids)

    @property
    def _journal(self) -> Journal:
        if self._made is None:
            raise Unavailable("the durable engine is not running: no workflow is configured")
        return self._made
