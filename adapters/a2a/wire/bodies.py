"""Payloads that stay A2A's own bytes until somebody asks what they say. Pure."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Raw

from adapters.a2a.wire.envelope import decode_object, decode_strictly, decode_value
from adapters.a2a.wire.values import FAILURES, content_from_json, content_of_task, task_from_json
from gateway.core.content import Content
from gateway.core.json import JsonObject, json_object
from gateway.core.task import Task


class Params:
    """The `params` of a request as they came: a `Body` whose members are still raw JSON."""

    __slots__ = ("_content", "_message", "members", "size_bytes")

    def __init__(self, members: Mapping[str, Raw], *, size_bytes: int = 0) -> None:
        self.members = members
        self.size_bytes = size_bytes
        self._content: Content | None = None
        self._message: JsonObject | None = None

    @property
    def message(self) -> JsonObject:
        """The message that is sent; empty in requests about tasks."""
        if self._message is None:
            raw = self.members.get("message")
            self._message = {} if raw is None else json_object(decode_strictly(bytes(raw)))
        return self._message

    def content(self) -> Content:
        """What the message says; of a request about a task, its parameters as the structured value."""
        if self._content is None:
            if "message" in self.members:
                self._content = content_from_json(self.message.get("parts"), self.message.get("metadata"))
            else:
                self._content = Content(
                    structured={name: decode_value(bytes(raw)) for name, raw in self.members.items()}
                )
        return self._content


class Answer:
    """A task or message as the agent sent it: a `Body` of raw JSON."""

    __slots__ = ("_content", "_value", "kind", "raw")

    def __init__(self, raw: bytes, kind: Literal["task", "message", "tasks"]) -> None:
        self.raw = raw
        self.kind: Literal["task", "message", "tasks"] = kind
        """`tasks`: the answer to ListTasks."""
        self._content: Content | None = None
        self._value: JsonObject | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.raw)

    @property
    def value(self) -> JsonObject:
        """The JSON. Raises: InvalidRequest: not an object."""
        if self._value is None:
            self._value = decode_object(self.raw)
        return self._value

    def content(self) -> Content:
        """A task's artifacts or last words, a message's parts, or a list as it is."""
        if self._content is None:
            match self.kind:
                case "task":
                    task = task_from_json(self.value)
                    self._content = content_of_task(task, failed=task.state in FAILURES)
                case "message":
                    self._content = content_from_json(self.value.get("parts"), self.value.get("metadata"))
                case "tasks":
                    self._content = Content(structured=self.value)
        return self._content


class Snapshot:
    """A task put together from its events: a `Body` that never was on the wire as a whole."""

    __slots__ = ("_content", "task")

    def __init__(self, task: Task) -> None:
        self.task = task
        self._content: Content | None = None

    @property
    def size_bytes(self) -> int:
        return 0

    def content(self) -> Content:
        if self._content is None:
            self._content = content_of_task(self.task, failed=self.task.state in FAILURES)
        return self._content


class Frame:
    """One StreamResponse as it came: a `Body` of raw JSON."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    @property
    def size_bytes(self) -> int:
        return len(self.raw)

    def content(self) -> Content:
        return Content(structured=decode_value(self.raw))
