"""Results that are nobody's own A2A: what the door makes of them."""

import json

import pytest

from adapters.a2a.fold import TaskFold
from adapters.a2a.replies import closing_events, event_result, list_result, sent, task_result
from adapters.a2a.wire.bodies import Answer, Snapshot
from gateway.core.content import Content, Plain, text_part
from gateway.core.json import Json
from gateway.core.model import Accepted, Complete, InputRequired, Log, Progress, Result, StatusChanged, TaskOpened
from gateway.core.task import Task, TaskPage, TaskState

SAID = Plain(Content(parts=(text_part("said"),)))
TASK = Task(id="t", context_id="c", state=TaskState.WORKING, updated_at_us=1)


def opened() -> TaskFold:
    fold = TaskFold()
    fold.apply(TaskOpened(task=TASK))
    return fold


def answer(result: Result, fold: TaskFold) -> tuple[str, Json]:
    kind, raw = sent(result, fold, message_id="m", at_us=5, history_length=None)
    return kind, json.loads(raw)


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (Complete(body=SAID), "COMPLETED"),
        (Complete(body=SAID, is_error=True), "FAILED"),
        (InputRequired(body=SAID, state="s"), "INPUT_REQUIRED"),
    ],
)
def test_a_result_ends_the_open_task_in_the_state_it_means(result: Result, state: str) -> None:
    kind, task = answer(result, opened())

    assert kind == "task"
    assert isinstance(task, dict)
    assert json.dumps(task["status"]).count(f"TASK_STATE_{state}") == 1
    assert "said" in json.dumps(task)


def test_without_a_task_a_result_is_a_message() -> None:
    assert answer(Complete(body=SAID), TaskFold())[0] == "message"
    kind, message = answer(Complete(body=Plain(Content())), TaskFold())
    assert kind == "message"
    assert isinstance(message, dict)
    assert message["parts"] == [{"text": "", "mediaType": "text/plain"}]


@pytest.mark.parametrize(("state", "place"), [("completed", "artifacts"), ("failed", "status")])
def test_an_answer_a_policy_has_rewritten_stays_the_tasks_own(state: str, place: str) -> None:
    result = Complete(body=SAID, meta={"task": "t", "context": "c", "state": state})
    kind, task = answer(result, TaskFold())

    assert (kind, isinstance(task, dict) and task["id"]) == ("task", "t")
    assert isinstance(task, dict)
    assert "said" in json.dumps(task[place])


def test_a_task_that_goes_on_is_shown_as_it_is() -> None:
    assert answer(Accepted(task=TASK), TaskFold())[0] == "task"
    assert closing_events(Accepted(task=TASK), opened(), at_us=1) == []
    assert closing_events(Complete(body=Snapshot(TASK)), opened(), at_us=1) == []


def test_a_question_already_told_is_not_told_twice() -> None:
    fold = opened()
    fold.apply(StatusChanged(task_id="t", context_id="c", state=TaskState.INPUT_REQUIRED))

    assert closing_events(InputRequired(body=SAID, state="s"), fold, at_us=1) == []


def test_what_holds_no_task_or_list_is_neither() -> None:
    assert task_result(Complete(body=SAID), at_us=1, history_length=None) is None
    for result in (Complete(body=SAID), Accepted(task=TASK)):
        assert list_result(result, page_size=1, history_length=None, artifacts=False) is None


def test_lists_come_as_they_are_or_rendered() -> None:
    native = Complete(body=Answer(b'{"tasks":[]}', "tasks"))
    rendered = list_result(
        Complete(body=TaskPage(tasks=(TASK,), next_token="n", total=9)),
        page_size=1,
        history_length=0,
        artifacts=False,
    )

    assert list_result(native, page_size=1, history_length=None, artifacts=False) == b'{"tasks":[]}'
    assert rendered is not None
    page = json.loads(rendered)
    assert (page["nextPageToken"], page["pageSize"], page["totalSize"], len(page["tasks"])) == ("n", 1, 9, 1)


def test_progress_is_told_as_a_word_of_the_working_task() -> None:
    told = event_result(Progress(progress=1, message="half"), opened())
    assert told is not None
    update = json.loads(told)["statusUpdate"]
    assert (update["taskId"], update["status"]["state"]) == ("t", "TASK_STATE_WORKING")
    assert event_result(Log(level="info", text="half"), opened()) is not None
    assert event_result(Progress(progress=1), opened()) is None
    assert event_result(Log(level="info", text="early"), TaskFold()) is None


def test_a_task_that_has_ended_has_no_progress() -> None:
    fold = opened()
    fold.apply(StatusChanged(task_id="t", context_id="c", state=TaskState.COMPLETED))

    assert event_result(Progress(progress=1, message="late"), fold) is None
