"""Answers and events as the client's era has them, in bytes. Pure.

What comes from a server of the same era is joined into its envelope as it is; anything else is rebuilt.
"""

from typing import assert_never

from msgspec import Raw

from adapters.mcp.wire import (
    META_PREFIX,
    Answer,
    Era,
    Frame,
    Notice,
    block_from_part,
    decode_members,
    decode_value,
    encode,
)
from gateway.core.content import Content, Part, data_part
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.model import (
    Accepted,
    ArtifactAdded,
    Complete,
    Event,
    InputRequired,
    Log,
    Operation,
    Progress,
    Result,
    StatusChanged,
    TaskOpened,
)

SERVER_INFO_KEY = META_PREFIX + "serverInfo"
_ONLY_MODERN = ("resultType", "ttlMs", "cacheScope")
_COMPLETE = b'"complete"'


def response_bytes(request_id: bytes, result: bytes) -> bytes:
    """A JSON-RPC response; both parts are raw JSON."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (request_id, result)


def sse_bytes(message: bytes) -> bytes:
    """One server-sent event. Line breaks between JSON tokens mean nothing; inside strings JSON has none."""
    if b"\n" in message or b"\r" in message:
        message = message.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"event: message\ndata: %b\n\n" % message


def result_bytes(result: Result, operation: Operation, era: Era) -> bytes:
    """The `result` member for what the gateway answered."""
    match result:
        case Complete():
            if isinstance(result.body, Answer):
                return relayed(result.body, operation, era)
            return encode(_completed(result, operation, era))
        case InputRequired():
            return _asked_back(result, era)
        case Accepted():
            return encode(_accepted(result, era))
        case _:
            assert_never(result)


def relayed(answer: Answer, operation: Operation, era: Era) -> bytes:
    """An MCP server's answer for a client of either era."""
    if answer.era == era:
        return answer.raw
    if operation == "method":
        return _of_an_extension(answer.raw, era)
    return _for_modern(answer.raw, operation) if era == "modern" else _for_legacy(answer.raw)


def _of_an_extension(raw: bytes, era: Era) -> bytes:
    """Nothing in it means anything here, but for what every result of 2026-07-28 has."""
    said = {key: bytes(value) for key, value in decode_members(raw).items()}
    if era == "modern":
        said.setdefault("resultType", _COMPLETE)
    else:
        said.pop("resultType", None)
    return _object(said)


def _for_modern(raw: bytes, operation: Operation) -> bytes:
    members = decode_members(raw)
    said = {key: bytes(value) for key, value in members.items()}
    said.setdefault("resultType", _COMPLETE)
    if operation == "read":
        said.setdefault("ttlMs", b"0")
        said.setdefault("cacheScope", b'"private"')
    return _object(said)


def _for_legacy(raw: bytes) -> bytes:
    members = decode_members(raw)
    said = {key: bytes(value) for key, value in members.items()}
    if said.get("resultType", _COMPLETE) != _COMPLETE:
        return encode(_said_error("The server answered in a form that this client's protocol version has no word for."))
    for key in _ONLY_MODERN:
        said.pop(key, None)
    structured = said.get("structuredContent", b"{")
    if structured[:1] != b"{":
        # Until 2025-11-25 it is an object; what it says is said as text, too.
        del said["structuredContent"]
        said["content"] = _with_text(said.get("content", b"[]"), structured)
    if SERVER_INFO_KEY.encode() in said.get("_meta", b""):
        meta = {key: bytes(value) for key, value in decode_members(said["_meta"]).items() if key != SERVER_INFO_KEY}
        said["_meta"] = _object(meta)
        if not meta:
            del said["_meta"]
    return _object(said)


def _with_text(content: bytes, structured: bytes) -> bytes:
    """Content blocks, and the structured content as one of them where none is text."""
    blocks = json_list(decode_value(content))
    if any(json_object(block).get("type") == "text" for block in blocks):
        return content
    return encode([*blocks, {"type": "text", "text": structured.decode()}])


def _object(members: dict[str, bytes]) -> bytes:
    return b"{%b}" % b",".join(b"%b:%b" % (encode(key), value) for key, value in members.items())


def _completed(result: Complete, operation: Operation, era: Era) -> JsonObject:
    content = result.body.content()
    said: JsonObject = {"resultType": "complete"} if era == "modern" else {}
    match operation:
        case "get":
            said["messages"] = [{"role": "user", "content": block} for block in _blocks(content)]
        case "read":
            said["contents"] = [_contents(part) for part in content.parts or (data_part(content.structured),)]
            if era == "modern":
                said |= {"ttlMs": 0, "cacheScope": "private"}
        case "complete":
            values = content.structured if isinstance(content.structured, list) else []
            said["completion"] = {"values": values}
        case _:
            said["content"] = _blocks(content)
            if content.structured is not None and (era == "modern" or isinstance(content.structured, dict)):
                said["structuredContent"] = content.structured
            said["isError"] = result.is_error
    meta: JsonObject = {**content.metadata, **({"drawbridge/result": dict(result.meta)} if result.meta else {})}
    if meta:
        said["_meta"] = meta
    return said


