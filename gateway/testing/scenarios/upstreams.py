"""Agents and servers that answer as a scenario says, behind the same port as real ones."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

import anyio

from gateway.core.content import Content, Plain, text_part
from gateway.core.contracts import violation
from gateway.core.errors import (
    Conflict,
    DeadlineExceeded,
    Denied,
    GatewayError,
    InvalidRequest,
    Unavailable,
    UpstreamFailed,
)
from gateway.core.json import Json, JsonObject, canonical_json, json_text
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Usage
from gateway.core.model import (
    Capability,
    Complete,
    Emit,
    InputRequired,
    Request,
    Result,
    TaskOpened,
)
from gateway.core.ports.upstream import Listing
from gateway.core.task import Task, TaskState
from gateway.testing.scenarios.mocks import CallSettings, MockSettings, Raised, ReplySettings
from gateway.testing.scenarios.replies import Heard, Script, answer_of, filled, heard_from, labels_of, resolved
from gateway.testing.scenarios.seeds import drawn

_RAISED: Mapping[Raised, type[GatewayError]] = {
    "unavailable": Unavailable,
    "failed": UpstreamFailed,
    "timeout": DeadlineExceeded,
    "denied": Denied,
    "invalid": InvalidRequest,
    "conflict": Conflict,
}

AgentCall = Callable[[Request, str, JsonObject], Awaitable[Result]]
"""(the step's request, what to call, arguments) -> the answer, as the agent of that step. Raises: GatewayError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Something a mock really did; a repeated delivery is answered, not done again."""

    target: str
    key: str
    """Message id or idempotency key by which a repetition would be told apart; its own where there is none."""
    arguments: JsonObject
    effect: bool
    """Of a tool that may change something."""


@dataclass(slots=True, kw_only=True)
class Cast:
    """Everybody a scenario's runs may call; stays when the gateway dies. One scenario, one run."""

    seed: int
    scripts: dict[str, Script] = field(default_factory=dict[str, Script])
    done: list[Done] = field(default_factory=list[Done])
    answers: dict[tuple[str, str], Result | GatewayError] = field(
        default_factory=dict[tuple[str, str], Result | GatewayError]
    )
    """By target and key: what was answered before."""
    call: AgentCall | None = None
    """How agents call tools; given by the gateway process that is up."""

    @classmethod
    def of(cls, mocks: Mapping[str, MockSettings], seed: int) -> "Cast":
        return cls(seed=seed, scripts={target: Script(mock) for target, mock in mocks.items() if not mock.real})

    async def answered(self, request: Request, capability: Capability, emit: Emit, said: Labels) -> Result:
        """The answer to one call, the same to the same call. `said`: what stands on everything this one says."""
        target = capability.name
        key = _key_of(request, capability)
        if capability.kind == "agent":
            task = Task(id=f"task {key}", context_id="", state=TaskState.WORKING, updated_at_us=0)
            await emit(TaskOpened(task=task))
        known = self.answers.get((target, key)) if key else None
        if known is None:
            known = await self._done(request, capability, key)
            if key and not isinstance(known, Unavailable):
                self.answers[target, key] = known
        if isinstance(known, GatewayError):
            raise type(known)(known.message, detail=known.detail)
        labels = request.labels.join(known.labels).join(said)
        return replace(known, labels=labels)

    async def _done(self, request: Request, capability: Capability, key: str) -> Result | GatewayError:
        script = self.scripts[capability.name]
        script.heard += 1
        heard = heard_from(capability.name, request.body.content(), script.heard)
        if capability.kind == "tool" and capability.input_schema is not None:
            broken = violation(capability.input_schema, heard.data)
            if broken:
                return InvalidRequest(f"{capability.name} refuses its arguments: {broken}", detail={"sent": False})
        reply = script.reply_to(heard)
        if reply is None:
            return UpstreamFailed(f"the scenario says nothing that {capability.name} answers to this")
        await self._takes_time(reply, heard)
        known: dict[str, Json] = heard.known
        try:
            for each in reply.calls:
                known[each.name or "called"] = await self._called(request, each, known)
        except GatewayError as error:
            return _failed(f"{error.message}")
        if reply.raises is not None:
            return _RAISED[reply.raises](filled(reply.error, known) or f"{capability.name} {reply.raises}")
        effect = capability.effect == "sink" and capability.kind == "tool"
        number = f"{capability.name} {len(self.done)}"
        self.done.append(Done(target=capability.name, key=key or number, arguments=heard.data, effect=effect))
        return _result(reply, known, capability)

    async def _takes_time(self, reply: ReplySettings, heard: Heard) -> None:
        if reply.hangs:
            await anyio.sleep_forever()
        least, most = reply.delay_s
        await anyio.sleep(drawn(self.seed, f"delay {heard.target} {heard.nth}", least, most))

    async def _called(self, request: Request, wanted: CallSettings, known: Mapping[str, Json]) -> Json:
        """What the agent of this step is told when it calls something itself. Raises: GatewayError."""
        if self.call is None:
            raise Unavailable("the gateway is not up")
        arguments = resolved({**wanted.arguments}, known)
        try:
            result = await self.call(request, wanted.call, arguments if isinstance(arguments, dict) else {})
        except GatewayError as error:
            if not wanted.go_on:
                raise
            return {"error": error.wire.reason, "message": error.message}
        if not isinstance(result, Complete):
            raise UpstreamFailed(f"{wanted.call} gave no answer")
        content = result.body.content()
        if result.is_error and not wanted.go_on:
            raise UpstreamFailed(f"{wanted.call} answered that it failed: {content.text}")
        return {"error": "FAILED", "message": content.text} if result.is_error else content.value


def _key_of(request: Request, capability: Capability) -> str:
    """What tells a repeated delivery: agents know message ids, tools the key they are told."""
    if capability.kind == "agent":
        return json_text(request.meta.get("message_id"))
    return request.idempotency_key if capability.idempotency else ""


def _failed(words: str) -> Complete:
    return Complete(body=Plain(Content(parts=(text_part(words),))), is_error=True)


def _result(reply: ReplySettings, known: Mapping[str, Json], capability: Capability) -> Result:
    labels = labels_of(reply)
    if reply.asks:
        asked = Plain(Content(parts=(text_part(filled(reply.asks, known)),)))
        return InputRequired(body=asked, state=f"asked by {capability.name}", labels=labels)
    content = answer_of(reply, known, to_agent=capability.kind == "agent")
    usage = Usage(tokens=reply.tokens, cost_usd=reply.cost_usd, models=(reply.model,) if reply.model else ())
    if reply.error:
        failed = _failed(filled(reply.error, known))
        return replace(failed, usage=usage, labels=labels)
    if capability.kind == "tool" and capability.output_schema is not None:
        broken = violation(capability.output_schema, content.structured)
        if broken:
            return _failed(f"{capability.name} answers against its own contract: {broken}")
    return Complete(body=Plain(content), usage=usage, labels=labels)


class MockUpstream:
    """See `Upstream`: one agent, or the tools of one server, that a scenario makes up."""

    def __init__(self, name: str, capabilities: tuple[Capability, ...], cast: Cast, said: Labels = CLEAN) -> None:
        """`said`: what stands on whatever it says."""
        self._name = name
        self._capabilities = capabilities
        self._cast = cast
        self._said = said

    @property
    def name(self) -> str:
        return self._name

    async def capabilities(self) -> Listing:
        marked = sorted({tag for each in self._capabilities for tag in each.tags if tag.startswith("skill:")})
        tags: list[Json] = [tag.removeprefix("skill:") for tag in marked]
        skills: list[Json] = [{"id": tag, "name": tag, "description": "", "tags": [tag]} for tag in tags]
        return Listing(capabilities=self._capabilities, about={"skills": skills})

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        if request.operation == "task.cancel":
            return Complete(body=Plain(Content()), labels=request.labels)
        if request.operation != "call":
            raise InvalidRequest(f"a mock has no operation {request.operation}")
        deadline_s = request.budget.deadline_s
        with anyio.CancelScope(deadline=deadline_s) as scope:
            return await self._cast.answered(request, capability, emit, self._said)
        if scope.cancelled_caught:
            raise DeadlineExceeded(f"{self._name} did not finish in time")
        raise AssertionError("unreachable: the scope either returns, raises or was cancelled")

    async def aclose(self) -> None:
        """Holds nothing."""


def digest_of(definition: JsonObject) -> str:
    """What tells one version of a capability from another."""
    return sha256(canonical_json(definition)).hexdigest()
