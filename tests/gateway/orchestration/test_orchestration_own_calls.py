"""What agents call by the token of a step spends the budget of its run."""

from decimal import Decimal

import anyio
import pytest

from gateway.core.content import Content, Plain, text_part
from gateway.core.errors import Exhausted
from gateway.core.json import Json
from gateway.core.limits import Budget, Usage
from gateway.core.model import Complete, Request
from gateway.core.ports.storage import OpenStep
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.plugins import load_patterns
from tests.fakes_orchestration import Asked, World, says

pytestmark = pytest.mark.anyio


def world(**settings: object) -> World:
    given = WorkflowSettings.model_validate(settings)
    return World(patterns=load_patterns({given.pattern}), workflows={"help": given})


def opened(around: World, slug: str) -> OpenStep:
    [step] = around.open_steps.of_agent("default", slug)
    return step


async def own_call(
    around: World, slug: str, *, capability: str = "tool:shop/look", used: Usage | None = None
) -> Budget:
    """A call of the agent's by its token; what it might have spent. Raises: Exhausted."""
    step, orchestrator = opened(around, slug), around.orchestrator
    assert orchestrator is not None
    request = Request(
        id="req_own",
        principal=step.actor,
        capability=capability,
        operation="call",
        budget=Budget(deadline_s=1.0),
        body=Plain(Content(parts=(text_part("look"),))),
        run_id=step.run_id,
        step_id=step.step_id,
    )
    bounded = await orchestrator.own_calls.begun(request)
    await orchestrator.own_calls.ended(request, used or Usage(calls=1))
    return bounded.budget


async def calls_until_refused(around: World, slug: str, at_most: int = 20) -> int:
    for count in range(at_most):
        try:
            await own_call(around, slug)
        except Exhausted:
            return count
        await anyio.lowlevel.checkpoint()
    return at_most


async def test_agents_side_by_side_never_make_more_calls_than_their_run_may() -> None:
    around = world(pattern="concurrent", agents=["a", "b"], limits={"calls": 7})
    made: list[int] = []

    async def greedy(asked: Asked) -> Json:
        made.append(await calls_until_refused(around, asked.target.removeprefix("agent:")))
        return {"n": 1}

    around.agents.answers |= {"agent:a": greedy, "agent:b": greedy}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert sum(made) == 5
    assert result.usage.calls == 7


async def test_what_they_spend_counts_for_the_step_and_bounds_the_next_call() -> None:
    around = world(pattern="sequential", stages=[{"agent": "a"}], limits={"tokens": 1000, "cost_usd": 2})
    left: list[tuple[int | None, Decimal | None]] = []

    async def reads(asked: Asked) -> Json:
        for _ in range(2):
            budget = await own_call(around, "a", used=Usage(calls=1, tokens=400, cost_usd=Decimal("0.5")))
            left.append((budget.tokens, budget.cost_usd))
        await own_call(around, "a", used=Usage(calls=3, tokens=150))
        with pytest.raises(Exhausted):
            await own_call(around, "a")
        return {"n": 1}

    around.agents.answers["agent:a"] = reads
    async with around.up():
        result = await around.ask()
    assert left == [(1000, Decimal(2)), (600, Decimal("1.5"))]
    assert isinstance(result, Complete)
    assert (result.usage.calls, result.usage.tokens, result.usage.cost_usd) == (6, 950, Decimal(1))


async def test_what_a_step_has_spent_that_is_stopped_counts() -> None:
    around = world(
        pattern="sequential",
        stages=[{"agent": "slow", "optional": True, "timeout_s": 0.3}, {"agent": "b"}],
        limits={"calls": 4},
    )

    async def slow(asked: Asked) -> Json:
        await own_call(around, "slow")
        await own_call(around, "slow")
        await anyio.sleep_forever()
        return {}

    around.agents.answers |= {"agent:slow": slow, "agent:b": says({"n": 1})}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.usage.calls == 4
    assert len(around.agents.asked) == 2


async def test_a_step_that_goes_on_after_a_crash_knows_what_it_has_spent() -> None:
    around = world(pattern="sequential", stages=[{"agent": "a"}], limits={"calls": 5})
    at_work, made = anyio.Event(), 0

    async def dies(asked: Asked) -> Json:
        nonlocal made
        if not at_work.is_set():
            await own_call(around, "a")
            await own_call(around, "a")
            at_work.set()
            await anyio.sleep_forever()
        made = await calls_until_refused(around, "a")
        return {"n": 1}

    around.agents.answers["agent:a"] = dies
    async with around.up():
        await around.ask(meta={"return_immediately": True, "message_id": "m"})
        await at_work.wait()
    async with around.up():
        result = await around.ask(meta={"message_id": "m"})
    assert isinstance(result, Complete)
    assert made == 2
    assert result.usage.calls == 5


async def test_what_the_gateway_itself_offers_to_agents_at_work_costs_no_call() -> None:
    around = world(pattern="sequential", stages=[{"agent": "a"}], limits={"calls": 1})

    async def notes(asked: Asked) -> Json:
        await own_call(around, "a", capability="tool:run/scratchpad_put")
        with pytest.raises(Exhausted):
            await own_call(around, "a")
        return {"n": 1}

    around.agents.answers["agent:a"] = notes
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.usage.calls == 1