def _blocks(content: Content) -> list[Json]:
    blocks: list[Json] = [block_from_part(part) for part in content.parts]
    if not blocks and content.structured is not None:
        blocks.append({"type": "text", "text": encode(content.structured).decode()})
    return blocks


def _contents(part: Part) -> JsonObject:
    """One entry of a resource's contents."""
    said: JsonObject = {"uri": part.name or part.url or "data:", "mimeType": part.media_type or "text/plain"}
    if part.kind == "raw":
        return said | {"blob": part.raw}
    return said | {"text": encode(part.data).decode() if part.kind == "data" else part.text}


def _asked_back(result: InputRequired, era: Era) -> bytes:
    if era == "modern" and isinstance(result.body, Answer):
        said = {key: bytes(value) for key, value in decode_members(result.body.raw).items()}
        said["resultType"] = b'"input_required"'
        if result.state:
            said["requestState"] = encode(result.state)
        return _object(said)
    if era == "modern" and result.questions:
        asked: JsonObject = {"resultType": "input_required", "inputRequests": {**result.questions}}
        return encode({**asked, "requestState": result.state})
    question = "" if isinstance(result.body, Answer) else result.body.content().text
    said_text = (
        f"More is needed before this can go on: {question}\nCall again with the answer as part of the input."
        if question
        else "The server asks the person in front of this client, which this client's protocol version has no"
        " way to carry. The call did not go on. Use a client of MCP 2026-07-28 or later, or give all that is needed."
    )
    return encode(_said_error(said_text) | ({"resultType": "complete"} if era == "modern" else {}))


def _said_error(text: str) -> JsonObject:
    return {"content": [{"type": "text", "text": text}], "isError": True}


def _accepted(result: Accepted, era: Era) -> JsonObject:
    task = result.task
    said: JsonObject = {"resultType": "complete"} if era == "modern" else {}
    text = f"Accepted as task {task.id}, now {task.state.value}. It goes on by itself."
    said["content"] = [{"type": "text", "text": text}]
    said["structuredContent"] = {"task": {"id": task.id, "contextId": task.context_id, "state": task.state.value}}
    said["isError"] = False
    return said


class EventWriter:
    """Events of one call as notifications: progress under the client's own token, logs from its level upwards."""

    __slots__ = ("_count", "_log_rank", "_token")

    def __init__(self, *, token: bytes, log_rank: int) -> None:
        self._token = token
        """Raw JSON; empty where the client did not ask for progress."""
        self._log_rank = log_rank
        self._count = 0

    def notification(self, event: Event) -> bytes | None:
        """The notification to send, or None where the client does not want it."""
        if isinstance(event, Log):
            if isinstance(event.native, Notice):
                return event.native.raw
            return _log(event) if LOG_RANKS.get(event.level, 0) >= self._log_rank else None
        if not self._token:
            return None
        self._count += 1
        if isinstance(event, Progress):
            if isinstance(event.native, Frame):
                return _with_token(event.native.raw, self._token)
            return _progress(self._token, event.progress, event.total, event.message)
        return _progress(self._token, self._count, None, _told(event))


LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
LOG_RANKS = {level: rank for rank, level in enumerate(LOG_LEVELS)}
LOG_NOTHING = len(LOG_LEVELS)


def _log(event: Log) -> bytes:
    if isinstance(event.native, Frame):
        return event.native.raw
    level = event.level if event.level in LOG_RANKS else "info"
    return notification_bytes("notifications/message", {"level": level, "logger": "drawbridge", "data": event.text})


def _with_token(raw: bytes, token: bytes) -> bytes:
    """A progress notification as it came; under the client's token, should the upstream know it by another."""
    frame = {key: bytes(value) for key, value in decode_members(raw).items()}
    params = {key: bytes(value) for key, value in decode_members(frame.get("params", b"{}")).items()}
    if params.get("progressToken") == token:
        return raw
    params["progressToken"] = token
    frame["params"] = _object(params)
    return _object(frame)


def _progress(token: bytes, progress: float, total: float | None, message: str) -> bytes:
    params: dict[str, object] = {"progressToken": Raw(token), "progress": progress}
    if total is not None:
        params["total"] = total
    if message:
        params["message"] = message
    return notification_bytes("notifications/progress", params)


def notification_bytes(method: str, params: object) -> bytes:
    return encode({"jsonrpc": "2.0", "method": method, "params": params})


def _told(event: TaskOpened | StatusChanged | ArtifactAdded) -> str:
    match event:
        case TaskOpened():
            return f"task {event.task.id} is {event.task.state.value}"
        case StatusChanged():
            return event.text or event.state.value
        case ArtifactAdded():
            return event.artifact.content.text or event.artifact.name or "a part of the answer is there"
        case _:
            assert_never(event)
