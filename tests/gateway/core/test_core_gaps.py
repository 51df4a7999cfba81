"""Of which missing servers a caller is told: those it sees something of, or could."""

from dataclasses import replace

import pytest

from gateway.core.errors import NotFound, Unavailable
from gateway.core.model import AgentClass, Capability
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
