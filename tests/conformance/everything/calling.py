"""One request to a tool or a prompt that may ask back, in the words of whichever era the client speaks."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from mcp.server import ServerRequestContext
from mcp.shared.message import ServerMessageMetadata
from mcp.types import (
    CreateMessageRequest,
    CreateMessageResult,
    ElicitRequest,
    ElicitResult,
    ListRootsRequest,
    ListRootsResult,
    LoggingMessageNotification,
    ProgressNotification,
)

MODERN = "2026-07-28"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"

Result: TypeAlias = dict[str, Any]
Question: TypeAlias = Mapping[str, Any]
"""Method and params of a request to the client."""

_KINDS: Mapping[str, tuple[type[Any], type[Any]]] = {
    "elicitation/create": (ElicitRequest, ElicitResult),
    "sampling/createMessage": (CreateMessageRequest, CreateMessageResult),
    "roots/list": (ListRootsRequest, ListRootsResult),
}


class Asked(Exception):
    """The client has to answer before this goes on; its second call begins again from the top."""

    def __init__(self, questions: Mapping[str, Question], state: str | None) -> None:
        super().__init__("the client is asked")
        self.questions = questions
        self.state = state

    def result(self) -> Result:
        said: Result = {"resultType": "input_required", "inputRequests": dict(self.questions)}
        return said if self.state is None else said | {"requestState": self.state}


class Call:
    """What a tool sees."""

    def __init__(self, ctx: ServerRequestContext[Any, Any]) -> None:
        self.ctx = ctx
        params: Mapping[str, Any] = ctx.params or {}
        self.name = str(params.get("name"))
        self.arguments: dict[str, Any] = dict(params.get("arguments") or {})
        self.state: str | None = params.get("requestState")
        self.modern = ctx.protocol_version == MODERN
        meta: Mapping[str, Any] = params.get("_meta") or {}
        declared = ctx.session.client_capabilities
        self.capabilities: dict[str, Any] = meta.get(CAPABILITIES) or {}
        if not self.modern and declared is not None:
            self.capabilities = declared.model_dump(by_alias=True, exclude_none=True)
        self._responses: Mapping[str, Any] = params.get("inputResponses") or {}

    async def ask(self, questions: Mapping[str, Question], state: str | None = None) -> dict[str, Any]:
        """The answer to each question. Raises: Asked: the client has to call again with them."""
        if not self.modern:
            return {key: await self._ask_live(question) for key, question in questions.items()}
        if not all(_fits(self._responses.get(key), each) for key, each in questions.items()):
            raise Asked(questions, state)
        return {key: self._responses[key] for key in questions}

    async def log(self, text: str) -> None:
        """Said to legacy clients always, to modern ones that asked for it."""
        if self.modern and LOG_LEVEL not in ((self.ctx.params or {}).get("_meta") or {}):
            return
        note = {"method": "notifications/message", "params": {"level": "info", "data": text}}
        await self.ctx.session.send_notification(LoggingMessageNotification.model_validate(note), self.ctx.request_id)

    async def progress(self, progress: float, total: float) -> None:
        token = (self.ctx.params or {}).get("_meta", {}).get("progressToken")
        if token is not None:
            params = {"progressToken": token, "progress": progress, "total": total, "message": f"{progress} of {total}"}
            note = {"method": "notifications/progress", "params": params}
            await self.ctx.session.send_notification(ProgressNotification.model_validate(note), self.ctx.request_id)

    async def _ask_live(self, question: Question) -> dict[str, Any]:
        request, result = _KINDS[question["method"]]
        answer = await self.ctx.session.send_request(
            request.model_validate(dict(question)),
            result,
            metadata=ServerMessageMetadata(related_request_id=self.ctx.request_id),
        )
        said: dict[str, Any] = answer.model_dump(by_alias=True, mode="json", exclude_none=True)
        return said


Tool: TypeAlias = Callable[[Call], Awaitable[Result]]


def text_result(text: str, *, is_error: bool = False) -> Result:
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


def content_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What was filled in, where anything was."""
    return answer.get("content") or {}


def elicitation(message: str, **properties: Mapping[str, Any]) -> Question:
    """A form with these fields, all of them required."""
    schema = {"type": "object", "properties": properties, "required": [*properties]}
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}


def sampling(prompt: str, max_tokens: int) -> Question:
    message = {"role": "user", "content": {"type": "text", "text": prompt}}
    return {"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": max_tokens}}


ROOTS: Question = {"method": "roots/list", "params": {}}


def _fits(answer: Any, question: Question) -> bool:
    """Whether an answer is one to such a question at all."""
    wanted = {"elicitation/create": "action", "sampling/createMessage": "content", "roots/list": "roots"}
    return isinstance(answer, Mapping) and wanted[question["method"]] in answer
