"""What an agent's answer publishes: tasks for others, and what it found out. Pure.

The member `drawbridge` may say `{"publish": [{"topic": "find", "key": "1", "input": {...}}], "findings": {"a": ...}}`.
An answer that names no finding is one itself, under the key of its task.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.ports.orchestration import StepResult
from gateway.patterns.event_driven.task_queue import QueuedTask

MOST_TASKS = 20
MOST_FINDINGS = 50
LONGEST_NAME = 100
_TOPIC = re.compile(r"[a-z0-9._-]{1,60}")
CONTRACT = (
    'publish with {"drawbridge": {"publish": [{"topic": TOPIC, "key": KEY, "input": {...}}], "findings": {NAME: ...}}}'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    tasks: tuple[QueuedTask, ...] = ()
    findings: Mapping[str, Json] = field(default_factory=dict[str, Json])


def publication_in(result: StepResult, key: str) -> Publication:
    """Raises: InvalidRequest: it is none, or too much; the message tells the worker what to mend."""
    tasks, findings = result.said.get("publish", []), result.said.get("findings", {})
    if not isinstance(tasks, list) or not isinstance(findings, dict):
        raise InvalidRequest(CONTRACT)
    if len(tasks) > MOST_TASKS or len(findings) > MOST_FINDINGS:
        raise InvalidRequest(f"an answer publishes at most {MOST_TASKS} tasks and {MOST_FINDINGS} findings")
    long = [name for name in findings if not 0 < len(name) <= LONGEST_NAME]
    if long:
        raise InvalidRequest(f"the name of a finding has 1 to {LONGEST_NAME} characters")
    if not findings and result.value not in (None, "", {}, []):
        findings = {key: result.value}
    return Publication(tasks=tasks_in(tasks, result), findings=findings)


def tasks_in(entries: list[Json], result: StepResult) -> tuple[QueuedTask, ...]:
    """Tasks as somebody wrote them, labelled as all they say. Raises: InvalidRequest: one is none."""
    return tuple(_task(json_object(entry), result) for entry in entries)


def _task(entry: JsonObject, result: StepResult) -> QueuedTask:
    topic, key, given = json_text(entry.get("topic")), json_text(entry.get("key")), entry.get("input", {})
    if not _TOPIC.fullmatch(topic):
        raise InvalidRequest(f"{topic[:60]!r} is no topic: small letters, digits, dot, _ and -, at most 60")
    if len(key) > LONGEST_NAME:
        raise InvalidRequest(f"the key of a task has at most {LONGEST_NAME} characters")
    if not isinstance(given, dict | str):
        raise InvalidRequest(f"the input of a task is an object or a text: {CONTRACT}")
    said: JsonObject = {"instruction": given} if isinstance(given, str) else given
    return QueuedTask(topic=topic, key=key, input=said, labels=result.labels, published_by=result.id)
