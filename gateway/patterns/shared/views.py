"""What a step is shown of the task and of earlier results: the fields it names, and no others. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.ports.orchestration import Handing, StepResult, TaskView
from gateway.core.task import Task
from gateway.patterns.shared.references import TASK
from gateway.patterns.shared.settings import texts

Shown: TypeAlias = "Literal['', 'full', 'summary', 'none'] | tuple[str, ...]"
"""Of the original task: nothing said, all, the beginning of its words, nothing, or these fields of its data."""
SUMMARY_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What somebody may see."""

    task: Shown = ""
    passed: tuple[str, ...] = ()
    """Names of fields, `amount` or `STAGE.amount`; empty for all but the hidden ones."""
    hidden: tuple[str, ...] = ()
    """Names of fields, wherever they stand."""

    @property
    def limited(self) -> bool:
        """Whether there is something it must not see: then free text is not for it, which could say anything."""
        return bool(self.passed or self.hidden)


def handing_in(entry: JsonObject, otherwise: Handing = "asked") -> Handing:
    """How long results are handed over, by a workflow, a step or a stage."""
    match entry.get("whole"):
        case True:
            return "whole"
        case False:
            return "summary"
        case _:
            return otherwise


def sight_in(entry: JsonObject) -> Sight:
    """Raises: InvalidRequest: the same field is passed and hidden."""
    said = entry.get("task")
    passed, hidden = texts(entry.get("pass")), texts(entry.get("hide"))
    both = {each.rpartition(".")[2] for each in passed}.intersection(hidden)
    if both:
        raise InvalidRequest(f"{', '.join(sorted(both))} is both passed and hidden")
    match said:
        case "full" | "summary" | "none":
            return Sight(task=said, passed=passed, hidden=hidden)
        case list():
            return Sight(task=texts(said), passed=passed, hidden=hidden)
        case _:
            return Sight(passed=passed, hidden=hidden)


def known_of(task: Task | None) -> dict[str, Json]:
    """What references to the task stand for."""
    message = None if task is None else task.message
    said: JsonObject = {} if message is None else {"message": message.text, **json_object(message.structured)}
    return {TASK: said}


def task_view(sight: Sight, task: Task, left_out: tuple[str, ...] = ()) -> TaskView | None:
    """What is told of the task: None for all of it. `left_out`: members of its data that are told in another way."""
    message = "" if task.message is None else task.message.text
    data: Json = None if task.message is None else task.message.structured
    if isinstance(data, dict):
        kept = {name: each for name, each in data.items() if name not in left_out}
        data = _fields(kept, "task", sight) if sight.limited else kept
    elif sight.limited:
        data = None
    match sight.task:
        case "none":
            return TaskView()
        case "summary":
            return TaskView(message=_cut(message))
        case "full":
            return TaskView(message=message, data=data)
        case "":
            if not sight.limited and not left_out:
                return None
            return TaskView(message="" if sight.limited else message, data=data or None)
        case names:
            told = {name: each for name, each in json_object(data).items() if name in names}
            return TaskView(message=message if "message" in names else "", data=told or None)


def narrowest(views: Iterable[TaskView | None]) -> TaskView | None:
    """What all of them are told, of one task; None where that is all of it."""
    said = [view for view in views if view is not None]
    if not said:
        return None
    data = [json_object(view.data) for view in said]
    shared: JsonObject = {
        name: each for name, each in data[0].items() if all(name in one and one[name] == each for one in data)
    }
    whole = all(view.data == said[0].data for view in said)
    return TaskView(
        message=min((view.message for view in said), key=len), data=said[0].data if whole else shared or None
    )


def seen(value: Json, source: str, sight: Sight) -> Json:
    """The value, from the stage or task `source`, as it may be seen."""
    if not sight.limited:
        return value
    # Of a text or a list nobody can say what is in it.
    return _fields(value, source, sight) if isinstance(value, dict) else None


def result_seen(result: StepResult, source: str, sight: Sight) -> StepResult:
    """The result as it may be seen; its own words only where nothing is to be kept back."""
    if not sight.limited:
        return result
    return replace(result, value=seen(result.value, source, sight) or None, text="", summary="")


def in_summary(result: StepResult) -> StepResult:
    """The result without its value; where nobody summed it up, with the beginning of what it says."""
    if result.summary or result.value is None:
        return replace(result, value=None)
    said = result.text or (
        result.value if isinstance(result.value, str) else json.dumps(result.value, ensure_ascii=False)
    )
    return replace(result, value=None, summary=_cut(said))


def _fields(value: Mapping[str, Json], source: str, sight: Sight) -> JsonObject:
    shown = {
        name: each
        for name, each in value.items()
        if not sight.passed or name in sight.passed or f"{source}.{name}" in sight.passed
    }
    return json_object(_without_hidden(shown, frozenset(sight.hidden)))


def _without_hidden(value: Json, hidden: frozenset[str]) -> Json:
    if isinstance(value, dict):
        return {name: _without_hidden(each, hidden) for name, each in value.items() if name not in hidden}
    if isinstance(value, list):
        return [_without_hidden(each, hidden) for each in value]
    return value


def _cut(text: str) -> str:
    return text if len(text) <= SUMMARY_CHARS else text[: SUMMARY_CHARS - 1].rstrip() + "…"
