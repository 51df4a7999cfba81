"""A run that asks somebody with a role: it waits durably, and goes on with the answer, or without one."""

from dataclasses import dataclass, replace

import anyio
import pytest

from gateway.core.errors import Conflict, Denied, GatewayError, InvalidRequest, NotFound
from gateway.core.json import Json, JsonObject
from gateway.core.model import principal
from gateway.core.ports.approvals import Approval
from gateway.core.ports.orchestration import Outcome, Question, Steps
from gateway.core.task import Task
from gateway.orchestration.orchestrator import Orchestrator
from gateway.orchestration.runs.approving import Approving
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.testing.stores.approvals import MemoryApprovals
from tests.fakes_orchestration import ANA, World, told

pytestmark = pytest.mark.anyio

CARL = principal("carl", roles=frozenset({"chief"}))
OLGA = principal("olga", kind="operator")
EVE = principal("eve", roles=frozenset({"support"}))
ELSEWHERE = principal("otto", kind="operator", tenant="elsewhere")
LATER: JsonObject = {"return_immediately": True, "message_id": "m"}


@dataclass(slots=True)
class Asking:
    """Asks the chief, and says what was said."""

    settings: JsonObject

    async def run(self, task: Task, steps: Steps) -> Outcome:
        schema: JsonObject = {"type": "object", "required": ["amount"]}
        seconds = 0.05 if self.settings.get("title") == "impatient" else 30
        said = await steps.ask(Question(prompt="Pay?", role="chief", schema=schema), timeout_s=seconds)
        return Outcome(text="done", value=[said.given, said.value])


def world(title: str = "") -> World:
    return World(patterns={"asking": Asking}, workflows={"help": WorkflowSettings(pattern="asking", title=title)})


async def asked(around: World) -> Approval:
    while not around.approvals.kept:
        await anyio.lowlevel.checkpoint()
    [approval] = around.approvals.kept.values()
    return approval


async def answer_of(around: World) -> Json:
    return told(await around.ask(meta={"message_id": "m"}))["answer"]


async def test_the_run_goes_on_with_the_answer_of_somebody_with_the_role() -> None:
    around = world()
    async with around.up() as (orchestrator, _):
        await around.ask(meta=LATER)
        approval = await asked(around)
        assert around.runs.runs[approval.run_id].state == "working"
        assert [each.id for each in await orchestrator.approving.list(CARL, state="pending")] == [approval.id]
        given = await orchestrator.approving.answer(CARL, approval.id, "approved", value={"amount": 3}, comment="once")
        assert (given.state, given.answered_by) == ("approved", "carl")
        said: Json = {"approved": True, "by": "carl", "value": {"amount": 3}, "comment": "once"}
        assert await answer_of(around) == [True, said]
    assert around.approvals.kept[approval.id].settled
    texts = [str(event.body.get("text")) for event in await around.runs.events(approval.run_id)]
    assert "waits for chief: Pay?" in texts
    assert "approved by carl" in texts


async def test_an_agent_answers_for_nobody_whatever_its_roles() -> None:
    around = world()
    agent = principal("agent:help", kind="agent", roles=frozenset({"chief"}))
    async with around.up() as (orchestrator, _):
        await around.ask(meta=LATER)
        approval = await asked(around)
        with pytest.raises(Denied) as denied:
            await orchestrator.approving.answer(agent, approval.id, "approved", value={"amount": 3})
        assert denied.value.detail["rule"] == "approvals.people"
        assert around.approvals.kept[approval.id].state == "pending"
        await orchestrator.approving.answer(CARL, approval.id, "approved", value={"amount": 3})
        await answer_of(around)


