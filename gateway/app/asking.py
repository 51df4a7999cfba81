"""How the people of a scenario ask: who they are, what they say, what they reply when they are asked back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio

from gateway.app.trial import TrialGateway, TrialWorld
from gateway.core.content import Content, Plain, plain
from gateway.core.errors import GatewayError, InvalidRequest
from gateway.core.json import Json, JsonObject
from gateway.core.limits import Budget
from gateway.core.model import (
    Accepted,
    Complete,
    Event,
    Principal,
    Request,
    Result,
    StatusChanged,
    TaskOpened,
    ignore_event,
    principal,
)
from gateway.core.task import TaskState
from gateway.testing.scenarios.assertions import Given
from gateway.testing.scenarios.files import TESTER
from gateway.testing.scenarios.settings import PersonaSettings, ScenarioSettings, TurnSettings

CONTEXT = "conversation"


@dataclass(slots=True)
class Asked:
    """One request of a scenario, and what is known of it so far. Outlives the gateway."""

    number: int
    turn: TurnSettings
    who: Principal
    run_id: str = ""
    replies: list[Json] = field(default_factory=list[Json])
    given: Given | None = None
    began_us: int = 0
    ended_us: int = 0


class Asking:
    """Asks the requests of one scenario, of whichever gateway process is up."""

    def __init__(self, world: TrialWorld, settings: ScenarioSettings) -> None:
        """Raises: InvalidRequest: it is not clear which workflow is asked."""
        self._world = world
        self._settings = settings
        self._workflow = settings.workflow or self._only_workflow()

    def requests(self) -> list[Asked]:
        """Every request, none of which has been asked. Raises: InvalidRequest: there is no such role."""
        return [self.request(number, turn) for number, turn in enumerate(self._settings.asked, start=1)]

    def request(self, number: int, turn: TurnSettings) -> Asked:
        """One request; its number tells it from others. Raises: InvalidRequest: there is no such role."""
        return Asked(number, turn, self.person(turn.by or self._settings.persona), replies=list(turn.replies))

    async def ask(self, gateway: TrialGateway, asked: Asked) -> None:
        """Ask, and note the answer; nothing where there is one. Returns no more once the gateway has died."""
        if asked.given is not None:
            return
        clock = self._world.clock
        asked.began_us = asked.began_us or clock.now_us()
        request = self._request(asked)

        async def watch(event: Event) -> None:
            if isinstance(event, TaskOpened):
                asked.run_id = event.task.id
            elif isinstance(event, StatusChanged) and event.state is TaskState.INPUT_REQUIRED:
                await self._reply(gateway, asked)

        try:
            result = await gateway.pipeline.call(request, watch)
        except GatewayError as error:
            if gateway.journal.crashed.is_set():
                await anyio.sleep_forever()
            asked.given = Given(error=error.message)
        else:
            if gateway.journal.crashed.is_set():
                await anyio.sleep_forever()
            asked.given = given_from(result)
        asked.ended_us = clock.now_us()

    def _request(self, asked: Asked) -> Request:
        turn, world = asked.turn, self._world
        said: JsonObject = {"message": turn.say}
        if turn.data is not None:
            said["data"] = turn.data
        meta: JsonObject = {"message_id": f"turn {asked.number}", "context_id": CONTEXT}
        return Request(
            id=world.ids.new("req"),
            principal=asked.who,
            capability=f"workflow:{turn.workflow or self._workflow}",
            operation="call",
            budget=Budget(
                deadline_s=world.clock.monotonic_s() + self._settings.within_s, depth=world.sections.limits.depth
            ),
            body=Plain(Content(structured=said)),
            protocol="mcp",
            meta=meta,
        )

    async def _reply(self, gateway: TrialGateway, asked: Asked) -> None:
        """Answer the question of a run, if it is one that is open: events of earlier processes come again."""
        run = self._world.runs.runs.get(asked.run_id)
        if run is None or run.state != TaskState.INPUT_REQUIRED.value or not asked.replies:
            return
        reply = asked.replies.pop(0)
        meta: JsonObject = {
            "task": run.id,
            "message_id": f"turn {asked.number} reply {len(asked.replies)}",
            "return_immediately": True,
        }
        request = Request(
            id=self._world.ids.new("req"),
            principal=asked.who,
            capability=f"workflow:{asked.turn.workflow or self._workflow}",
            operation="call",
            budget=Budget(deadline_s=self._world.clock.monotonic_s() + self._settings.within_s),
            body=plain(reply),
            protocol="mcp",
            meta=meta,
        )
        await gateway.pipeline.call(request, ignore_event)

    def person(self, said: PersonaSettings | None) -> Principal:
        """Who that is. Raises: InvalidRequest: the configuration knows no such role."""
        sections = self._world.sections
        if said is None:
            roles = frozenset({TESTER}) if TESTER in sections.roles else frozenset(sections.roles)
            return principal(TESTER, roles=roles)
        unknown = [role for role in said.roles if role not in sections.roles]
        if unknown and not _asked_for_approval(self._settings, unknown):
            raise InvalidRequest(
                f"{said.subject} has the role {unknown[0]}, which the configuration does not know; it has "
                f"{', '.join(sorted(sections.roles)) or 'none'}"
            )
        known = sections.principals.get(said.subject)
        if known is not None and not said.roles:
            return principal(said.subject, kind=known.kind, tenant=known.tenant, roles=frozenset(known.roles))
        roles = frozenset(said.roles)
        if not roles and TESTER in sections.roles:
            roles = frozenset({TESTER})
        return principal(said.subject, kind=said.kind, tenant=said.tenant, roles=roles)

    def _only_workflow(self) -> str:
        names = sorted(self._world.sections.workflows)
        if len(names) != 1 and any(not each.workflow for each in self._settings.asked):
            known = ", ".join(names) or "none"
            raise InvalidRequest(f"say which `workflow` is asked: the configuration has {known}")
        return names[0] if names else ""


def given_from(result: Result) -> Given:
    """What a request was answered with."""
    if isinstance(result, Accepted):
        return Given(error="it goes on by itself, and gave no answer")
    content = result.body.content()
    structured: Mapping[str, Json] = content.structured if isinstance(content.structured, dict) else {}
    failed = ""
    if isinstance(result, Complete) and result.is_error:
        said = structured.get("error")
        failed = said if isinstance(said, str) and said else content.text or "it failed"
    return Given(structured=dict(structured), text=content.text, error=failed, labels=result.labels.to_json())


def _asked_for_approval(settings: ScenarioSettings, roles: list[str]) -> bool:
    """Roles that only answer approvals need not be written down: nothing is granted to them."""
    return all(any(role in each.by.roles for turn in settings.asked for each in turn.approvals) for role in roles)
