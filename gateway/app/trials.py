"""One scenario, run once: its requests asked, its people answering, its gateway dying, and what came of it all."""

import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from typing import TypeVar

import anyio
from anyio import to_thread

from adapters.system import SortableIds, SystemClock
from adapters.virtual_time import VirtualLoop, virtual_clock
from gateway.app.asking import Asked, Asking
from gateway.app.known_targets import known_targets
from gateway.app.ready import Ready
from gateway.app.real_neighbours import real_neighbours
from gateway.app.stand_ins import stand_ins
from gateway.app.trial import Neighbour, TrialGateway, TrialWorld, trial_gateway
from gateway.app.trial_doors import TrialDoors
from gateway.core.errors import GatewayError, InvalidRequest
from gateway.core.model import (
    principal,
)
from gateway.core.ports.approvals import Approval
from gateway.testing.scenarios.assertions import Finding, Given, findings, unexpected_failure
from gateway.testing.scenarios.faulty import ordered
from gateway.testing.scenarios.files import Scenario
from gateway.testing.scenarios.known_targets import KnownTargets
from gateway.testing.scenarios.matching import shown
from gateway.testing.scenarios.mocks import MockSettings
from gateway.testing.scenarios.report import TrialReport
from gateway.testing.scenarios.seeds import SeededIds
from gateway.testing.scenarios.settings import ApprovalSettings, ScenarioSettings
from gateway.testing.scenarios.trace import Told, Trace, trace_from
from gateway.testing.scenarios.upstreams import Cast

T = TypeVar("T")

LOOK_EVERY_S = 0.05
"""How often people look whether somebody asks them, seconds of the scenario's clock."""
_ROOT = "the one who looks"


def run_trial(ready: Ready, seed: int) -> TrialReport:
    """The scenario, run once; everything in it that is drawn follows from `seed`. In virtual time, unless a real
    upstream is asked.

    Raises: InvalidRequest: it does not fit the configuration.
    """
    return in_its_own_time(ready, seed, partial(_once, ready))


def in_its_own_time(ready: Ready, seed: int, work: Callable[[TrialWorld], Awaitable[T]]) -> T:
    """What `work` makes of a world of its own, on a loop of its own: a virtual one, unless a real upstream is asked."""
    former = random.getstate()
    random.seed(seed)
    options = {} if ready.in_real_time else {"loop_factory": VirtualLoop}
    try:
        return anyio.run(partial(_in_a_world, ready, seed, work), backend_options=options)
    finally:
        random.setstate(former)


async def _in_a_world(ready: Ready, seed: int, work: Callable[[TrialWorld], Awaitable[T]]) -> T:
    scenario, sections = ready.scenario, ready.sections
    mocks: Mapping[str, MockSettings] = {} if ready.real else scenario.mocks
    cast = Cast.of(mocks, seed)
    mocked = await stand_ins(sections, mocks, cast, real=ready.real_owners)
    asked = real_neighbours(sections, ready.real_owners) if ready.real_owners else nullcontext(list[Neighbour]())
    async with asked as real:
        neighbours: list[Neighbour] = [*mocked, *real]
        threads = to_thread.current_default_thread_limiter()
        world = TrialWorld(
            sections=sections,
            neighbours=neighbours,
            cast=cast,
            faults=ordered(scenario.settings.faults, seed),
            kills=list(scenario.settings.kill_gateway_at),
            clock=SystemClock() if ready.in_real_time else virtual_clock(threads),
            ids=SortableIds() if ready.in_real_time else SeededIds(),
            counter=ready.counter,
            seed=seed,
        )
        if ready.real_owners & sections.agents.keys():
            world.doors = TrialDoors(sections, world.open_steps, world.clock, world.ids)
        return await work(world)


async def _once(ready: Ready, world: TrialWorld) -> TrialReport:
    return await Trial(ready.scenario, world, known_targets(ready)).run()


