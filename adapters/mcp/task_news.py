"""Where a client's tasks stand, told on its stream of `subscriptions/listen` (SEP-2663).

A server's notification only says that there is news. What is told is asked of it as by `tasks/get`, so that policies
judge and record the outcome of a task whichever way it comes, and nothing that was missed stays unknown.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio
from anyio import lowlevel

from adapters.mcp.calls import Calls
from adapters.mcp.knock import Knock
from adapters.mcp.refusals import INVALID_PARAMS, RpcRefusal
from adapters.mcp.tasks import OVER, parts_of
from adapters.mcp.uris import rewritten_result
from adapters.mcp.views import View
from adapters.mcp.wire import Answer, decode_members
from gateway.core.errors import GatewayError, UpstreamFailed
from gateway.core.json import Json
from gateway.core.model import Complete, Event, ignore_event

Tell: TypeAlias = Callable[[str, bytes], None]
"""By task id, all there is to say of it now: a JSON object, raw."""
Seen: TypeAlias = Callable[[], Awaitable[tuple[Knock, View]]]
"""The stream's holder as of now, and what it sees. Raises: Unauthenticated, Unavailable."""
BEGUN_S = 5.0
"""Longest a server may take to agree to tell of a task; of one that takes longer nothing is promised."""


class TaskNews:
    """Follows tasks of whoever holds a stream."""

    def __init__(self, calls: Calls, most: int) -> None:
        """`most`: tasks one stream may tell of."""
        self._calls = calls
        self._most = most

    async def allowed(self, knock: Knock, view: View, wanted: Json) -> frozenset[str]:
        """Those of the tasks that will be told of.

        Raises: RpcRefusal: no list of ids, too many, or the client does not declare that it knows tasks.
        """
        if wanted is None:
            return frozenset()
        ids = frozenset(each for each in wanted if isinstance(each, str)) if isinstance(wanted, list) else None
        if ids is None:
            raise RpcRefusal(INVALID_PARAMS, "notifications.taskIds must be a list")
        if len(ids) > self._most:
            raise RpcRefusal(INVALID_PARAMS, f"no more than {self._most} tasks can be followed at once")
        if not ids or not self._calls.has_tasks(knock, view):
            return frozenset()
        found: set[str] = set()

        async def check(task_id: str) -> None:
            with anyio.move_on_after(BEGUN_S) as beginning:

                async def begun(event: Event) -> None:
                    found.add(task_id)
                    beginning.cancel()
                    await lowlevel.checkpoint()

                try:
                    await self._calls.of_task(knock, view, task_id, "task.subscribe", begun)
                except (GatewayError, RpcRefusal):
                    return  # it is left out of what is acknowledged

        async with anyio.create_task_group() as group:
            for task_id in ids:
                group.start_soon(check, task_id)
        return frozenset(found)

    async def follow(self, task_id: str, seen: Seen, tell: Tell) -> None:
        """Tell where a task stands, now and with each change, until canceled. Raises: GatewayError."""
        knock, view = await seen()
        owner = parts_of(task_id)[0].partition(":")[2].partition("/")[0]
        with anyio.CancelScope() as scope:

            async def heard(event: Event) -> None:
                # Judged each time as whoever the holder is by now.
                now, seen_now = await seen()
                result = await self._calls.of_task(now, seen_now, task_id, "task.get", ignore_event)
                if not isinstance(result, Complete) or not isinstance(result.body, Answer):
                    raise UpstreamFailed("the server did not say where its task stands")
                outward = seen_now.outward(owner)
                tell(task_id, result.body.raw if outward is None else rewritten_result(result.body.raw, outward))
                if bytes(decode_members(result.body.raw).get("status", b"")).strip(b'"') in OVER:
                    scope.cancel()

            await self._calls.of_task(knock, view, task_id, "task.subscribe", heard)
        await anyio.sleep_forever()  # nothing more will come of it
