"""Answers that are given again: of targets an operator calls deterministic, and, stale, of targets that fail.

A question is everything an answer may depend on: tenant, what the caller may do (and who it is, where the target may
find that out), labels, the capability in its version, and what is said. Ids, tokens and deadlines are no part of it.
What is uncertain is asked anew.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from gateway.core.content import Content, Part, Plain
from gateway.core.errors import DeadlineExceeded, GatewayError, InvalidRequest, Unavailable, UpstreamFailed
from gateway.core.json import Json, JsonObject, canonical_json, json_object
from gateway.core.limits import NOTHING_USED
from gateway.core.model import Capability, Complete, Request, Result
from gateway.core.ports.world import Clock

TARGET_FAILED = (UpstreamFailed, Unavailable, DeadlineExceeded)
"""Failures in whose place a stale answer is better than none."""
LARGEST_SHARE = 16
"""One answer takes at most this part of the room for all."""
_OF_THE_STEP = "drawbridge"
"""What a run tells the agent of one of its steps beside the input proper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersView:
    """What remembering was good for, since the start."""

    hits: int = 0
    misses: int = 0
    stale: int = 0
    """Given in place of a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    answer: Complete
    owner: str
    at_s: float
    size_bytes: int


def question_of(request: Request, capability: Capability) -> bytes | None:
    """The question as a key; None where no answer to it may be given again.

    A commit is there for its effect. A call that resumes or detaches, and one by the A2A door, is about a task of the
    caller's own; one in a conversation (a context that is not the message's own) depends on what was said before.
    Beside a step's scratchpad values stand versions, which say when they were written: no part of the question.
    """
    if (
        request.operation != "call"
        or request.continuation
        or (request.phase == "commit" and capability.effect != "read")
        or request.protocol == "a2a"
        or "resume" in request.meta
        or "task" in request.meta
        or request.meta.get("return_immediately") is True
        or request.meta.get("context_id") != request.meta.get("message_id")
    ):
        return None
    who = request.principal
    asked: JsonObject = {
        "tenant": who.tenant,
        "kind": who.kind,
        "roles": [*sorted(who.roles)],
        "behind": [[*sorted(each)] for each in who.agent_class.behind],
        "capability": capability.name,
        "digest": capability.digest,
        "phase": "" if capability.effect == "read" else request.phase,
        "labels": request.labels.to_json(),
    }
    if capability.remembering is not None and capability.remembering.personal:
        # The credential as well: another token of the same caller may be for less.
        asked["who"] = [*who.chain, request.credential]
    try:
        asked["said"] = _said(request.body.content())
        return sha256(canonical_json(asked)).digest()
    except (ValueError, InvalidRequest):
        return None


class Answers:
    """The answers that are remembered, the least recently given forgotten first. Belongs to the event loop."""

    def __init__(self, clock: Clock, *, entries: int, size_bytes: int) -> None:
        self._clock = clock
        self._most_entries = entries
        self._most_bytes = size_bytes
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._size_bytes = 0
        self._counts: dict[str, AnswersView] = {}

    @property
    def entries(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def view(self, owner: str) -> AnswersView:
        return self._counts.get(owner, AnswersView())

    def fresh(self, question: bytes, capability: Capability) -> Complete | None:
        """The answer as good as a new one; None where the target has to be asked."""
        rule = capability.remembering
        kept = self._kept.get(question)
        if rule is None or not rule.fresh:
            return None
        age_s = 0.0 if kept is None else self._clock.monotonic_s() - kept.at_s
        if kept is None or age_s >= rule.ttl_s:
            if kept is not None and not rule.stale:
                self._drop(question)
            self._count(capability.owner, misses=1)
            return None
        self._kept.move_to_end(question)
        self._count(capability.owner, hits=1)
        return replace(kept.answer, usage=NOTHING_USED, meta={"cached": True, "age_s": round(age_s, 3)})

    def stale(self, question: bytes, capability: Capability, error: GatewayError) -> Complete | None:
        """The last answer there was, marked with its age, in place of `error`."""
        rule, kept = capability.remembering, self._kept.get(question)
        if rule is None or not rule.stale or kept is None:
            return None
        self._kept.move_to_end(question)
        self._count(capability.owner, stale=1)
        age_s = round(self._clock.monotonic_s() - kept.at_s, 3)
        notice = f"{capability.name} failed ({error.wire.reason}); this is its answer of {age_s:.0f} s ago"
        meta: JsonObject = {"stale": {"age_s": age_s, "reason": error.wire.reason}, "quality": [notice]}
        return replace(kept.answer, usage=NOTHING_USED, meta=meta)

    def keep(self, question: bytes, capability: Capability, result: Result) -> None:
        """Remember an answer; one that says that it failed is none."""
        if not isinstance(result, Complete) or result.is_error:
            return
        # A task of the first caller's own is nobody else's: what it says is kept, not the task.
        answer = replace(result, body=Plain(result.body.content())) if capability.kind == "agent" else result
        size_bytes = len(question) + (answer.body.size_bytes or _size_of(answer.body.content()))
        self._drop(question)
        if size_bytes > self._most_bytes // LARGEST_SHARE or self._most_entries <= 0:
            return
        self._kept[question] = _Kept(
            answer=answer, owner=capability.owner, at_s=self._clock.monotonic_s(), size_bytes=size_bytes
        )
        self._size_bytes += size_bytes
        while len(self._kept) > self._most_entries or self._size_bytes > self._most_bytes:
            self._drop(next(iter(self._kept)))

    def forget(self, owners: frozenset[str]) -> None:
        """Forget what these said: they were made anew, and may be somebody else now."""
        for question in [question for question, kept in self._kept.items() if kept.owner in owners]:
            self._drop(question)

    def _drop(self, question: bytes) -> None:
        kept = self._kept.pop(question, None)
        if kept is not None:
            self._size_bytes -= kept.size_bytes

    def _count(self, owner: str, *, hits: int = 0, misses: int = 0, stale: int = 0) -> None:
        before = self._counts.get(owner, AnswersView())
        self._counts[owner] = AnswersView(
            hits=before.hits + hits, misses=before.misses + misses, stale=before.stale + stale
        )


def _said(content: Content) -> JsonObject:
    parts: list[Json] = [_part(part) for part in content.parts]
    return {
        "parts": parts,
        "structured": _without_versions(content.structured),
        "metadata": dict(content.metadata),
    }


def _part(part: Part) -> JsonObject:
    return {
        "kind": part.kind,
        "text": part.text,
        "data": _without_versions(part.data),
        "raw": part.raw,
        "url": part.url,
        "media_type": part.media_type,
        "name": part.name,
        "metadata": dict(part.metadata),
    }


def _without_versions(value: Json) -> Json:
    """What a step is given, with the values it read but not how often they had been written before."""
    step = json_object(json_object(value).get(_OF_THE_STEP))
    scratchpad = json_object(step.get("scratchpad"))
    if not scratchpad:
        return value
    read: dict[str, Json] = {key: json_object(entry).get("value") for key, entry in scratchpad.items()}
    return {**json_object(value), _OF_THE_STEP: {**step, "scratchpad": read}}


def _size_of(content: Content) -> int:
    """About what it takes: the JSON of it."""
    said: Mapping[str, Json] = _said(content)
    return len(json.dumps(said))
