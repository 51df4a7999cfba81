"""Listens for a server's word that its lists changed. A convenience: lists are read again from time to time anyway."""

from collections.abc import Awaitable, Callable

import anyio
from msgspec import Raw

from adapters.mcp.client_exchange import Wire, message_from
from adapters.mcp.client_params import Outgoing, own_meta
from adapters.mcp.client_stream import EVENTS
from adapters.mcp.wire import MODERN, encode
from adapters.net.http1 import header_lines
from adapters.net.response import Response
from gateway.core.errors import GatewayError
from gateway.core.json import JsonObject, json_object
from gateway.core.ports.world import Clock

EVERY_LIST: JsonObject = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
_STREAM_S = 3600.0
"""Longest one stream is listened to: a peer that vanished without a word is noticed then, at the latest."""
_FIRST_DELAY_S, _MOST_DELAY_S = 1.0, 60.0
_STEADY_S = 30.0


def announces_changes(about: JsonObject) -> bool:
    """Whether the server declares that it tells of changes to any of its lists, or to resources."""
    declared = [json_object(each) for each in json_object(about.get("capabilities")).values()]
    return any(each.get("listChanged") is True or each.get("subscribe") is True for each in declared)


async def listen_modern(wire: Wire, uris: tuple[str, ...], deadline_s: float) -> Response:
    """The stream of `subscriptions/listen` (MCP 2026-07-28), for every list and these resources."""
    method = "subscriptions/listen"
    wanted: JsonObject = {**EVERY_LIST, "resourceSubscriptions": [*uris]} if uris else EVERY_LIST
    params: JsonObject = {"notifications": wanted, "_meta": own_meta("modern")}
    out = Outgoing(method=method, members={key: Raw(encode(value)) for key, value in params.items()})
    lines = wire.lines + header_lines([("mcp-protocol-version", MODERN), ("mcp-method", method)])
    return await wire.post(lines, message_from(wire.number(), out), deadline_s=deadline_s)


async def listen_legacy(wire: Wire, lines: bytes, deadline_s: float) -> Response:
    """The stream a legacy server keeps beside the requests; `lines` are those of a session."""
    return await wire.pool.send(b"GET", wire.target, lines, b"", deadline_s=deadline_s)


async def keep_listening(
    listen: Callable[[float], Awaitable[Response | None]],
    follow: Callable[[Response], Awaitable[bool]],
    missed: Callable[[], None],
    clock: Clock,
    *,
    again: bool = False,
) -> None:
    """Listen, and listen again whenever the stream ends, until canceled, `listen` gives None, or there is no stream.

    `follow` says whether to listen again at once. `missed` is called after each stream but the first has begun, and
    after the first where somebody listened before: something may have changed in between.
    """
    delay_s, heard = _FIRST_DELAY_S, False
    while True:
        began_s, at_once = clock.monotonic_s(), False
        try:
            response = await listen(began_s + _STREAM_S)
            if response is None:
                return
            if response.status == 405 or (response.status == 404 and not heard):
                response.close()
                return  # it has no such stream; a server that had one may be starting again
            if response.status == 200 and response.header(b"content-type").lower().startswith(EVENTS):
                if again:
                    missed()
                again = heard = True
                at_once = await follow(response)
            response.close()
        except GatewayError:
            pass  # whoever calls the server learns of it; here it only means to try later
        if at_once:
            continue
        delay_s = _FIRST_DELAY_S if clock.monotonic_s() - began_s > _STEADY_S else min(_MOST_DELAY_S, delay_s * 2)
        await anyio.sleep(delay_s)


async def first_of(one: anyio.Event, other: anyio.Event) -> bool:
    """Wait for one of the two; whether it is the first."""
    async with anyio.create_task_group() as group:

        async def wait(event: anyio.Event) -> None:
            await event.wait()
            group.cancel_scope.cancel()

        group.start_soon(wait, one)
        group.start_soon(wait, other)
    return one.is_set()
