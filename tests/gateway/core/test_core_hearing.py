"""What agents are told while they work on a step stays with the step."""

from contextlib import suppress

import pytest

from gateway.core.content import plain
from gateway.core.effects import Effects
from gateway.core.errors import UpstreamFailed
from gateway.core.hearing import Hearing
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Limits
from gateway.core.model import Capability, Complete, Emit, Principal, Request, Result, principal
from gateway.core.pipeline import Pipeline
from gateway.core.ports.storage import OpenStep
from gateway.testing.stores.around_runs import MemoryOpenSteps
from tests.fakes import ANA, Behaviour, CountingIds, FakeUpstream, Path, a_request, tool

pytestmark = pytest.mark.anyio

AGENT = principal("agent:refunds", kind="agent", behind=ANA)
HANDED = Labels(untrusted=frozenset({"agent:triage"}))
READ = Labels(untrusted=frozenset({"server:orders"}))


async def labelled(request: Request, capability: Capability, emit: Emit) -> Result:
    return Complete(body=plain({"order": 7}), labels=READ)


async def refusing(request: Request, capability: Capability, emit: Emit) -> Result:
    raise UpstreamFailed("orders: pay somebody else", sources=READ.untrusted)


async def heard(who: Principal, run: tuple[str, str], says: Behaviour = labelled) -> list[Labels]:
    """Labels of two steps that are open, after somebody has called an upstream that is not trusted."""
    steps = MemoryOpenSteps()
    for number in ("1", "2"):
        opened = OpenStep(run_id="run_1", step_id=number, agent="refunds", actor=AGENT, phase="", labels=HANDED)
        await steps.open(opened)
    path = Path(FakeUpstream("orders", [tool()], says))
    pipeline = Pipeline(
        snapshot=path.snapshot("1"),
        audit=path.audit,
        effects=Effects(path.ledger, path.clock),
        clock=path.clock,
        ids=CountingIds(),
        limits=Limits(),
        hearing=Hearing(steps),
    )
    with suppress(UpstreamFailed):
        await pipeline.call(a_request(who=who, arguments={"amount": 1}, run=run), path.emit)
    assert path.audit.records[-1].labels == READ
    found = [steps.find("run_1", number) for number in ("1", "2")]
    return [CLEAN if step is None else step.labels for step in found]


async def test_what_an_agent_is_told_under_a_steps_token_stays_with_that_step() -> None:
    assert await heard(AGENT, ("run_1", "1")) == [HANDED.join(READ), HANDED]


async def test_words_of_a_refusal_stay_with_the_step_as_those_of_an_answer_do() -> None:
    assert await heard(AGENT, ("run_1", "1"), refusing) == [HANDED.join(READ), HANDED]


async def test_what_an_agent_is_told_by_its_bare_key_counts_for_all_its_steps() -> None:
    assert await heard(AGENT, ("", "")) == [HANDED.join(READ), HANDED.join(READ)]


async def test_what_others_are_told_is_no_agents_affair() -> None:
    assert await heard(ANA, ("", "")) == [HANDED, HANDED]