class Trial:
    """One run of one scenario."""

    def __init__(self, scenario: Scenario, world: TrialWorld, known: KnownTargets) -> None:
        self._settings: ScenarioSettings = scenario.settings
        self._world = world
        self._known = known
        self._epoch_us = world.clock.now_us()
        self._asking = Asking(world, self._settings)
        self._asked = self._asking.requests()
        self._approving = [(asked, each) for asked in self._asked for each in asked.turn.approvals]

    async def run(self) -> TrialReport:
        """What came of it. Raises: InvalidRequest: it cannot be run."""
        while any(each.given is None for each in self._asked):
            await self._process()
        explanations = [await self._told(each) for each in self._asked]
        called = self._trace([each for each in explanations if each is not None], self._asked).calls
        self._known = self._known.with_names(each.target for each in called)
        wrong: list[Finding] = []
        for asked, told in zip(self._asked, explanations, strict=True):
            wrong += self._wrong_with(asked, told)
        return self._report(wrong, [each for each in explanations if each is not None])

    async def _process(self) -> None:
        """One gateway process: to the end of every request, or to its own."""
        async with trial_gateway(self._world) as gateway, anyio.create_task_group() as tasks:

            async def to_the_end() -> None:
                if self._settings.side_by_side:
                    async with anyio.create_task_group() as turns:
                        for each in self._asked:
                            turns.start_soon(self._asking.ask, gateway, each)
                else:
                    for each in self._asked:
                        await self._asking.ask(gateway, each)
                tasks.cancel_scope.cancel()

            tasks.start_soon(to_the_end)
            tasks.start_soon(self._people, gateway)
            await gateway.journal.crashed.wait()
            tasks.cancel_scope.cancel()

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
        who = self._asking.person(said.by)
        state = "approved" if said.approve else "denied"
        try:
            await gateway.orchestrator.approving.answer(who, approval.id, state, value=said.value, comment=said.comment)
        except GatewayError as error:
            raise InvalidRequest(f"{who.subject} may not answer {approval.prompt!r}: {error.message}") from error

    async def _told(self, asked: Asked) -> Told | None:
        run = self._world.runs.runs.get(asked.run_id)
        if run is None:
            return None
        # The engine is not needed for a run that has ended; a process that only looks is as good as any.
        async with trial_gateway(self._world) as gateway:
            self._world.processes -= 1
            looking = principal(_ROOT, kind="operator", tenant=run.tenant)
            explanation = await gateway.orchestrator.explaining.explain(looking, run.id)
        return Told(explanation=explanation, began_us=run.created_at_us - self._epoch_us)

    def _wrong_with(self, asked: Asked, told: Told | None) -> list[Finding]:
        given = asked.given or Given()
        own = asked.turn.expect
        wrong: list[Finding] = []
        if own is not None:
            wrong += findings(own, given, self._trace([told] if told else [], [asked]), self._known)
        wrong += unexpected_failure(own or self._settings.expect, given)
        name = f"turn {asked.number}: " if len(self._asked) > 1 else ""
        return [Finding(what=f"{name}{each.what}", expected=each.expected, seen=each.seen) for each in wrong]

    def _trace(self, told: list[Told], asked: list[Asked]) -> Trace:
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
        wrong += findings(self._settings.expect, given, trace, self._known)
        left = [f"step {each.step} was never reached, over which the gateway was to die" for each in self._world.kills]
        idle = [each.injection for each in self._world.faults if not each.struck and each.injection.share == 1.0]
        left += [f"nothing was called that the fault {each.fault} of {each.target} would strike" for each in idle]
        wrong += [Finding(what="faults", expected="to happen", seen=each) for each in left]
        return TrialReport(
            seed=self._world.seed,
            findings=(*wrong, *self._never_asked()),
            trace=trace,
            answer=given,
            explanations=tuple(each.explanation for each in told),
        )

    def _never_asked(self) -> Iterator[Finding]:
        """What people had ready to say, and nobody wanted to know. Chance may decide that, where faults are drawn."""
        if any(each.share < 1.0 for each in self._settings.faults):
            return
        for asked in self._asked:
            for reply in asked.replies:
                yield Finding(what="replies", expected="to be asked for", seen=f"nobody asked for {shown(reply)}")
        for _, each in self._approving:
            role = f", of the role {each.role}" if each.role else ""
            yield Finding(
                what="approvals", expected="to be asked for", seen=f"nobody asked {each.by.subject} anything{role}"
            )
