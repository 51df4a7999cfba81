"""Whoever stands in for whoever fills a role."""

from dataclasses import replace

import pytest

from gateway.core.json import Json
from gateway.core.labels import Labels
from gateway.core.model import Complete
from gateway.core.ports.orchestration import Node, StepError, StepResult
from gateway.orchestration.step.taking_over import taken_over
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, Asked, failing, says

pytestmark = pytest.mark.anyio

ASKED = Node(target="agent:triage", input={"n": 1}, instead="agent:other", notice="by another", note="be brief")
FAILED = StepResult(
    id="r/1",
    target="agent:triage",
    ok=False,
    error="failed",
    reason="broken",
    labels=Labels(untrusted=frozenset({"agent:triage"})),
)


async def test_it_is_another_attempt_at_the_same_and_told_why_with_the_labels_of_that() -> None:
    other = taken_over(ASKED, FAILED)
    assert other is not None
    assert (other.target, other.again, other.input, other.instead) == ("agent:other", "r/1", {"n": 1}, "")
    assert other.note == "be brief\nWhoever was asked before you failed: broken."
    assert other.labels == FAILED.labels


async def test_a_tool_is_told_nothing() -> None:
    other = taken_over(replace(ASKED, instead="tool:desk/plan"), FAILED)
    assert other is not None
    assert (other.note, other.labels) == ("be brief", ASKED.labels)


@pytest.mark.parametrize("error", ["denied", "budget", "deadline", "schema", "canceled", "in_doubt"])
async def test_where_another_would_not_help_nobody_is_asked(error: StepError) -> None:
    assert taken_over(ASKED, replace(FAILED, error=error)) is None


async def test_nobody_takes_over_what_was_done_or_has_no_stand_in() -> None:
    assert taken_over(ASKED, replace(FAILED, ok=True, error="")) is None
    assert taken_over(replace(ASKED, instead=""), FAILED) is None


def planned_by_another() -> Scene:
    async def broken(asked: Asked) -> "Json | Complete":
        return failing("broken")

    agents: dict[str, Answering] = {
        "agent:triage": broken,
        "agent:other": says({"steps": [{"id": "one", "agent": "refunds"}]}),
        "agent:refunds": says({"by": "refunds"}),
    }
    settings = {
        "pattern": "supervisor",
        "planner": "triage",
        "agents": ["refunds"],
        "fallback": {"triage": {"agent": "other", "notice": "planned by another"}},
    }
    return Scene(settings=settings, agents=lambda: agents)


@pytest.mark.parametrize("where", INSTANTS)
async def test_it_survives_every_crash(where: Instant) -> None:
    await outlives_crashes(planned_by_another(), where)
