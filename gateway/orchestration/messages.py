"""What a step says to its target. Pure."""

from collections.abc import Mapping

from gateway.core.content import Content, Plain, data_part, text_part
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.ports.orchestration import Entry, Node, StepResult, TaskView
from gateway.orchestration.results import MEMBER, handed_over
from gateway.orchestration.spec import RunSpec


def step_body(spec: RunSpec, node: Node, results: Mapping[str, StepResult], read: Mapping[str, Entry]) -> Plain:
    """The body of a step's request. A tool gets its arguments and nothing else; agents and workflows also learn of the
    original task, of what they read on the scratchpad, and of the results they are given."""
    given = _input_object(node.input)
    if node.target.startswith("tool:"):
        return Plain(Content(structured=given))
    whole = TaskView(message=spec.message, data=spec.data if node.whole else None)
    task = whole if node.task is None else node.task
    seen: JsonObject = {key: {"value": entry.value, "version": entry.version} for key, entry in read.items()}
    handed: JsonObject = {name: handed_over(result) for name, result in results.items()}
    member: JsonObject = {"phase": node.phase, "scratchpad": seen, "results": handed, "task": task.message}
    if task.data is not None:
        member["data"] = task.data
    if node.note:
        member["note"] = node.note
    if node.target.startswith("workflow:"):
        message = json_text(given.get("message")) or json_text(given.get("instruction")) or task.message
        inner = json_object(given.get("data")) if "message" in given else given
        return Plain(Content(structured={"message": message, "data": {**inner, MEMBER: member}}))
    instruction = json_text(given.get("instruction")) or task.message
    data: JsonObject = {**given, MEMBER: member}
    parts = (text_part(instruction),) if instruction else ()
    return Plain(Content(parts=(*parts, data_part(data)), structured=data))


def _input_object(value: Json) -> JsonObject:
    if isinstance(value, str):
        return {"instruction": value}
    return value if isinstance(value, dict) else {} if value is None else {"input": value}
