"""The extension `io.modelcontextprotocol/tasks` (SEP-2663) on the wire: the SDK does not have it.

A task is a coroutine that runs on beside its caller, may ask, and is looked at from time to time.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

import anyio
from anyio.abc import TaskGroup
from mcp import MCPError

from tests.conformance.everything.calling import Call, Question, Result, content_of, elicitation, text_result

EXTENSION = "io.modelcontextprotocol/tasks"
METHODS = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
TTL_MS = 600_000
POLL_MS = 100
_FAILING_S = 0.2
_OVER = ("completed", "failed", "cancelled")
_CONFIRM = {"type": "boolean"}


@dataclass(slots=True, kw_only=True)
class Task:
    """One task, and what it waits for."""

    id: str = field(default_factory=lambda: f"task-{uuid.uuid4().hex}")
    status: str = "working"
    created_at: str = field(default_factory=lambda: _now())
    updated_at: str = field(default_factory=lambda: _now())
    outcome: Result = field(default_factory=dict[str, Any])
    questions: dict[str, Question] = field(default_factory=dict[str, Question])
    answers: dict[str, Any] = field(default_factory=dict[str, Any])
    answered: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def become(self, status: str, **outcome: Any) -> None:
        self.status, self.updated_at = status, _now()
        self.outcome = outcome

    def described(self) -> Result:
        return {
            "taskId": self.id,
            "status": self.status,
            "createdAt": self.created_at,
            "lastUpdatedAt": self.updated_at,
            "ttlMs": TTL_MS,
            "pollIntervalMs": POLL_MS,
        }

    async def ask(self, questions: Mapping[str, Question]) -> dict[str, Any]:
        """The answers, once all of them are there."""
        self.questions |= questions
        self.become("input_required")
        while self.questions:
            self.answered = anyio.Event()
            await self.answered.wait()
        self.become("working")
        return self.answers

    def answer(self, answers: Mapping[str, Any]) -> None:
        """Take note of those that were asked for."""
        for key in answers.keys() & self.questions.keys():
            self.answers[key] = answers[key]
            del self.questions[key]
        self.answered.set()


Ask: TypeAlias = Callable[[Mapping[str, Question]], Awaitable[dict[str, Any]]]
Work: TypeAlias = Callable[[Call, Ask], Awaitable[Result]]
"""What is done, as a task or at once."""


async def _slow(call: Call, ask: Ask) -> Result:
    seconds = float(call.arguments.get("seconds", 0))
    await anyio.sleep(seconds)
    return text_result(f"{call.arguments.get('label', 'slow_compute')}: done after {seconds:g} s")


async def _failing(call: Call, ask: Ask) -> Result:
    await anyio.sleep(_FAILING_S)
    return text_result("the job failed, as it always does", is_error=True)


async def _breaking(call: Call, ask: Ask) -> Result:
    raise MCPError(code=-32603, message="the job broke")


async def _confirming(call: Call, ask: Ask) -> Result:
    name = str(call.arguments.get("filename"))
    answers = await ask({"confirm": elicitation(f"Delete {name}?", confirm=_CONFIRM)})
    agreed = content_of(answers["confirm"]).get("confirm") is True
    return text_result(f"{name} {'deleted' if agreed else 'kept'}")


async def _two_questions(call: Call, ask: Ask) -> Result:
    await ask({key: elicitation(f"The {key}?", confirm=_CONFIRM) for key in ("first", "second")})
    return text_result("both answered")


async def _named(call: Call, ask: Ask) -> Result:
    return text_result(f"for {call.arguments['user_name']}")


WORK: Mapping[str, Work] = {
    "slow_compute": _slow,
    "failing_job": _failing,
    "protocol_error_job": _breaking,
    "confirm_delete": _confirming,
    "multi_input": _two_questions,
    "test_tool_with_task": _named,
}
REQUIRED = frozenset({"failing_job", "test_tool_with_task"})
"""Tools that are nothing but tasks."""
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "slow_compute": {
        "type": "object",
        "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}},
    },
    "confirm_delete": {"type": "object", "properties": {"filename": {"type": "string"}}},
}


class Tasks:
    """All tasks of a server."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._tasks: dict[str, Task] = {}

    async def call(self, call: Call) -> Result:
        """`tools/call` of a tool that may become a task."""
        if call.name == "test_tool_with_task":
            question = elicitation("What is your name?", name={"type": "string"})
            answer = await call.ask({"user_name": question}, state="who is it for?")
            call.arguments["user_name"] = content_of(answer["user_name"]).get("name")
        if not declares_tasks(call):
            if call.name in REQUIRED:
                raise _undeclared()
            return await WORK[call.name](call, call.ask)
        task = Task()
        self._tasks[task.id] = task
        self._group.start_soon(self._run, task, call)
        return {"resultType": "task", **task.described()}

    def serve(self, call: Call) -> Result:
        """`tasks/get`, `tasks/update` and `tasks/cancel`."""
        if not declares_tasks(call):
            raise _undeclared()
        params: Mapping[str, Any] = call.ctx.params or {}
        if call.ctx.request is not None and call.ctx.request.headers.get("mcp-name") != params.get("taskId"):
            raise MCPError(code=-32020, message="the header Mcp-Name does not repeat params.taskId")
        task = self._tasks.get(str(params.get("taskId")))
        if task is None:
            raise MCPError(code=-32602, message="there is no such task")
        if call.ctx.method == "tasks/get":
            said = {"resultType": "complete", **task.described(), **task.outcome}
            return said | ({"inputRequests": dict(task.questions)} if task.status == "input_required" else {})
        if call.ctx.method == "tasks/update":
            task.answer(params.get("inputResponses") or {})
        elif task.status not in _OVER:
            task.scope.cancel()
            task.become("cancelled")
        return {"resultType": "complete"}

    async def _run(self, task: Task, call: Call) -> None:
        with task.scope:
            try:
                task.become("completed", result=await WORK[call.name](call, task.ask))
            except MCPError as error:
                task.become("failed", error={"code": error.error.code, "message": error.error.message})


def declares_tasks(call: Call) -> bool:
    return call.modern and EXTENSION in call.capabilities.get("extensions", {})


def _undeclared() -> MCPError:
    needed: Result = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    return MCPError(code=-32021, message="this needs a client that knows tasks", data=needed)


def _now() -> str:
    return datetime.now(UTC).isoformat()
