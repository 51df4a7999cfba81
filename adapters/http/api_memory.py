"""What agents remember, over REST: searched, listed and forgotten by operators, each within their tenant."""

from starlette.responses import Response

from adapters.http.api_call import LIST_LIMIT, Call, Recorder, answer
from adapters.http.api_ports import MemoryKeeper
from adapters.http.api_views import rfc3339
from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject, json_list
from gateway.core.ports.memory import Memo


class MemoryEndpoints:
    def __init__(self, *, memories: MemoryKeeper, recorder: Recorder) -> None:
        self._memories = memories
        self._recorder = recorder

    async def list_memories(self, call: Call) -> Response:
        names = await self._memories.names(call.tenant)
        return answer({"memories": [{"name": name, "entries": names[name]} for name in sorted(names)]})

    async def search_memory(self, call: Call) -> Response:
        name, query = call.path("name"), call.text("query")
        limit = max(1, call.number("limit", 20, LIST_LIMIT))
        if query:
            found = await self._memories.search(call.tenant, name, query, limit=limit)
        else:
            found = await self._memories.list(call.tenant, name, limit=limit)
        return answer({"memory": name, "entries": [memo_view(memo) for memo in found]})

    async def forget_memory(self, call: Call) -> Response:
        name, older_than_s = call.path("name"), call.body.get("older_than_s")
        ids = [str(each) for each in json_list(call.body.get("ids"))]
        if bool(ids) == isinstance(older_than_s, int | float):
            raise InvalidRequest("say which: `ids`, or `older_than_s`, 0 for all")
        detail: JsonObject = {"memory": name, **call.body}
        async with self._recorder.change(call, "memory.forget", detail=detail):
            if isinstance(older_than_s, int | float):
                count = await self._memories.forget_older(call.tenant, name, older_than_s)
            else:
                count = await self._memories.forget(call.tenant, name, ids)
        return answer({"memory": name, "forgotten": count})


def memo_view(memo: Memo) -> JsonObject:
    return {
        "id": memo.id,
        "at": rfc3339(memo.at_us),
        "text": memo.text,
        "tags": [*memo.tags],
        "agent": memo.agent,
        "run": memo.run_id,
        "step": memo.step_id,
        "labels": memo.labels.to_json(),
    }
