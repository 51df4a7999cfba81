"""A scenario under load: many runs of it in one gateway, so many at once, in real time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import anyio
from anyio import to_thread

from gateway.app.asking import Asked, Asking
from gateway.app.ready import Ready
from gateway.app.trial import TrialGateway, TrialWorld, trial_gateway
from gateway.app.trials import in_its_own_time
from gateway.core.errors import InvalidRequest
from gateway.testing.scenarios.assertions import Given, findings, unexpected_failure
from gateway.testing.scenarios.expectations import TraceSettings
from gateway.testing.scenarios.known_targets import KnownTargets
from gateway.testing.scenarios.report import LoadReport
from gateway.testing.scenarios.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrder:
    """How much, and how fast."""

    runs: int
    in_flight: int


def run_load(ready: Ready, order: LoadOrder) -> LoadReport:
    """So many runs of the scenario's request, at most `in_flight` at once; each answer is held to what is expected of
    it. What is expected of traces is not looked at.

    Raises: InvalidRequest: the scenario has several turns, or kills its gateway.
    """
    settings = ready.scenario.settings
    if len(settings.asked) != 1 or settings.kill_gateway_at:
        raise InvalidRequest("under load a scenario has one request, and its gateway lives")
    return in_its_own_time(replace(ready, takes_time=True), settings.seed, partial(_loaded, ready, order))


async def _loaded(ready: Ready, order: LoadOrder, world: TrialWorld) -> LoadReport:
    settings = ready.scenario.settings
    asking = Asking(world, settings)
    if world.sections.prices.count_tokens:
        await to_thread.run_sync(ready.counter.warm)
    asked = [asking.request(number, settings.asked[0]) for number in range(1, order.runs + 1)]
    took_s: list[float] = []
    async with trial_gateway(world) as gateway:
        waiting = iter(asked)
        began_s = perf_counter()
        async with anyio.create_task_group() as tasks:
            for _ in range(min(order.in_flight, order.runs)):
                tasks.start_soon(partial(_one_after_another, asking, gateway, waiting, took_s))
        lasted_s = perf_counter() - began_s
    failures: dict[str, int] = {}
    for each in asked:
        if wrong := _wrong_with(ready, each.given or Given(error="it was not asked")):
            failures[wrong] = failures.get(wrong, 0) + 1
    return LoadReport(
        name=ready.scenario.name,
        runs=order.runs,
        in_flight=order.in_flight,
        lasted_s=lasted_s,
        took_s=tuple(sorted(took_s)),
        steps=world.steps_called,
        failures=failures,
    )


async def _one_after_another(
    asking: Asking, gateway: TrialGateway, waiting: Iterator[Asked], took_s: list[float]
) -> None:
    for each in waiting:
        began_s = perf_counter()
        await asking.ask(gateway, each)
        took_s.append(perf_counter() - began_s)


def _wrong_with(ready: Ready, given: Given) -> str:
    """The first thing that is not as expected; empty where all is."""
    expect = ready.scenario.settings.expect
    of_answer = expect.model_copy(update={"trace": TraceSettings()})
    wrong = [*findings(of_answer, given, Trace(), KnownTargets(names=frozenset())), *unexpected_failure(expect, given)]
    return str(wrong[0]) if wrong else ""
