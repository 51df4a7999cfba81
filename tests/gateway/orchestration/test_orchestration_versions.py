"""A run finishes on the version of its workflow it began with, whatever is configured meanwhile."""

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from gateway.core.errors import NotFound
from gateway.core.json import Json, json_object
from gateway.core.limits import Budget
from gateway.core.model import Capability, Complete, Principal, Request
from gateway.core.ports.orchestration import PatternType
from gateway.core.verdict import Allow
from gateway.orchestration.records.spec import spec_from_json, version_of
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.plugins import load_patterns
from policies.access.policy import AccessPolicy
from tests.crashes import Scene
from tests.fakes_orchestration import Asked, World, says, told

pytestmark = pytest.mark.anyio

FIRST: Mapping[str, Any] = {"pattern": "sequential", "stages": [{"agent": "a"}, {"agent": "b"}]}
SECOND: Mapping[str, Any] = {"pattern": "sequential", "stages": [{"agent": "a"}, {"agent": "c"}]}


class Held:
    """A world whose first run is held in its first stage until `go_on`."""

    def __init__(self) -> None:
        self.reached, self.go_on = anyio.Event(), anyio.Event()

        async def first(asked: Asked) -> Json:
            self.reached.set()
            await self.go_on.wait()
            return {}

        scene = Scene(settings=FIRST, agents=lambda: {"agent:a": first, "agent:b": says({}), "agent:c": says({})})
        self.around: World = scene.world()

    async def begin(self) -> str:
        await self.around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        await self.reached.wait()
        [run_id] = self.around.runs.runs
        return run_id

    async def finish(self) -> list[str]:
        self.go_on.set()
        result = await self.around.ask("go", meta={"message_id": "m"})
        assert isinstance(result, Complete)
        assert not result.is_error, told(result)
        # The agent that was at work when the process ended may have been asked again.
        return [*dict.fromkeys(asked.target for asked in self.around.agents.asked)]


def second() -> dict[str, WorkflowSettings]:
    return {"help": WorkflowSettings.model_validate(SECOND)}


async def test_across_a_reload_old_runs_finish_as_they_began_and_new_ones_begin_anew() -> None:
    held = Held()
    async with held.around.up() as (orchestrator, _):
        run_id = await held.begin()
        orchestrator.configure(load_patterns({"sequential"}), second())
        assert await held.finish() == ["agent:a", "agent:b"]
        await held.around.ask("go")
        assert [asked.target for asked in held.around.agents.asked[2:]] == ["agent:a", "agent:c"]
        old, new = held.around.runs.runs.values()
    assert old.id == run_id
    assert json_object(old.spec["settings"])["stages"] == FIRST["stages"]
    assert json_object(new.spec["settings"])["stages"] == SECOND["stages"]
    assert [each.spec["version"] for each in (old, new)] == [
        version_of(json_object(each.spec["settings"])) for each in (old, new)
    ]
    assert new.spec["version"] != old.spec["version"]


async def test_across_a_restart_with_a_changed_workflow_too() -> None:
    held = Held()
    async with held.around.up():
        await held.begin()
    held.around.workflows = second()
    async with held.around.up():
        assert await held.finish() == ["agent:a", "agent:b"]


async def test_a_run_whose_workflow_was_removed_finishes_with_a_pattern_nobody_configures() -> None:
    held = Held()
    around = held.around
    loaded: list[str] = []

    def load(name: str) -> PatternType:
        loaded.append(name)
        return load_patterns({name})[name]

    around.load_pattern = load
    async with around.up():
        run_id = await held.begin()
    around.patterns, around.workflows = {}, {}
    held.go_on.set()
    async with around.up():
        with anyio.fail_after(30):
            while not around.runs.runs[run_id].output:
                await around.runs.wait_events(run_id, len(around.runs.log[run_id]), 0.05)
        with pytest.raises(NotFound):
            await around.ask("go")
    assert around.runs.runs[run_id].state == "completed"
    assert loaded == ["sequential"]


async def test_what_an_earlier_version_named_is_granted_while_a_run_of_it_is_under_way_and_to_no_other() -> None:
    held = Held()
    async with held.around.up() as (orchestrator, _):
        run_id = await held.begin()
        assert orchestrator.grants(held.around.workflows) == {}
        grants = orchestrator.grants(second())
        [(role, targets)] = grants.items()
        assert (role.partition("@")[0], targets) == ("workflow:help", ("agent:a", "agent:b"))
        policy = AccessPolicy(roles={}, lines=lambda _: 0, grants={"workflow:help": ("agent:a", "agent:c"), **grants})
        old = spec_from_json(dict(held.around.runs.runs[run_id].spec))
        new = spec_from_json({**old.to_json(), "settings": second()["help"].to_json()})
        assert [may(policy, old.acting, slug) for slug in "abc"] == [True, True, True]
        assert [may(policy, new.acting, slug) for slug in "abc"] == [True, False, True]
        await held.finish()
        await anyio.wait_all_tasks_blocked()
        assert orchestrator.grants(second()) == {}


async def test_that_a_run_of_an_earlier_version_goes_on_is_told_once() -> None:
    held = Held()
    changes: list[int] = []
    async with held.around.up():
        await held.begin()
    held.around.workflows = second()
    held.around.on_versions = lambda: changes.append(1)
    async with held.around.up():
        await held.finish()
        await held.around.ask("go")
    assert changes == [1]


def may(policy: AccessPolicy, who: Principal, slug: str) -> bool:
    capability = Capability(name=f"agent:{slug}", kind="agent", owner=slug, local=slug)
    request = Request(
        id="req", principal=who, capability=capability.name, operation="call", budget=Budget(deadline_s=1.0)
    )
    return isinstance(policy.check_request(request, capability), Allow)