async def test_what_is_asked_of_others_hides_nothing_that_waits_for_oneself() -> None:
    around = world()
    async with around.up() as (orchestrator, _):
        await around.ask(meta=LATER)
        waits = await asked(around)
        for number in range(3):
            later = replace(waits, id=f"later.q{number}", role="support", asked_at_us=waits.asked_at_us + 1)
            await around.approvals.ask(later)
        assert await orchestrator.approving.list(CARL, state="pending", limit=2) == [waits]
        assert len(await orchestrator.approving.list(OLGA, limit=2)) == 2
        assert await orchestrator.approving.list(principal("nobody"), limit=2) == []
        await orchestrator.approving.answer(CARL, waits.id, "denied")
        await answer_of(around)


async def test_a_denial_is_an_answer_too() -> None:
    around = world()
    async with around.up() as (orchestrator, _):
        await around.ask(meta=LATER)
        await orchestrator.approving.answer(OLGA, (await asked(around)).id, "denied", comment="too much")
        said: Json = {"approved": False, "by": "olga", "value": None, "comment": "too much"}
        assert await answer_of(around) == [True, said]


async def test_without_an_answer_in_time_the_run_goes_on_without() -> None:
    around = world("impatient")
    async with around.up() as (orchestrator, _):
        await around.ask(meta=LATER)
        assert await answer_of(around) == [False, None]
        approval = await asked(around)
        assert approval.state == "expired"
        with pytest.raises(Conflict):
            await orchestrator.approving.answer(CARL, approval.id, "approved", value={"amount": 1})


async def refused(orchestrator: Orchestrator, approval: Approval) -> dict[str, type[GatewayError]]:
    """Who may not answer, and how they are told."""
    found: dict[str, type[GatewayError]] = {}
    starter_with_role = replace(ANA, roles=frozenset({"chief"}))
    for name, who in (("eve", EVE), ("otto", ELSEWHERE), ("ana", starter_with_role)):
        try:
            await orchestrator.approving.answer(who, approval.id, "approved", value={"amount": 1})
        except GatewayError as error:
            found[name] = type(error)
    return found


async def test_who_has_no_business_with_it_does_not_answer() -> None:
    around = world()
    async with around.up() as (orchestrator, _):
        await around.ask(meta=LATER)
        approval = await asked(around)
        assert await refused(orchestrator, approval) == {"eve": NotFound, "otto": NotFound, "ana": Denied}
        assert await orchestrator.approving.list(EVE) == []
        with pytest.raises(InvalidRequest, match="amount"):
            await orchestrator.approving.answer(CARL, approval.id, "approved", value={})
        assert around.approvals.kept[approval.id].state == "pending"


async def test_the_wait_survives_a_crash_and_is_asked_once() -> None:
    around = world()
    async with around.up():
        await around.ask(meta=LATER)
        approval = await asked(around)
    async with around.up() as (orchestrator, _):
        await orchestrator.approving.answer(CARL, approval.id, "approved", value={"amount": 1})
        assert await answer_of(around) == [
            True,
            {"approved": True, "by": "carl", "value": {"amount": 1}, "comment": ""},
        ]
    assert list(around.approvals.kept) == [approval.id]


async def test_an_answer_stored_right_before_a_crash_reaches_the_run() -> None:
    around = world()
    async with around.up():
        await around.ask(meta=LATER)
        approval = await asked(around)
    await around.approvals.answer(
        replace(approval, state="approved", answered_by="carl", answered_at_us=1, value={"amount": 2})
    )
    async with around.up():
        said: Json = {"approved": True, "by": "carl", "value": {"amount": 2}, "comment": ""}
        assert await answer_of(around) == [True, said]


class AnsweredElsewhere(MemoryApprovals):
    """Another gateway takes the answer as soon as it is asked, and dies before it passes it on."""

    async def ask(self, approval: Approval) -> None:
        await super().ask(approval)
        await self.answer(
            replace(approval, state="approved", answered_by="carl", answered_at_us=1, value={"amount": 2})
        )


SAID_ELSEWHERE: Json = {"approved": True, "by": "carl", "value": {"amount": 2}, "comment": ""}


