"""One balance of $100, a refund of $47.99 and an order of $52.99 at the same time."""

from decimal import Decimal

import anyio
import pytest

from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.model import Complete
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.sequential.pattern import Sequential
from gateway.testing.stores.scratch import MemoryScratch
from tests.fakes_orchestration import Asked, World, says, told
from tests.gateway.orchestration.test_orchestration_forks import ShiftedClock

pytestmark = pytest.mark.anyio

ACCOUNT = "account:4711"
REFUND: JsonObject = {"account": "4711", "change": "47.99"}
ORDER: JsonObject = {"account": "4711", "change": "-52.99"}
BOTH = ((REFUND, "m"), (ORDER, "n"))


class WatchedScratch(MemoryScratch):
    """Says when a claim was refused."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = anyio.Event()

    async def claim(self, tenant: str, run_id: str, resource: str, *, until_us: int, now_us: int) -> bool:
        claimed = await super().claim(tenant, run_id, resource, until_us=until_us, now_us=now_us)
        if not claimed:
            self.refused.set()
        return claimed


class Bank:
    """Two stages: the balance is read, and written anew. Whoever reads in between reads too early."""

    def __init__(self, **stage: Json) -> None:
        self.balance = Decimal(100)
        self.scratch = WatchedScratch()
        self.first_has_read, self.second_has_read = anyio.Event(), anyio.Event()
        stages: list[Json] = [
            {"name": "read", "tool": "bank/balance", **stage},
            {"name": "write", "tool": "bank/set", "input": {"was": "$read.balance", "change": "$task.change"}},
        ]
        workflow = WorkflowSettings.model_validate({"pattern": "sequential", "stages": stages})
        self.world = World(patterns={"sequential": Sequential}, workflows={"help": workflow}, scratch=self.scratch)
        self.world.agents.answers |= {"tool:bank/balance": self.read, "tool:bank/set": self.write}

    async def read(self, asked: Asked) -> Json:
        seen = str(self.balance)
        if not self.first_has_read.is_set():
            self.first_has_read.set()
            # Until the other run reads as well, or is seen to wait for this one.
            async with anyio.create_task_group() as group:
                for event in (self.second_has_read, self.scratch.refused):
                    group.start_soon(_then_stop, event, group.cancel_scope)
        else:
            self.second_has_read.set()
        return {"balance": seen}

    async def write(self, asked: Asked) -> Json:
        self.balance = Decimal(json_text(asked.input["was"])) + Decimal(json_text(asked.input["change"]))
        return {"balance": str(self.balance)}

    async def both(self) -> list[JsonObject]:
        answers: list[JsonObject] = []

        async def ask(data: JsonObject) -> None:
            answers.append(told(await self.world.ask(data=data)))

        async with self.world.up(), anyio.create_task_group() as group:
            group.start_soon(ask, REFUND)
            await self.first_has_read.wait()
            group.start_soon(ask, ORDER)
        return answers


async def _then_stop(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def test_without_a_claim_one_of_them_is_lost() -> None:
    bank = Bank()
    await bank.both()
    assert bank.balance != Decimal("95.00")


async def test_the_second_run_waits_for_the_firsts_claim_and_both_come_out_right() -> None:
    bank = Bank(claims=["account:$task.account"])
    answers = await bank.both()
    assert bank.scratch.refused.is_set()
    assert [json_object(each["answer"])["balance"] for each in answers] == ["147.99", "95.00"]
    assert bank.balance == Decimal("95.00")
    assert bank.scratch.claims == {}


async def test_a_claim_whose_run_never_came_back_lapses() -> None:
    bank = Bank(claims=["account:$task.account"])
    bank.second_has_read.set()
    now_us = bank.world.clock.now_us()
    await bank.scratch.claim("default", "run_dead", ACCOUNT, until_us=now_us + 2_000_000, now_us=now_us)
    async with bank.world.up():
        answer = told(await bank.world.ask(data=REFUND))
    assert bank.scratch.refused.is_set()
    assert json_object(answer["answer"]) == {"balance": "147.99"}


async def test_a_run_that_waits_in_vain_says_whom_it_waited_for_and_changes_nothing() -> None:
    bank = Bank(claims=["account:$task.account"])
    bank.world.workflows["help"] = bank.world.workflows["help"].model_copy(
        update={"limits": bank.world.workflows["help"].limits.model_copy(update={"deadline_s": 2})}
    )
    await bank.scratch.claim("default", "run_other", ACCOUNT, until_us=2**60, now_us=0)
    async with bank.world.up():
        result = await bank.world.ask(data=ORDER)
    assert isinstance(result, Complete)
    assert result.is_error
    [gap] = map(json_object, json_list(told(result)["gaps"]))
    assert (gap["step"], gap["error"]) == ("read", "conflict")
    assert ACCOUNT in json_text(gap["reason"])
    assert bank.balance == Decimal(100)


async def test_another_tenants_account_of_the_same_number_is_another_account() -> None:
    bank = Bank(claims=["account:$task.account"])
    bank.second_has_read.set()
    await bank.scratch.claim("other", "run_other", ACCOUNT, until_us=2**60, now_us=0)
    async with bank.world.up():
        await bank.world.ask(data=ORDER)
    assert bank.balance == Decimal("47.01")


async def test_a_workflow_may_claim_what_the_step_that_calls_it_has_claimed() -> None:
    inner = {"pattern": "sequential", "stages": [{"agent": "teller", "claims": ["account:$task.account"]}]}
    calling = {"workflow": "inner", "input": {"account": "$task.account"}, "claims": ["account:$task.account"]}
    outer = {"pattern": "sequential", "stages": [calling], "limits": {"deadline_s": 5}}
    workflows = {
        name: WorkflowSettings.model_validate(settings) for name, settings in (("help", outer), ("inner", inner))
    }
    around = World(patterns={"sequential": Sequential}, workflows=workflows)
    around.agents.answers["agent:teller"] = says({"paid": True})
    async with around.up():
        answer = told(await around.ask(data=REFUND))
    assert answer["gaps"] == []
    assert around.scratch.claims == {}


async def test_a_paused_run_keeps_what_it_has_claimed() -> None:
    bank = Bank(claims=["account:$task.account"])
    bank.world.clock = clock = ShiftedClock()
    async with bank.world.up() as (orchestrator, _):
        await bank.world.ask(data=REFUND, meta={"return_immediately": True, "message_id": "m"})
        await bank.first_has_read.wait()
        [run_id] = bank.world.runs.runs
        await orchestrator.control.pause(run_id)
        clock.shift_s = 86_400
        await bank.world.ask(data=ORDER, meta={"return_immediately": True, "message_id": "n"})
        # The first reads on only when the second has been refused.
        await bank.scratch.refused.wait()
        await orchestrator.control.resume(run_id)
        answers = [told(await bank.world.ask(data=data, meta={"message_id": name})) for data, name in BOTH]
    assert [json_object(each["answer"])["balance"] for each in answers] == ["147.99", "95.00"]
    assert bank.scratch.claims == {}
