"""A step that is to propose changes nothing outside."""

import pytest

from gateway.core.limits import Budget
from gateway.core.model import Capability, CapabilityKind, Effect, Operation, Phase, PrincipalKind, Request, principal
from gateway.core.verdict import Allow, Deny
from policies.propose import ProposePolicy


def capability(kind: CapabilityKind, effect: Effect = "sink", owner: str = "orders") -> Capability:
    return Capability(name=f"{kind}:{owner}/x", kind=kind, owner=owner, local="x", effect=effect)


def request(kind: PrincipalKind, phase: Phase = "propose", operation: Operation = "call") -> Request:
    return Request(
        id="r",
        principal=principal("p", kind=kind),
        capability="c",
        operation=operation,
        budget=Budget(deadline_s=1),
        phase=phase,
    )


@pytest.mark.parametrize(
    ("made", "target", "allowed"),
    [
        (request("agent"), capability("tool"), False),
        (request("agent"), capability("agent"), False),
        (request("agent"), capability("workflow"), False),
        (request("client"), capability("tool"), False),
        (request("workflow"), capability("tool"), False),
        (request("workflow"), capability("agent"), True),
        (request("workflow"), capability("workflow"), True),
        (request("agent"), capability("tool", "read"), True),
        (request("agent", phase="commit"), capability("tool"), True),
        (request("agent", phase=""), capability("tool"), True),
        (request("agent", operation="task.get"), capability("agent"), True),
        (request("agent", operation="get"), capability("prompt"), True),
        (request("agent", operation="method"), capability("method"), False),
        (request("agent", phase="commit", operation="method"), capability("method"), True),
    ],
)
def test_who_may_call_what_while_proposing(made: Request, target: Capability, allowed: bool) -> None:
    said = ProposePolicy().check_request(made, target)

    assert isinstance(said, Allow if allowed else Deny)
    assert not (isinstance(said, Allow) and said.grant)


def test_the_refusal_tells_the_agent_to_propose() -> None:
    said = ProposePolicy().check_request(request("agent"), capability("tool"))

    assert isinstance(said, Deny)
    assert "propose" in said.reason


def test_only_sinks_outside_the_run_are_looked_at() -> None:
    policy = ProposePolicy()
    agent = principal("p", kind="agent").agent_class

    assert policy.name == "propose"
    assert policy.plan(agent, capability("tool")) == "check"
    assert policy.plan(agent, capability("tool", "read")) == "skip"
    assert policy.plan(agent, capability("tool", owner="run")) == "skip"
