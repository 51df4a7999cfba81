"""How one agent is spoken to: a message relayed or made, its task followed, its question kept until it is answered.

Knows nothing of connections and cards beyond what it is given for each call.
"""

import secrets as randomness
from dataclasses import dataclass

import structlog

from adapters.a2a.card import DELEGATION, CheckedCard
from adapters.a2a.compose import composed_params, relayed_params, says_anything
from adapters.a2a.exchange import Exchange, heard_as
from adapters.a2a.settings import AgentSettings
from adapters.a2a.wire.bodies import Answer, Params, Snapshot
from adapters.a2a.wire.envelope import Member
from adapters.a2a.wire.errors import a2a_error
from adapters.a2a.wire.values import FAILURES
from gateway.core.errors import InDoubt, InvalidRequest, NotFound, UpstreamFailed
from gateway.core.json import json_object, json_text
from gateway.core.labels import Labels
from gateway.core.model import Complete, InputRequired, Request, Result
from gateway.core.ports.world import Ids
from gateway.core.task import TaskState
from gateway.core.usage import usage_in

log = structlog.get_logger(__name__)

MOST_PARKED = 1000
"""Questions of an agent that wait for an answer; the oldest is forgotten first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parked:
    """A task that asked back, and who may answer."""

    tenant: str
    subject: str
    task_id: str
    context_id: str


class Delivery:
    """Made once for an agent; used by many calls at once."""

    def __init__(self, *, slug: str, settings: AgentSettings, ids: Ids) -> None:
        self._slug = slug
        self._settings = settings
        self._ids = ids
        self._parked: dict[str, _Parked] = {}
        self.sources = frozenset[str]() if settings.trust == "trusted" else frozenset({f"agent:{slug}"})
        """Of the agent's words."""
        self._said = Labels(untrusted=self.sources)

    def labels(self, request: Request) -> Labels:
        """Of whatever the agent answers to this request."""
        return request.labels.join(self._said)

    async def relay(self, exchange: Exchange, request: Request, card: CheckedCard) -> Result:
        """Send what an A2A client sent, and pass on what the agent says, until the agent is done with it."""
        body = request.body
        exchange.expected = json_text(request.meta.get("task"))
        # A policy that rewrites what a message says leaves a body that is nobody's own.
        params = relayed_params(body, card) if isinstance(body, Params) else self._composed(exchange, request, card)
        if request.meta.get("stream") is not True:
            answer = await exchange.send(params)
            return self.result(exchange, request, answer)
        if not card.streaming:
            raise a2a_error("UNSUPPORTED_OPERATION", "this agent does not stream; use SendMessage")
        await exchange.stream("SendStreamingMessage", params)
        return self.result(exchange, request)

    async def drive(self, exchange: Exchange, request: Request, card: CheckedCard) -> Result:
        """Send what a caller without A2A says, and follow the agent to the end of its task, or to its question."""
        resume = request.meta.get("resume")
        if not isinstance(resume, dict) or not await self._resumed(exchange, request, json_text(resume.get("task"))):
            params = self._composed(exchange, request, card)
            if card.streaming:
                await exchange.stream("SendStreamingMessage", params)
            else:
                await exchange.send(params)
                await exchange.settle()
        if exchange.fold.state is TaskState.AUTH_REQUIRED:
            await exchange.cancel()
            raise UpstreamFailed(f"{self._slug} wants further credentials, which this call cannot bring")
        return self.result(exchange, request)

    async def _resumed(self, exchange: Exchange, request: Request, task_id: str) -> bool:
        """Follow the task an earlier attempt began; False if the message may be sent again.

        Raises: InDoubt: nobody knows whether the message arrived, and the agent would not recognise it.
        """
        try:
            found = task_id or await exchange.find(json_text(request.meta.get("context_id")))
            if found:
                await exchange.look(found)
                await exchange.settle()
                return True
        except NotFound:
            log.info("agent no longer has the task of a step", agent=self._slug, step=request.step_id)
        if self._settings.idempotent:
            return False
        raise InDoubt(
            f"it is not known whether {self._slug} received this step before the interruption: look before repeating",
            detail={"agent": self._slug, "step": request.step_id},
        )

    def _composed(self, exchange: Exchange, request: Request, card: CheckedCard) -> dict[str, Member]:
        if not says_anything(request.body.content()):
            raise InvalidRequest("a message to an agent has to say something", detail={"field": "message"})
        parked = self._unparked(request)
        message_id = json_text(request.meta.get("message_id")) or self._ids.new("msg")
        exchange.expected = json_text(request.meta.get("task")) if parked is None else parked.task_id
        context_id = json_text(request.meta.get("context_id")) or self._ids.new("ctx")
        context_id = context_id if parked is None else parked.context_id
        exchange.context_id = "" if exchange.expected or request.protocol == "a2a" else context_id
        return composed_params(
            request,
            card,
            message_id=message_id,
            context_id=context_id,
            task_id=exchange.expected,
            delegation=self.delegation(request, card),
        )

    def result(self, exchange: Exchange, request: Request, answer: Answer | None = None) -> Result:
        labels = self.labels(request)
        if exchange.message is not None:
            value = heard_as(lambda message: message.value, exchange.message, self._slug)
            said = usage_in(json_object(value.get("metadata")))
            return Complete(body=exchange.message, usage=said, labels=labels)
        task = exchange.fold.task()
        if task is None:
            raise UpstreamFailed(f"{self._slug} answered with neither a task nor a message")
        if task.state is TaskState.INPUT_REQUIRED and request.protocol != "a2a":
            return InputRequired(
                body=Snapshot(task), state=self._park(request, task.id, task.context_id), labels=labels
            )
        return Complete(
            body=Snapshot(task) if answer is None else answer,
            is_error=task.state in FAILURES,
            usage=exchange.fold.usage(),
            labels=labels,
            meta={"task": task.id, "context": task.context_id, "state": task.state.value},
        )

    def _park(self, request: Request, task_id: str, context_id: str) -> str:
        """A state that stands for the task, and for nobody else's. It goes out to callers, so it only points."""
        while len(self._parked) >= MOST_PARKED:
            del self._parked[next(iter(self._parked))]
        state = randomness.token_urlsafe(24)
        who = request.principal
        self._parked[state] = _Parked(tenant=who.tenant, subject=who.subject, task_id=task_id, context_id=context_id)
        return state

    def _unparked(self, request: Request) -> _Parked | None:
        if not request.continuation:
            return None
        parked = self._parked.get(request.continuation)
        who = request.principal
        if parked is None or (parked.tenant, parked.subject) != (who.tenant, who.subject):
            raise InvalidRequest(f"{self._slug} no longer waits for this answer; ask it anew")
        del self._parked[request.continuation]
        return parked

    def delegation(self, request: Request, card: CheckedCard) -> str:
        """The token for this step, if the agent knows what to do with one. Others would only leak it."""
        wanted = bool(self._settings.delegation) or DELEGATION in card.extensions
        return json_text(request.meta.get("delegation")) if wanted else ""
