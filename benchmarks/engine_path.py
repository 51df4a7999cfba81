"""The whole path in one process, with an agent in memory where sockets would be: what `benchmarks.engine` measures."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import yaml
from anyio import to_thread

from adapters.storage.directory import DataDirectory
from gateway.app.composition import Composition
from gateway.app.foundation import open_foundation
from gateway.app.sections import Sections, load_configuration
from gateway.core.content import plain
from gateway.core.json import json_list, json_object
from gateway.core.limits import Budget
from gateway.core.model import Capability, Complete, Emit, Request, Result, TaskOpened, ignore_event, principal
from gateway.core.ports.upstream import Listing
from gateway.core.task import Task, TaskState
from gateway.plugins import load_patterns

Call = Callable[[str], Awaitable[list[float]]]


class MemoryAgent:
    """See `Upstream`: an A2A agent that answers at once."""

    name = "echo"

    async def capabilities(self) -> Listing:
        return Listing(capabilities=(Capability(name="agent:echo", kind="agent", owner="echo", local="echo"),))

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        task = Task(id=f"task {request.step_id}", context_id="", state=TaskState.WORKING, updated_at_us=0)
        await emit(TaskOpened(task=task))
        return Complete(body=plain("done"), labels=request.labels)

    async def aclose(self) -> None:
        """Holds nothing."""


@asynccontextmanager
async def open_path(directory: DataDirectory, steps: int, url: str = "") -> AsyncGenerator[Call]:
    """Calls of a workflow with `steps` stages; gives how long each step took, seconds."""
    file = directory.root / "gateway.yaml"
    stages = [{"agent": "echo", "name": f"s{number}"} for number in range(steps)]
    said = {
        "agents": {"echo": {"card": "http://127.0.0.1:9"}},
        # As many at once as the benchmark asks for: what is measured is the path, not its bulkheads.
        "limits": {"upstream_concurrency": 1000, "tenant_concurrency": 1000},
        "roles": {"bench": {"allow": ["workflow:long"]}},
        "workflows": {"long": {"pattern": "sequential", "stages": stages, "limits": {"deadline_s": 600}}},
        **({"storage": {"url": url}} if url else {}),
    }
    file.write_text(yaml.safe_dump(said))
    sections = Sections(load_configuration(file))
    async with open_foundation(directory, sections) as foundation:
        composition = Composition(foundation, sections, load_patterns(sections.patterns))
        async with composition.running():
            composition.lists.retire("echo")
            composition.lists.add(MemoryAgent(), "default")
            await composition.pipeline.settled(5)
            # It is loaded beside everything else as a gateway starts; not what a step costs.
            await to_thread.run_sync(foundation.counter.warm)
            yield lambda key: _called(composition, key)


async def _called(composition: Composition, key: str) -> list[float]:
    clock = composition.foundation.clock
    request = Request(
        id=composition.foundation.ids.new("req"),
        principal=principal("bench", roles=frozenset({"bench"})),
        capability="workflow:long",
        operation="call",
        budget=Budget(deadline_s=clock.monotonic_s() + 600),
        body=plain({"message": "hello"}),
        idempotency_key=key,
    )
    began = time.perf_counter()
    result = await composition.pipeline.call(request, ignore_event)
    took = time.perf_counter() - began
    assert isinstance(result, Complete), result
    assert not result.is_error, result
    done = len(json_list(json_object(result.body.content().structured).get("steps")))
    return [took / done] * done
