"""Of which missing servers a caller is told: those it sees something of, or could."""

from dataclasses import replace

import anyio
import pytest

from gateway.core.errors import NotFound, Unavailable
from gateway.core.model import AgentClass, Capability
from gateway.core.ports.upstream import Listing
from gateway.core.verdict import Deny, Verdict
from tests.fakes import ANA, GRANT, FakeUpstream, Path, Says, a_request, tool

pytestmark = pytest.mark.anyio


class HidesStock(Says):
    def plan(self, agent: AgentClass, capability: Capability) -> Verdict:
        return Deny(policy="access", rule="", reason="") if capability.owner == "stock" else GRANT


def knows_not_of_web(agent: AgentClass, owner: str) -> bool:
    return agent == ANA.agent_class and owner != "web"


async def test_a_caller_hears_of_gaps_where_it_sees_something_or_could() -> None:
    stock = FakeUpstream("stock", [replace(tool(), name="tool:stock/count", owner="stock")])
    path = Path(FakeUpstream("orders", [tool()]), stock, FakeUpstream("empty"), policies=[HidesStock(GRANT)])
    for name in ("mail", "web"):
        path.shelf.add(FakeUpstream(name), "default")
    path.shelf.add(FakeUpstream("theirs"), "acme")
    for name in ("orders", "stock", "empty", "web"):
        path.shelf.failed(name, "timed out")
    path.policies = replace(path.policies, may_reach=knows_not_of_web)
    path.pipeline.swap(path.snapshot("2"))
    assert path.pipeline.gaps("default").keys() == {"empty", "mail", "orders", "stock", "web"}
    assert path.pipeline.gaps_for(ANA) == {"mail": "has not answered yet", "orders": "timed out"}
    for name, told in (("tool:mail/send", Unavailable), ("tool:orders/none", Unavailable), ("tool:web/get", NotFound)):
        with pytest.raises(told):
            await path.call(a_request(name))
    with pytest.raises(NotFound):
        await path.call(a_request("tool:stock/none"))
    path.policies = replace(path.policies, may_reach=Path().policies.may_reach)
    path.pipeline.swap(path.snapshot("3"))
    assert path.pipeline.gaps_for(ANA).keys() == {"orders"}, "nobody knows what could be granted"


async def test_a_runs_step_waits_for_the_first_answer_of_whom_it_calls() -> None:
    """As after a crash: the run goes on at once, and the program it calls has only just been started."""
    path = Path(FakeUpstream("orders", [tool()]))
    bank = FakeUpstream("bank", [replace(tool(), name="tool:bank/pay", owner="bank")])
    for upstream in (bank, FakeUpstream("gone")):
        path.shelf.add(upstream, "default")
    path.policies = replace(path.policies, may_reach=knows_not_of_web)
    path.pipeline.swap(path.snapshot("2"))
    refused: list[str] = []

    async def pay() -> None:
        await path.call(a_request("tool:bank/pay", run=("run_1", "run_1/1")))

    async def ask_who_is_gone() -> None:
        with pytest.raises(Unavailable) as error:
            await path.call(a_request("tool:gone/get", run=("run_1", "run_1/2")))
        refused.append(error.value.message)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pay)
            tasks.start_soon(ask_who_is_gone)
            await anyio.wait_all_tasks_blocked()
            assert (bank.calls, refused) == ([], [])
            path.shelf.failed("gone", "timed out")
            path.pipeline.swap(path.snapshot("3"))
            await anyio.wait_all_tasks_blocked()
            assert (bank.calls, refused) == ([], ["gone cannot be reached: timed out"])
            path.shelf.arrived("bank", Listing(capabilities=bank.offered))
            path.pipeline.swap(path.snapshot("4"))
    assert [each.capability for each in bank.calls] == ["tool:bank/pay"]


async def test_a_runs_step_does_not_wait_for_a_first_answer_beyond_its_time() -> None:
    path = Path()
    path.shelf.add(FakeUpstream("bank"), "default")
    path.policies = replace(path.policies, may_reach=knows_not_of_web)
    path.pipeline.swap(path.snapshot("2"))
    with anyio.fail_after(20), pytest.raises(Unavailable, match="has not answered yet"):
        await path.call(a_request("tool:bank/pay", run=("run_1", "run_1/1"), deadline_s=path.clock.monotonic_s()))
