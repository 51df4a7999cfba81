"""One scenario, run once: its requests asked, its people answering, its gateway dying, and what came of it all."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import anyio
from anyio import to_thread

from adapters.tokens import VocabularyCounter
from adapters.virtual_time import VirtualLoop, virtual_clock
from gateway.app.sections import Sections
from gateway.app.stand_ins import stand_ins
from gateway.app.trial import Neighbour, TrialGateway, TrialWorld, trial_gateway
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
from gateway.core.ports.approvals import Approval
from gateway.core.task import TaskState
from gateway.testing.scenarios.assertions import Finding, Given, findings, unexpected_failure
from gateway.testing.scenarios.faulty import ordered
from gateway.testing.scenarios.files import TESTER, Scenario
from gateway.testing.scenarios.report import TrialReport
from gateway.testing.scenarios.seeds import SeededIds
from gateway.testing.scenarios.settings import ApprovalSettings, PersonaSettings, ScenarioSettings, TurnSettings
from gateway.testing.scenarios.trace import Told, Trace, trace_from
from gateway.testing.scenarios.upstreams import Cast

CONTEXT = "conversation"
LOOK_EVERY_S = 0.05
"""How often people look whether somebody asks them, seconds of the scenario's clock."""
REAL_S = 120.0
"""How long a whole scenario may take, real seconds: only a scenario that never ends does."""
_ROOT = "the one who looks"


@dataclass(slots=True)
class _Asked:
    """One request of a scenario, and what is known of it so far."""

    number: int
    turn: TurnSettings
    who: Principal
    run_id: str = ""
    replies: list[Json] = field(default_factory=list[Json])
    given: Given | None = None
    began_us: int = 0
    ended_us: int = 0


def run_trial(scenario: Scenario, sections: Sections, seed: int, counter: VocabularyCounter) -> TrialReport:
    """The scenario, run once in virtual time; everything in it that is drawn follows from `seed`.

    Raises: InvalidRequest: it fits the configuration not.
    """
    former = random.getstate()
    random.seed(seed)
    try:
        return anyio.run(
            partial(_in_virtual_time, scenario, sections, seed, counter), backend_options={"loop_factory": VirtualLoop}
        )
    finally:
        random.setstate(former)


async def _in_virtual_time(
    scenario: Scenario, sections: Sections, seed: int, counter: VocabularyCounter
) -> TrialReport:
    settings = scenario.settings
    cast = Cast.of(scenario.mocks, seed)
    neighbours: list[Neighbour] = [*await stand_ins(sections, scenario.mocks, cast)]
    world = TrialWorld(
        sections=sections,
        neighbours=neighbours,
        cast=cast,
        faults=ordered(settings.faults, seed),
        kills=list(settings.kill_gateway_at),
        clock=virtual_clock(to_thread.current_default_thread_limiter()),
        ids=SeededIds(),
        counter=counter,
    )
    return await Trial(scenario, world, seed).run()


