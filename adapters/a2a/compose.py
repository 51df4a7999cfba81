"""Messages to agents: made from what other doors and the orchestrator say, or relayed as an A2A client wrote them.

Pure. A relayed message keeps every member it came with; only the route is the gateway's own to set.
"""

from adapters.a2a.card import DELEGATION, CheckedCard
from adapters.a2a.wire.bodies import Params
from adapters.a2a.wire.envelope import Member
from adapters.a2a.wire.values import message_json, parts_json
from adapters.net.http1 import header_lines
from gateway.core.content import Content, data_part, text_part
from gateway.core.json import JsonObject, json_object, json_text
from gateway.core.model import Request

INPUT_SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "What the agent is asked, in words."},
        "data": {"type": "object", "description": "Structured input beside the words."},
    },
    "required": ["message"],
}
"""What callers that do not speak A2A give an agent."""


def relayed_params(body: Params, card: CheckedCard) -> dict[str, Member]:
    """The parameters as they came, on the agent's own route."""
    members: dict[str, Member] = {name: raw for name, raw in body.members.items() if name != "tenant"}
    return {**members, **_route(card)}


def composed_params(
    request: Request, card: CheckedCard, *, message_id: str, context_id: str, task_id: str, delegation: str
) -> dict[str, Member]:
    """Parameters of a message that says what the request's body says."""
    message = message_json(
        said_in(request.body.content()), message_id=message_id, role="user", context_id=context_id, task_id=task_id
    )
    if delegation:
        message["metadata"] = {**json_object(message.get("metadata")), DELEGATION: {"token": delegation}}
        message["extensions"] = [DELEGATION]
    params: dict[str, Member] = {"message": message, **_route(card)}
    if request.meta.get("return_immediately") is True:
        params["configuration"] = {"returnImmediately": True}
    return params


def said_in(content: Content) -> Content:
    """A content as a message can carry it: parts, where there are only arguments (see `INPUT_SCHEMA`)."""
    if content.parts or content.structured is None:
        return content
    value = content.structured
    if isinstance(value, str):
        return Content(parts=(text_part(value),))
    fields = json_object(value)
    if isinstance(fields.get("message"), str) and fields.keys() <= {"message", "data"}:
        parts = (text_part(json_text(fields["message"])),)
        return Content(parts=(*parts, data_part(fields["data"])) if "data" in fields else parts)
    return Content(parts=(data_part(value),))


def says_anything(content: Content) -> bool:
    """Whether a message could be made of it; A2A 1.0 wants at least one part."""
    return bool(parts_json(said_in(content)))


def task_params(request: Request, card: CheckedCard, task_id: str) -> dict[str, Member]:
    """Parameters of a request about one task."""
    if isinstance(request.body, Params):
        return {**relayed_params(request.body, card), "id": task_id}
    params: dict[str, Member] = {"id": task_id, **_route(card)}
    if isinstance(request.meta.get("history_length"), int):
        params["historyLength"] = request.meta["history_length"]
    return params


def extra_headers(request: Request, *, delegation: bool) -> bytes:
    """Header lines that belong to this call alone."""
    offered = [each.strip() for each in json_text(request.meta.get("extensions")).split(",") if each.strip()]
    if delegation:
        offered.append(DELEGATION)
    lines: list[tuple[str, str]] = [("a2a-extensions", ",".join(offered))] if offered else []
    if request.traceparent:
        lines.append(("traceparent", request.traceparent))
    return header_lines(lines)


def _route(card: CheckedCard) -> JsonObject:
    return {"tenant": card.route} if card.route else {}
