"""The scratchpad's server is visible from inside a run and nowhere else."""

import pytest

from gateway.core.limits import Budget
from gateway.core.model import Capability, PrincipalKind, Request, principal
from gateway.core.ports.policy import Need
from gateway.core.verdict import Allow, Deny
from policies.scope import ScopePolicy

PUT = Capability(name="tool:run/put", kind="tool", owner="run", local="put")
OTHER = Capability(name="tool:orders/x", kind="tool", owner="orders", local="x")


@pytest.mark.parametrize(
    ("kind", "run_id", "target", "allowed"),
    [
        ("agent", "run_1", PUT, True),
        ("agent", "", PUT, False),
        ("client", "run_1", PUT, False),
        ("workflow", "run_1", PUT, False),
        ("operator", "", PUT, False),
        ("client", "", OTHER, True),
    ],
)
def test_the_scratchpad_opens_to_agents_inside_a_run(
    kind: PrincipalKind, run_id: str, target: Capability, allowed: bool
) -> None:
    made = Request(
        id="r",
        principal=principal("p", kind=kind),
        capability=target.name,
        operation="call",
        budget=Budget(deadline_s=1),
        run_id=run_id,
    )

    assert isinstance(ScopePolicy().check_request(made, target), Allow if allowed else Deny)


def test_plans_hide_it_from_everybody_who_is_no_agent() -> None:
    policy = ScopePolicy()

    assert policy.name == "scope"
    assert policy.plan(principal("p", kind="agent").agent_class, PUT) == "check"
    assert isinstance(policy.plan(principal("p").agent_class, PUT), Deny)
    assert policy.plan(principal("p").agent_class, OTHER) == "skip"


def test_tools_of_the_memory_are_hidden_from_steps_of_workflows_without_one() -> None:
    search = Capability(name="tool:run/memory_search", kind="tool", owner="run", local="s", tags=frozenset({"memory"}))
    policy = ScopePolicy(["workflow:desk"])

    def plan_of(workflow: str, outer: str = "") -> Need:
        behind = principal("ana")
        for slug in filter(None, (outer, workflow)):
            behind = principal(f"w:{slug}", kind="workflow", roles=frozenset({f"workflow:{slug}"}), behind=behind)
        return policy.plan(principal("agent:a", kind="agent", behind=behind).agent_class, search)

    assert plan_of("desk") == plan_of("desk", outer="other") == "check"
    assert isinstance(plan_of("other"), Deny)
    assert isinstance(plan_of("other", outer="desk"), Deny)
    assert policy.plan(principal("p", kind="agent").agent_class, search) == "check"
    assert isinstance(policy.plan(principal("p").agent_class, search), Deny)