class Trial:
    """One run of one scenario."""

    def __init__(self, scenario: Scenario, world: TrialWorld, seed: int) -> None:
        self._scenario = scenario
        self._settings: ScenarioSettings = scenario.settings
        self._world = world
        self._seed = seed
        self._epoch_us = world.clock.now_us()
        self._asked = [
            _Asked(number, turn, self._person(turn.by or self._settings.persona), replies=list(turn.replies))
            for number, turn in enumerate(self._settings.asked, start=1)
        ]
        self._approving = [(asked, each) for asked in self._asked for each in asked.turn.approvals]

    async def run(self) -> TrialReport:
        """What came of it. Raises: InvalidRequest: it cannot be run."""
        workflow = self._settings.workflow or self._only_workflow()
        while any(each.given is None for each in self._asked):
            await self._process(workflow)
        explanations = [await self._told(each) for each in self._asked]
        wrong: list[Finding] = []
        for asked, told in zip(self._asked, explanations, strict=True):
            wrong += self._wrong_with(asked, told)
        return self._report(wrong, [each for each in explanations if each is not None])

    async def _process(self, workflow: str) -> None:
        """One gateway process: to the end of every request, or to its own."""
        async with trial_gateway(self._world) as gateway, anyio.create_task_group() as tasks:

            async def to_the_end() -> None:
                if self._settings.side_by_side:
                    async with anyio.create_task_group() as turns:
                        for each in self._asked:
                            turns.start_soon(self._ask, gateway, workflow, each)
                else:
                    for each in self._asked:
                        await self._ask(gateway, workflow, each)
                tasks.cancel_scope.cancel()

            tasks.start_soon(to_the_end)
            tasks.start_soon(self._people, gateway)
            await gateway.journal.crashed.wait()
            tasks.cancel_scope.cancel()

    async def _ask(self, gateway: TrialGateway, workflow: str, asked: _Asked) -> None:
        if asked.given is not None:
            return
        clock = self._world.clock
        asked.began_us = asked.began_us or clock.now_us()
        request = self._request(workflow, asked)

        async def watch(event: Event) -> None:
            if isinstance(event, TaskOpened):
                asked.run_id = event.task.id
            elif isinstance(event, StatusChanged) and event.state is TaskState.INPUT_REQUIRED:
                await self._reply(gateway, workflow, asked)

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

    def _request(self, workflow: str, asked: _Asked) -> Request:
        turn, world = asked.turn, self._world
        said: JsonObject = {"message": turn.say}
        if turn.data is not None:
            said["data"] = turn.data
        meta: JsonObject = {"message_id": f"turn {asked.number}", "context_id": CONTEXT}
        return Request(
            id=world.ids.new("req"),
            principal=asked.who,
            capability=f"workflow:{turn.workflow or workflow}",
            operation="call",
            budget=Budget(
                deadline_s=world.clock.monotonic_s() + self._settings.within_s, depth=world.sections.limits.depth
            ),
            body=Plain(Content(structured=said)),
            protocol="mcp",
            meta=meta,
        )

    async def _reply(self, gateway: TrialGateway, workflow: str, asked: _Asked) -> None:
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
            capability=f"workflow:{asked.turn.workflow or workflow}",
            operation="call",
            budget=Budget(deadline_s=self._world.clock.monotonic_s() + self._settings.within_s),
            body=plain(reply),
            protocol="mcp",
            meta=meta,
        )
        await gateway.pipeline.call(request, ignore_event)

    async def _people(self, gateway: TrialGateway) -> None:
        """Answer what runs ask of roles, for as long as the process lives."""
        while self._approving:
            pending = [each for each in self._world.approvals.kept.values() if each.state == "pending"]
            for approval in pending:
                await self._decide(gateway, approval)
            await anyio.sleep(LOOK_EVERY_S)

    async def _decide(self, gateway: TrialGateway, approval: Approval) -> None:
        for place, (_, said) in enumerate(self._approving):
            if not said.role or said.role == approval.role:
                del self._approving[place]
                await self._answer(gateway, approval, said)
                return

    async def _answer(self, gateway: TrialGateway, approval: Approval, said: ApprovalSettings) -> None:
        who = self._person(said.by)
        state = "approved" if said.approve else "denied"
        try:
            await gateway.orchestrator.approving.answer(who, approval.id, state, value=said.value, comment=said.comment)
        except GatewayError as error:
            raise InvalidRequest(f"{who.subject} may not answer {approval.prompt!r}: {error.message}") from error

    def _person(self, said: PersonaSettings | None) -> Principal:
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
        if len(names) != 1 and any(not each.turn.workflow for each in self._asked):
            known = ", ".join(names) or "none"
            raise InvalidRequest(f"say which `workflow` is asked: the configuration has {known}")
        return names[0] if names else ""

    async def _told(self, asked: _Asked) -> Told | None:
        run = self._world.runs.runs.get(asked.run_id)
        if run is None:
            return None
        # The engine is not needed for a run that has ended; a process that only looks is as good as any.
        async with trial_gateway(self._world) as gateway:
            self._world.processes -= 1
            looking = principal(_ROOT, kind="operator", tenant=run.tenant)
            explanation = await gateway.orchestrator.explaining.explain(looking, run.id)
        return Told(explanation=explanation, began_us=run.created_at_us - self._epoch_us)

    def _wrong_with(self, asked: _Asked, told: Told | None) -> list[Finding]:
        given = asked.given or Given()
        own = asked.turn.expect
        last = asked is self._asked[-1]
        wrong: list[Finding] = []
        if own is not None:
            wrong += findings(own, given, self._trace([told] if told else [], [asked]))
        expect = own or self._settings.expect
        if own is not None or last:
            wrong += unexpected_failure(expect, given)
        name = f"turn {asked.number}: " if len(self._asked) > 1 else ""
        return [Finding(what=f"{name}{each.what}", expected=each.expected, seen=each.seen) for each in wrong]

    def _trace(self, told: list[Told], asked: list[_Asked]) -> Trace:
        world = self._world
        began_us = min(each.began_us for each in asked)
        return trace_from(
            told,
            world.audit.records,
            world.cast.done,
            took_us=max(each.ended_us for each in asked) - began_us,
            processes=world.processes,
            epoch_us=self._epoch_us,
        )

    def _report(self, wrong: list[Finding], told: list[Told]) -> TrialReport:
        trace = self._trace(told, self._asked)
        given = self._asked[-1].given or Given()
        wrong += findings(self._settings.expect, given, trace)
        left = [f"step {each.step} was never reached, over which the gateway was to die" for each in self._world.kills]
        idle = [each.injection for each in self._world.faults if not each.struck and each.injection.share == 1.0]
        left += [f"nothing was called that the fault {each.fault} of {each.target} would strike" for each in idle]
        return TrialReport(
            seed=self._seed,
            findings=(*wrong, *(Finding(what="faults", expected="to happen", seen=each) for each in left)),
            trace=trace,
            answer=given,
            explanations=tuple(each.explanation for each in told),
        )


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
