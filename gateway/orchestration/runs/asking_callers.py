"""Questions of a run to a caller whose protocol has forms for them: it is asked by the answer to its call, and calls
again with what was said. Callers of other protocols watch the run's states instead, and answer it as a task; who waits
for one answer (A2A's SendMessage) is given the task as soon as it asks."""

from collections.abc import Mapping
from dataclasses import dataclass

import anyio
from msgspec import structs

from gateway.core.asked import askable_by, replies_in
from gateway.core.content import Content, Plain, content_of, text_part
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.model import Emit, Event, InputRequired, Request, StatusChanged
from gateway.core.ports.runs import Run, RunEvent
from gateway.core.task import TaskState
from gateway.orchestration.runs.labels import labels_told
from gateway.orchestration.runs.watching import Watching
from gateway.orchestration.wiring import Wiring

KEY = "question"
"""Of the one question a run asks at a time."""
_ANSWER = "answer"
_LEVELS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """For any number of runs."""

    wiring: Wiring
    watching: Watching

    async def followed(self, run: Run, after: int, emit: Emit, request: Request) -> Run | InputRequired | None:
        """The run as it ended or as it waits for its caller, what it asks by a form, or None where nothing came in
        time."""
        until_s = request.budget.deadline_s
        by_form = "elicitation" in askable_by(request.meta)
        if not by_form and not _waits_for_one_answer(request):
            return await self.watching.follow(run, after, emit, until_s)

        async def watch(event: Event) -> None:
            await emit(event)
            if isinstance(event, StatusChanged) and event.state is TaskState.INPUT_REQUIRED and await self._waits(run):
                scope.cancel()

        with anyio.CancelScope() as scope:
            return await self.watching.follow(run, after, watch, until_s)
        if not by_form:
            return await self.wiring.runs.find(run.tenant, run.id)
        asked = await self._asked(run.id)
        if asked is None:
            raise AssertionError("unreachable: it has just asked")
        text = json_text(asked.body.get("text"))
        question = await self._form(asked, text, json_object(askable_by(request.meta)["elicitation"]))
        body = Plain(Content(parts=(text_part(text),)))
        labels = request.labels.join(await labels_told(self.wiring.runs, request.principal, (run,)))
        return InputRequired(body=body, state=_state(run, asked), labels=labels, questions={KEY: question})

    async def answer_in(self, run: Run, request: Request) -> Request | None:
        """The request with the answer it brings to the run's question; None where that was answered before."""
        asked = await self._asked(run.id)
        if asked is None or request.continuation != _state(run, asked) or not await self._waits(run):
            return None
        reply = json_object(replies_in(request.meta).get(KEY))
        if not reply:
            raise InvalidRequest(f"there is no answer to `{KEY}` in it", detail={"member": "inputResponses"})
        value = reply if await self._own_form(asked) else _said(reply)
        return structs.replace(
            request, body=Plain(content_of(value)), meta={**request.meta, "message_id": request.continuation}
        )

    async def _waits(self, run: Run) -> bool:
        latest = await self.wiring.runs.find(run.tenant, run.id)
        return latest is not None and latest.state == TaskState.INPUT_REQUIRED.value

    async def _asked(self, run_id: str) -> RunEvent | None:
        events = await self.wiring.runs.events(run_id)
        wanted = TaskState.INPUT_REQUIRED.value
        return next((each for each in reversed(events) if each.body.get("state") == wanted), None)

    async def _own_form(self, asked: RunEvent, levels: int = _LEVELS) -> JsonObject:
        """Of a tool's question, the form that the tool gave it, however deep the run it works for is nested."""
        detail = json_object(asked.body.get("detail"))
        nested = json_text(detail.get("run"))
        inner = await self._asked(nested) if nested and levels else None
        return json_object(detail.get("form")) if inner is None else await self._own_form(inner, levels - 1)

    async def _form(self, asked: RunEvent, text: str, able: JsonObject) -> JsonObject:
        """The question as a form: a tool's own, or one with a single field."""
        detail = json_object(asked.body.get("detail"))
        form = await self._own_form(asked)
        own = json_object(form.get("params"))
        if form and own.get("mode") == "url" and "url" not in able:
            # The words say which address; there is nothing to fill in.
            nothing: JsonObject = {"type": "object", "properties": {}}
            own = {"mode": "form", "requestedSchema": nothing}
        if form:
            return {**form, "params": {**own, "message": text}}
        answer = _field(json_object(detail.get("schema")))
        schema: JsonObject = {"type": "object", "properties": {_ANSWER: answer}, "required": [_ANSWER]}
        params: JsonObject = {"mode": "form", "message": text, "requestedSchema": schema}
        return {"method": "elicitation/create", "params": params}


def _waits_for_one_answer(request: Request) -> bool:
    """A2A 1.0, section 3.2.2: unless it returns at once, a send waits for an interrupted state or a terminal one."""
    return request.protocol == "a2a" and request.meta.get("stream") is False


def run_of(continuation: str) -> str:
    """Id of the run whose question a state is of."""
    return continuation.rpartition(".")[0]


def _state(run: Run, asked: RunEvent) -> str:
    return f"{run.id}.{asked.seq}"


def _said(reply: JsonObject) -> Json:
    """What was answered to a form with a single field; that nothing was, in the word for it."""
    if reply.get("action") != "accept":
        return json_text(reply.get("action")) or "cancel"
    return json_object(reply.get("content")).get(_ANSWER)


def _field(schema: Mapping[str, Json]) -> JsonObject:
    """The field of a form that a contract of one value is; forms know no more than texts, numbers, choices, yes and
    no."""
    kind = schema.get("type")
    if kind not in ("string", "integer", "number", "boolean"):
        return {"type": "string"}
    kept = ("type", "enum", "title", "description", "minimum", "maximum", "minLength", "maxLength", "default")
    return {name: schema[name] for name in kept if name in schema}
