"""A bus as an upstream: each of its topics is a tool. A call is a message, and its result what a worker answers.

The message's id follows from the call's idempotency key, or is the call's own. So a call that is made again after a
crash finds the answer, or the message, that is there. Workers know nothing of the gateway: they take a message, and
publish an answer under the same id.
"""

from collections.abc import Mapping
from hashlib import sha256

import anyio
import structlog

from adapters.events.replies import Replies
from adapters.events.settings import BusSettings, TopicSettings
from gateway.core.content import Content, Plain, content_of, text_part
from gateway.core.contracts import violation
from gateway.core.errors import DeadlineExceeded, InvalidRequest, NotFound, Unavailable, UpstreamFailed
from gateway.core.json import Json, JsonObject, canonical_json, json_from, json_object, json_text
from gateway.core.labels import CLEAN, Labels
from gateway.core.model import Capability, Complete, Emit, Request, Result
from gateway.core.ports.bus import Bus, Message
from gateway.core.ports.upstream import Listing

log = structlog.get_logger(__name__)

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0


class BusUpstream:
    """See `ports.upstream.Upstream`. Have `watch` run for as long as it is used."""

    def __init__(self, slug: str, settings: BusSettings, bus: Bus) -> None:
        self._slug = slug
        self._settings = settings
        self.bus = bus
        """Open once it is used; closed with the upstream."""
        self._replies = Replies()
        self._labels = CLEAN if settings.trust == "trusted" else Labels(untrusted=frozenset({f"bus:{slug}"}))
        self._listing = Listing(
            capabilities=tuple(self._capability(name, topic) for name, topic in sorted(settings.topics.items()))
        )

    @property
    def name(self) -> str:
        return self._slug

    async def capabilities(self) -> Listing:
        await self.bus.keep(self._settings.replies)
        for topic in self._settings.topics:
            await self.bus.prepare(topic)
        return self._listing

    async def watch(self) -> None:
        """Hear what workers answer, until canceled; a broker that goes away is looked for again."""
        pause_s = FIRST_RETRY_S
        while True:
            try:
                await self.bus.follow(self._settings.replies, self._replies.take)
            except Unavailable as error:
                log.info("answers are not heard for now", bus=self._slug, reason=error.message)
            await anyio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_RETRY_S)

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        topic = self._settings.topics.get(capability.local)
        if topic is None or request.operation != "call":
            raise NotFound(f"{self._slug} has no topic {capability.local}")
        arguments = json_object(request.body.content().structured)
        if topic.input_schema and (broken := violation(json_from(topic.input_schema), arguments)):
            raise InvalidRequest(f"the arguments break the contract of {capability.name}: {broken}")
        message_id = self._message_id(request, capability.local)
        with anyio.CancelScope(deadline=request.budget.deadline_s) as scope:
            if not self._replies.has(message_id):
                await self.bus.publish(self._message(message_id, request, capability.local, arguments))
            return self._result(capability, topic, await self._replies.wait(message_id))
        if scope.cancelled_caught:
            raise DeadlineExceeded(
                f"no worker of {capability.name} answered in time; the message waits, and the answer to the same call "
                "under the same key will be found",
                detail={"message": message_id},
            )
        raise AssertionError("unreachable: the scope either returns, raises or was cancelled")

    async def aclose(self) -> None:
        await self.bus.aclose()

    def _message(self, message_id: str, request: Request, topic: str, arguments: JsonObject) -> Message:
        headers = {"x-tenant": request.principal.tenant}
        if request.run_id:
            headers |= {"x-run": request.run_id, "x-step": request.step_id}
        return Message(
            id=message_id,
            topic=topic,
            body=arguments,
            reply_to=self._settings.replies,
            traceparent=request.traceparent,
            headers=headers,
        )

    def _message_id(self, request: Request, topic: str) -> str:
        """The same for the same call under the same key, and nobody else's."""
        if not request.idempotency_key:
            return request.id
        who = request.principal.first
        named = f"{who.tenant}\n{who.subject}\n{topic}\n{request.idempotency_key}"
        return sha256(named.encode()).hexdigest()[:32]

    def _result(self, capability: Capability, topic: TopicSettings, said: Json) -> Complete:
        """A worker's answer; an object whose only member is `error` says that it failed.

        Raises: UpstreamFailed: it breaks the topic's contract.
        """
        fields = json_object(said)
        error = json_text(fields.get("error"))
        if error and len(fields) == 1:
            return Complete(body=Plain(Content(parts=(text_part(error),))), is_error=True, labels=self._labels)
        if topic.output_schema and (broken := violation(json_from(topic.output_schema), said)):
            said_by = self._labels.untrusted
            raise UpstreamFailed(f"the answer of {capability.name} breaks its contract: {broken}", sources=said_by)
        return Complete(body=Plain(content_of(said)), labels=self._labels)

    def _capability(self, name: str, topic: TopicSettings) -> Capability:
        schema: Mapping[str, Json] = json_from(topic.input_schema) or {"type": "object"}
        definition: JsonObject = {"name": name, "description": topic.description, "inputSchema": dict(schema)}
        if topic.output_schema:
            definition["outputSchema"] = json_from(topic.output_schema)
        return Capability(
            name=f"tool:{self._slug}/{name}",
            kind="tool",
            owner=self._slug,
            local=name,
            tenant=self._settings.tenant,
            description=topic.description,
            definition=definition,
            input_schema=schema,
            output_schema=json_from(topic.output_schema) or None,
            tags=frozenset(topic.tags),
            effect="read" if "read" in topic.tags else "sink",
            # The same key finds the same message: what began without a known end may be asked for again.
            idempotency="meta",
            timeout_s=topic.timeout_s,
            digest=sha256(canonical_json(definition)).hexdigest(),
        )