async def test_an_answer_whose_gateway_died_counts_when_the_time_is_over() -> None:
    around = world("impatient")
    around.approvals = AnsweredElsewhere()
    async with around.up():
        await around.ask(meta=LATER)
        assert await answer_of(around) == [True, SAID_ELSEWHERE]
        approval = await asked(around)
        assert (approval.state, approval.settled) == ("approved", True)
        texts = [str(event.body.get("text")) for event in await around.runs.events(approval.run_id)]
    assert "approved by carl" in texts


async def test_an_answer_whose_gateway_died_is_delivered_by_one_that_lives_long_before_the_time_is_over() -> None:
    around = world()
    around.approvals = AnsweredElsewhere()
    async with around.up() as (_, journal), anyio.create_task_group() as tasks:
        tasks.start_soon(Approving(around.wiring(journal), deliver_every_s=0.001).keep_delivering)
        await around.ask(meta=LATER)
        assert await answer_of(around) == [True, SAID_ELSEWHERE]
        tasks.cancel_scope.cancel()
        assert len(next(iter(journal.entries.values())).messages) == 1


async def test_an_answer_of_a_run_that_has_ended_is_looked_at_once() -> None:
    around = world("impatient")
    async with around.up() as (orchestrator, _):
        await around.ask(meta=LATER)
        await answer_of(around)
        approval = await asked(around)
        late = replace(approval, id=f"{approval.run_id}.q2", number=2, state="approved", settled=False)
        around.approvals.kept[late.id] = late
        await orchestrator.approving.deliver_rest()
        assert await around.approvals.undelivered() == ()


async def test_a_canceled_run_waits_for_nobody() -> None:
    around = world()
    async with around.up() as (orchestrator, _):
        await around.ask(meta=LATER)
        approval = await asked(around)
        await orchestrator.control.cancel(approval.run_id)
    assert around.approvals.kept[approval.id].state == "withdrawn"


async def test_a_canceled_run_that_goes_on_waits_again_for_whoever_it_had_asked() -> None:
    around = world()
    async with around.up() as (orchestrator, _):
        await around.ask(meta=LATER)
        approval = await asked(around)
        for _ in range(2):
            await orchestrator.control.pause(approval.run_id)
            await orchestrator.control.cancel(approval.run_id)
            await orchestrator.control.resume(approval.run_id)
            assert around.approvals.kept[approval.id].state == "pending"
        await orchestrator.approving.answer(CARL, approval.id, "approved", value={"amount": 3})
        said: Json = {"approved": True, "by": "carl", "value": {"amount": 3}, "comment": ""}
        assert await answer_of(around) == [True, said]


async def test_a_canceled_run_that_goes_on_waits_again_for_its_caller() -> None:
    class Wondering(Asking):
        async def run(self, task: Task, steps: Steps) -> Outcome:
            for prompt in ("Which?", "Sure?"):
                said = await steps.ask(Question(prompt=prompt), timeout_s=30)
            return Outcome(text="done", value=[said.given, said.value])

    async def waits(prompt: str) -> str:
        [run_id] = around.runs.runs
        while around.runs.runs[run_id].state != "input_required" or not said_last(prompt):
            await anyio.lowlevel.checkpoint()
        return run_id

    def said_last(prompt: str) -> bool:
        [log] = around.runs.log.values()
        return (
            next((each.body["text"] for each in reversed(log.values()) if each.body["kind"] == "status"), "") == prompt
        )

    around = World(patterns={"asking": Wondering}, workflows={"help": WorkflowSettings(pattern="asking")})
    async with around.up() as (orchestrator, _):
        await around.ask(meta=LATER)
        for prompt in ("Which?", "Sure?"):
            for _ in range(2):
                run_id = await waits(prompt)
                await orchestrator.control.pause(run_id)
                await orchestrator.control.cancel(run_id)
                await orchestrator.control.resume(run_id)
            run_id = await waits(prompt)
            await around.ask("this", meta={"task": run_id, "message_id": prompt, "return_immediately": True})
        assert await answer_of(around) == [True, {"message": "this"}]
