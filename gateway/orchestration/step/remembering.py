"""What agents at work on a step get from the memory of its workflow, and put into it: asked for, or handed over."""

from dataclasses import replace

import structlog

from gateway.core.errors import Denied, GatewayError, InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.labels import join_all
from gateway.core.model import Request
from gateway.core.ports.orchestration import StepResult
from gateway.core.ports.runs import Run
from gateway.orchestration.messages.memories import Memories, Source, memo_to_json
from gateway.orchestration.messages.said import Said
from gateway.orchestration.records.orders import Order
from gateway.orchestration.records.results import cut
from gateway.orchestration.running.context import RunContext

log = structlog.get_logger(__name__)

SEARCH, ADD = "memory_search", "memory_add"
FOUND = 5
"""Entries a search gives unless told otherwise."""
FOUND_AT_MOST = 20
QUERY_CHARS = 1000
RECALLED = 5
"""Entries handed over with a step, at most."""
RECALLED_CHARS = 1000
"""How much of each."""


def _memory_of(settings: JsonObject) -> str:
    """Name of the workflow's memory, in its settings as a run keeps them; empty for none."""
    return json_text(settings.get("memory"))


class MemoryTools:
    """The tools of the server `run` that concern the memory."""

    def __init__(self, memories: Memories) -> None:
        self._memories = memories

    async def act(self, tool: str, request: Request, run: Run, given: JsonObject) -> JsonObject:
        """What the tool answers; its member `labels` are those of what is in it.

        Raises: Denied: the workflow has no memory, or the step may only propose; InvalidRequest; Unavailable;
            UpstreamFailed.
        """
        name = _memory_of(json_object(dict(run.spec).get("settings")))
        if not name:
            raise Denied(f"the workflow {run.workflow} has no memory", detail={"rule": "workflows.*.memory"})
        if tool == SEARCH:
            return await self._search(run.tenant, name, given)
        return await self._add(request, name, given)

    async def _search(self, tenant: str, name: str, given: JsonObject) -> JsonObject:
        query, limit = json_text(given.get("query")), given.get("limit", FOUND)
        if not 0 < len(query) <= QUERY_CHARS:
            raise InvalidRequest(f"`query` is a text of 1 to {QUERY_CHARS} characters")
        if not isinstance(limit, int) or not 1 <= limit <= FOUND_AT_MOST:
            raise InvalidRequest(f"`limit` is a number from 1 to {FOUND_AT_MOST}")
        found = await self._memories.search(tenant, name, query, limit=limit)
        entries: list[Json] = [memo_to_json(memo) for memo in found]
        return {"entries": entries, "labels": join_all(memo.labels for memo in found).to_json()}

    async def _add(self, request: Request, name: str, given: JsonObject) -> JsonObject:
        if request.phase == "propose":
            # Later runs would take for known what may never come true.
            raise Denied("this step may only propose: remember it in the commit phase", detail={"rule": "propose-only"})
        tags = json_list(given.get("tags"))
        if not all(isinstance(tag, str) for tag in tags):
            raise InvalidRequest("`tags` is a list of texts")
        by = Source(run_id=request.run_id, step_id=request.step_id, agent=request.principal.subject)
        memo = await self._memories.add(
            request.principal.tenant, name, json_text(given.get("text")), [str(tag) for tag in tags], by, request.labels
        )
        return memo_to_json(memo)


async def with_memory(run: RunContext, order: Order, said: Said, begun: StepResult) -> tuple[Said, StepResult]:
    """What the step says, with what the workflow's memory has to do with it, and the step with the labels of that.

    Nothing where the workflow does not want it. A memory that cannot be asked is no reason to stop: the agent may look
    itself, and does without.
    """
    settings, memories = run.spec.settings, run.wiring.memories
    name = _memory_of(settings)
    if order.kind != "agent" or settings.get("recall") is not True or not name or memories is None:
        return said, begun
    try:
        found = await memories.search(run.spec.tenant, name, said.instruction[:QUERY_CHARS], limit=RECALLED)
    except GatewayError as error:
        log.warning("a step begins without its memory", run=order.run_id, step=order.id, reason=error.message)
        return said, begun
    if not found:
        return said, begun
    entries: list[Json] = [memo_to_json(replace(memo, text=cut(memo.text, RECALLED_CHARS))) for memo in found]
    labels = begun.labels.join(join_all(memo.labels for memo in found))
    recalled = tuple(memo.id for memo in found)
    return replace(said, member={**said.member, "memory": entries}), replace(begun, labels=labels, recalled=recalled)
