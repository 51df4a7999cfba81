"""An effect happens once: sink calls under an idempotency key, with their outcome remembered.

The ledger is asked before the call leaves and told what came of it. What began without a known end is tried again only
if the tool can recognise the key; otherwise it is in doubt, and a person has to look. What another process is at
is neither: it is waited for.
"""

from dataclasses import replace
from hashlib import sha256

import anyio

from gateway.core.content import Plain, content_from_json, content_to_json
from gateway.core.errors import Conflict, GatewayError, InDoubt, InvalidRequest, NotFound, Unavailable
from gateway.core.json import JsonObject, canonical_json, json_object
from gateway.core.labels import labels_from_json
from gateway.core.model import Capability, Complete, Request
from gateway.core.ports.storage import EffectLedger, EffectState, Fresh, Known, Unfinished
from gateway.core.ports.world import Clock

AWAITED_S = 20.0
"""How long a call waits for the same one in another process, at most."""
LOOK_AGAIN_S = 0.25
NOT_SENT = (InvalidRequest, NotFound, Unavailable)
"""Failures after which the effect certainly did not happen; others say so in their detail: `sent` or `refused`."""


def effect_key(request: Request, capability: Capability) -> str:
    """The key under which this call's effect happens once; empty where there is none.

    Inside a step it follows from the step and what is called, so that an agent that was restarted repeats nothing. A
    key the caller brings counts in its own name only, and its tenant's: upstreams that serve several are told it too.
    """
    if request.idempotency_key:
        who = request.principal.first
        return f"{who.tenant}/{who.subject}:{request.idempotency_key}"
    if not request.run_id or request.principal.kind != "agent":
        return ""
    # The run in which the step began: one that was taken over into another run keeps its effects' keys.
    home = request.step_id.partition("/")[0] or request.run_id
    named = f"{home}\n{request.step_id}\n{capability.name}\n".encode()
    return sha256(named + _canonical_arguments(request)).hexdigest()


class Effects:
    """The ledger, as the path uses it."""

    def __init__(self, ledger: EffectLedger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._under_way: set[tuple[str, str]] = set()
        self._again: set[tuple[str, str]] = set()
        """Keys under way whose effect may have happened at an earlier attempt."""

    async def begin(self, request: Request, capability: Capability, key: str) -> Complete | None:
        """The remembered answer, or None if the call has to be made; then `done` or `failed` must follow.

        Raises: Conflict: the same call is under way, or the key was used for another; InDoubt.
        """
        tenant = request.principal.tenant
        if (tenant, key) in self._under_way:
            raise under_way()
        self._under_way.add((tenant, key))
        try:
            answer = await self._begin(request, capability, key)
        except BaseException:
            self._ended(tenant, key)
            raise
        if answer is not None:
            self._ended(tenant, key)
        return answer

    def _ended(self, tenant: str, key: str) -> None:
        self._under_way.discard((tenant, key))
        self._again.discard((tenant, key))

    async def _begin(self, request: Request, capability: Capability, key: str) -> Complete | None:
        tenant = request.principal.tenant
        digest = sha256(
            f"{request.principal.subject}\n{capability.name}\n".encode() + _canonical_arguments(request)
        ).hexdigest()
        state = await self._ledger.begin(tenant, key, digest, self._clock.now_us())
        if isinstance(state, Unfinished) and state.elsewhere:
            state = await self._awaited(request, key, digest)
        if isinstance(state, Fresh):
            return None
        if isinstance(state, Known):
            return _answer_from(state.outcome)
        if not capability.idempotency:
            raise InDoubt(
                f"an earlier {capability.name} with this key began and its outcome is unknown; "
                "look at the upstream before repeating it under a new key",
                detail={"key": key},
            )
        await self._ledger.again(tenant, key, self._clock.now_us())
        self._again.add((tenant, key))
        return None

    async def _awaited(self, request: Request, key: str, digest: str) -> EffectState:
        """What came of an effect that is under way in another process. Raises: Conflict: it still is."""
        clock, tenant = self._clock, request.principal.tenant
        until_s = min(clock.monotonic_s() + AWAITED_S, request.budget.deadline_s)
        while clock.monotonic_s() < until_s:
            await anyio.sleep(LOOK_AGAIN_S)
            state = await self._ledger.begin(tenant, key, digest, clock.now_us())
            if not (isinstance(state, Unfinished) and state.elsewhere):
                return state
        raise under_way()

    async def done(self, request: Request, key: str, answer: Complete) -> None:
        """Remember the outcome."""
        tenant = request.principal.tenant
        try:
            await self._ledger.finish(tenant, key, _json_from(answer), self._clock.now_us())
        finally:
            self._ended(tenant, key)

    async def failed(self, request: Request, key: str, error: BaseException) -> None:
        """Free the key if the effect certainly did not happen, now or before; otherwise its outcome stays unknown."""
        tenant = request.principal.tenant
        try:
            if _never_left(error) and (tenant, key) not in self._again:
                await self._ledger.forget(tenant, key)
            else:
                await self._ledger.leave(tenant, key)
        finally:
            self._ended(tenant, key)


def under_way() -> Conflict:
    """What is said to whoever makes a call again that has not ended."""
    return Conflict(
        "the same call is still under way; repeat it for its outcome", detail={"sent": False}, retry_after_s=1.0
    )


def _never_left(error: BaseException) -> bool:
    if isinstance(error, NOT_SENT):
        return True
    return isinstance(error, GatewayError) and (error.detail.get("sent") is False or bool(error.detail.get("refused")))


def _canonical_arguments(request: Request) -> bytes:
    try:
        return canonical_json(request.body.content().structured)
    except ValueError as error:
        raise InvalidRequest("the arguments hold a number that cannot be told apart from another") from error


def _json_from(answer: Complete) -> JsonObject:
    content = answer.body.content()
    return {
        **content_to_json(content),
        "metadata": dict(content.metadata),
        "is_error": answer.is_error,
        "labels": answer.labels.to_json(),
    }


def _answer_from(outcome: JsonObject) -> Complete:
    content = replace(content_from_json(outcome), metadata=json_object(outcome.get("metadata")))
    return Complete(
        body=Plain(content),
        is_error=outcome.get("is_error") is True,
        labels=labels_from_json(outcome.get("labels")),
        meta={"replayed": True},
    )
