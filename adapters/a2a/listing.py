"""Pages of tasks that are somebody's own, out of an agent's list of everybody's.

To the agent the gateway is one client, so its ListTasks shows the tasks of all callers: pages are read on until enough
of the caller's own are found. Knows no HTTP.
"""

from collections.abc import Awaitable, Callable, Mapping

from adapters.a2a.exchange import heard_as
from adapters.a2a.wire.envelope import decode_object, encode
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

MOST_PAGES = 20
"""Pages of the agent read for one of the caller's."""
AGENT_PAGE = 100
"""The largest page A2A 1.0 has."""
DEFAULT_PAGE = 50

FetchPage = Callable[[Mapping[str, Json]], Awaitable[bytes]]
"""The raw result of ListTasks with these parameters."""


async def own_tasks(fetch: FetchPage, filters: Mapping[str, Json], owned: frozenset[str]) -> bytes:
    """A raw ListTasksResponse with the caller's tasks only.

    A page token says how many entries of which page of the agent have been dealt with, since a page of the caller's may
    end anywhere in one of the agent's.
    """
    wanted = _page_size(filters.get("pageSize"))
    skip, token = _position(json_text(filters.get("pageToken")))
    found: list[Json] = []
    next_token = ""
    for _ in range(MOST_PAGES):
        page = heard_as(decode_object, await fetch({**filters, "pageSize": AGENT_PAGE, "pageToken": token}))
        tasks = json_list(page.get("tasks"))
        following = json_text(page.get("nextPageToken"))
        for index, task in enumerate(tasks[skip:], start=skip):
            if len(found) == wanted:
                next_token = f"{index}.{token}"
                break
            if json_text(json_object(task).get("id")) in owned:
                found.append(task)
        if next_token or not following:
            break
        skip, token = 0, following
        next_token = f"0.{token}" if len(found) == wanted else ""
        if next_token:
            break
    else:
        next_token = f"0.{token}"
    answer: JsonObject = {
        "tasks": found,
        "nextPageToken": next_token,
        "pageSize": wanted,
        "totalSize": max(len(owned), len(found)),
    }
    return encode(answer)


def _page_size(value: Json) -> int:
    if value is None or value == 0:
        return DEFAULT_PAGE
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= AGENT_PAGE:
        raise InvalidRequest(f"pageSize is between 1 and {AGENT_PAGE}", detail={"field": "pageSize"})
    return value


def _position(token: str) -> tuple[int, str]:
    if not token:
        return 0, ""
    skip, dot, rest = token.partition(".")
    if not dot or not skip.isdigit() or len(skip) > 4:
        raise InvalidRequest("not a pageToken of this list", detail={"field": "pageToken"})
    return int(skip), rest
