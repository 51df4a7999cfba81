"""Which topics start workflows, by the configuration in force; each is served for as long as it says so."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import anyio
import structlog
from anyio.abc import TaskGroup

from adapters.events.door import MessageDoor
from adapters.events.intake import Intake
from adapters.events.settings import BusSettings
from gateway.app.sections import Sections
from gateway.core.errors import GatewayError
from gateway.core.json import json_from
from gateway.core.labels import CLEAN, Labels
from gateway.core.model import principal
from gateway.core.ports.bus import Bus
from gateway.orchestration.settings.blocks.started_by import StartSettings

log = structlog.get_logger(__name__)

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0
STOP_WITHIN_S = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class _Served:
    """A topic that is served."""

    intake: Intake
    bus: Bus
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    over: anyio.Event = field(default_factory=anyio.Event)


class Subscriptions:
    """Keeps topics that are served in step with the configuration."""

    def __init__(self, door: MessageDoor, bus: Callable[[str], Bus | None]) -> None:
        """`bus`: the bus of a slug, as it is now."""
        self._door = door
        self._bus = bus
        self._tasks: TaskGroup | None = None
        self._served: dict[str, _Served] = {}

    def start(self, tasks: TaskGroup, sections: Sections) -> None:
        """Serve in `tasks` from now on."""
        self._tasks = tasks
        self.apply(sections)

    def apply(self, sections: Sections) -> None:
        """Serve what these sections say: what stays the same is left alone, messages being taken in come again."""
        if self._tasks is None:
            return
        wanted = {intake.name: intake for intake in intakes(sections)}
        for name, served in tuple(self._served.items()):
            if wanted.get(name) != served.intake or self._bus(served.intake.bus) is not served.bus:
                self._served.pop(name).scope.cancel()
        for name, intake in wanted.items():
            bus = self._bus(intake.bus)
            if name not in self._served and bus is not None:
                self._served[name] = _Served(intake, bus)
                self._tasks.start_soon(self._serve, self._served[name])

    async def aclose(self) -> None:
        """Take in no more; what was not taken in is left to others. Bounded."""
        self._tasks = None
        served = (*self._served.values(),)
        self._served.clear()
        for each in served:
            each.scope.cancel()
        with anyio.move_on_after(STOP_WITHIN_S, shield=True):
            for each in served:
                await each.over.wait()

    async def _serve(self, served: _Served) -> None:
        pause_s, name = FIRST_RETRY_S, served.intake.name
        with served.scope:
            while True:
                began_s = anyio.current_time()
                try:
                    await self._door.serve(served.intake, served.bus)
                except GatewayError as error:
                    log.info("no messages are taken in for now", topic=name, reason=error.message)
                except Exception:
                    # A task boundary: one broker's library failing must not end what comes by the others.
                    log.exception("no messages are taken in for now", topic=name)
                if anyio.current_time() - began_s > LONGEST_RETRY_S:
                    pause_s = FIRST_RETRY_S
                await anyio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_RETRY_S)
        served.over.set()


def intakes(sections: Sections) -> Iterator[Intake]:
    """Every topic that starts a workflow."""
    for slug, workflow in sections.workflows.items():
        for start in workflow.started_by:
            yield _intake(sections, slug, start, sections.buses[start.bus])


def _intake(sections: Sections, workflow: str, start: StartSettings, bus: BusSettings) -> Intake:
    who = sections.principals[start.principal]
    untrusted = Labels(untrusted=frozenset({f"bus:{start.bus}/{start.topic}"}))
    return Intake(
        bus=start.bus,
        topic=start.topic,
        group=bus.group,
        dead_letters=bus.dead_letters,
        workflow=workflow,
        principal=principal(start.principal, kind=who.kind, tenant=who.tenant, roles=frozenset(who.roles)),
        labels=CLEAN if bus.trust == "trusted" else untrusted,
        input_schema=json_from(bus.topics[start.topic].input_schema),
        answers_to=start.answers_to or "",
        answers_worked=start.answers_to in bus.topics,
        concurrency=start.concurrency,
        body_bytes=start.body_bytes,
        json_depth=sections.limits.json_depth,
        patience_s=start.patience_s,
        lease_s=bus.lease_s,
    )
