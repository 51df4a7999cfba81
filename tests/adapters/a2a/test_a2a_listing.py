"""Own tasks out of everybody's, whatever the borders of pages; and a task put together from its events."""

from collections.abc import Mapping

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.a2a.fold import TaskFold
from adapters.a2a.listing import own_tasks
from gateway.core.content import Content, text_part
from gateway.core.errors import InvalidRequest, UpstreamFailed
from gateway.core.json import Json
from gateway.core.model import ArtifactAdded, StatusChanged, TaskOpened
from gateway.core.task import Artifact, Task, TaskState

pytestmark = pytest.mark.anyio


class Agent:
    """Lists its tasks, `size` on a page whatever it is asked for."""

    def __init__(self, tasks: list[str], size: int) -> None:
        self.tasks = tasks
        self.size = size
        self.asked: list[Mapping[str, Json]] = []

    async def page(self, params: Mapping[str, Json]) -> bytes:
        self.asked.append(params)
        start = int(str(params["pageToken"] or 0))
        end = start + self.size
        found: list[Json] = [{"id": each} for each in self.tasks[start:end]]
        return msgspec.json.encode({"tasks": found, "nextPageToken": str(end) if end < len(self.tasks) else ""})


async def pages(agent: Agent, owned: frozenset[str], wanted: int) -> list[list[str]]:
    found: list[list[str]] = []
    token = ""
    while True:
        raw = await own_tasks(agent.page, {"pageSize": wanted, "pageToken": token}, owned)
        page = msgspec.json.decode(raw)
        found.append([task["id"] for task in page["tasks"]])
        token = page["nextPageToken"]
        if not token:
            return found
        assert len(found) < 100


@settings(deadline=None)
@given(owners=st.lists(st.booleans(), max_size=30), size=st.integers(1, 7), wanted=st.integers(1, 7))
def test_every_own_task_is_listed_once_in_order(owners: list[bool], size: int, wanted: int) -> None:
    tasks = [f"t-{number}" for number in range(len(owners))]
    own = [task for task, mine in zip(tasks, owners, strict=True) if mine]

    found = anyio.run(pages, Agent(tasks, size), frozenset(own), wanted)

    assert [task for page in found for task in page] == own
    assert all(len(page) <= wanted for page in found)


async def test_filters_are_passed_on() -> None:
    agent = Agent([], 5)
    await own_tasks(agent.page, {"contextId": "c", "status": "TASK_STATE_WORKING"}, frozenset())

    assert agent.asked == [{"contextId": "c", "status": "TASK_STATE_WORKING", "pageSize": 100, "pageToken": ""}]


async def test_an_agent_with_endless_pages_is_read_to_a_bound_and_then_continued() -> None:
    agent = Agent([f"t-{n}" for n in range(1000)], 1)
    raw = await own_tasks(agent.page, {}, frozenset({"t-999"}))

    assert len(agent.asked) == 20
    assert msgspec.json.decode(raw)["nextPageToken"] == "0.20"


@pytest.mark.parametrize("token", ["x", "1", "99999.a", "-1.a"])
async def test_a_token_of_another_list_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest):
        await own_tasks(Agent([], 1).page, {"pageToken": token}, frozenset())


async def test_an_agent_that_answers_with_no_list_fails() -> None:
    async def nonsense(params: Mapping[str, Json]) -> bytes:
        return b"[]"

    with pytest.raises(UpstreamFailed):
        await own_tasks(nonsense, {}, frozenset())


def piece(text: str, *, append: bool = False, name: str = "a") -> ArtifactAdded:
    artifact = Artifact(id=name, content=Content(parts=(text_part(text),)))
    return ArtifactAdded(task_id="t", context_id="c", artifact=artifact, append=append)


OPENED = TaskOpened(task=Task(id="t", context_id="c", state=TaskState.SUBMITTED, updated_at_us=1))


def test_pieces_make_an_artifact_and_a_repeat_replaces_it() -> None:
    fold = TaskFold()
    for event in (OPENED, piece("1"), piece("2", append=True), piece("x", name="b"), piece("y", name="b")):
        fold.apply(event)
    fold.apply(StatusChanged(task_id="t", context_id="c", state=TaskState.COMPLETED, text="bye", at_us=9))

    task = fold.task()
    assert task is not None
    assert [artifact.content.text for artifact in task.artifacts] == ["1\n2", "y"]
    assert (task.state, task.updated_at_us, task.message and task.message.text) == (TaskState.COMPLETED, 9, "bye")


def test_what_a_newer_snapshot_adds_is_told_once() -> None:
    fold = TaskFold()
    for event in (OPENED, piece("1")):
        fold.apply(event)
    newer = TaskFold()
    for event in (OPENED, piece("1"), piece("2", name="b")):
        newer.apply(event)
    newer.apply(StatusChanged(task_id="t", context_id="c", state=TaskState.FAILED, text="no"))
    snapshot = newer.task()
    assert snapshot is not None

    for event in (told := fold.missing(snapshot)):
        fold.apply(event)

    assert [type(event).__name__ for event in told] == ["ArtifactAdded", "StatusChanged"]
    assert fold.missing(snapshot) == []
    assert fold.task() == snapshot


def test_nothing_is_known_before_a_task_is_opened() -> None:
    fold = TaskFold()

    assert (fold.task(), fold.task_id, fold.context_id, fold.has_artifacts) == (None, "", "", False)
