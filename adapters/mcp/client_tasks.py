"""Hearing from a server where a task stands (`subscriptions/listen` with `taskIds`, SEP-2663), in its caller's name.

What is passed on is only that there is news; whoever hears it asks the server, and is judged for that.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from msgspec import Raw

from adapters.mcp.client_params import Outgoing, own_meta
from adapters.mcp.tasks import NOTIFICATION, TASK_ID, TASK_IDS
from adapters.mcp.wire import ACKNOWLEDGED, FOLLOWED, Frame, Params, encode
from gateway.core.errors import InvalidRequest, Unavailable
from gateway.core.json import JsonObject, json_list, json_object
from gateway.core.model import Emit, Event, Log, Request

Listen: TypeAlias = Callable[[Outgoing, Emit], Awaitable[Raw]]
"""Makes a request, and gives what is said under it until it is answered."""


async def follow_task(listen: Listen, request: Request, own_id: str, emit: Emit) -> None:
    """Tell `emit` that the task is followed, and of each change, until canceled.

    Raises: InvalidRequest: the server does not tell of this task; Unavailable: it says nothing more; what `listen`
        raises.
    """

    async def heard(event: Event) -> None:
        if not isinstance(event, Log) or not isinstance(event.native, Frame):
            return
        params = json_object(json_object(event.native.content().structured).get("params"))
        if event.text == ACKNOWLEDGED:
            if own_id not in json_list(json_object(params.get("notifications")).get(TASK_IDS)):
                raise InvalidRequest("the server does not tell of this task; ask it from time to time")
            await emit(Log(level="debug", text=FOLLOWED))
        elif event.text == NOTIFICATION and params.get(TASK_ID) == own_id:
            await emit(Log(level="debug", text=NOTIFICATION))

    wanted: JsonObject = {TASK_IDS: [own_id]}
    members = {"notifications": Raw(encode(wanted)), "_meta": _meta(request)}
    await listen(Outgoing(method="subscriptions/listen", members=members), heard)
    raise Unavailable("the server says nothing more of this task")


def _meta(request: Request) -> Raw:
    said = request.body.members.get("_meta") if isinstance(request.body, Params) else None
    return Raw(encode(own_meta("modern"))) if said is None else said
