"""With what a run was started, as it is kept: enough to go on after a crash, under another process. Holds no secret."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256

from gateway.core.content import Content, data_part, text_part
from gateway.core.errors import Internal
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.labels import CLEAN, Labels, labels_from_json
from gateway.core.limits import Budget
from gateway.core.model import Phase, Principal, PrincipalKind, principal

_KINDS: dict[str, PrincipalKind] = {each: each for each in ("client", "agent", "operator", "workflow")}
_PHASES: dict[str, Phase] = {each: each for each in ("", "propose", "commit")}


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierTurn:
    """What a run was asked and answered, in words."""

    run_id: str
    request: str
    answer: str
    cut_bytes: int = 0
    """How much of it is left out here, because it is too long."""

    def to_json(self) -> JsonObject:
        return {"run": self.run_id, **self.told()}

    def told(self) -> JsonObject:
        """As agents are told it: where something is left out, also how much, and of which run it is to be had."""
        cut: JsonObject = {"run": self.run_id, "cut_bytes": self.cut_bytes} if self.cut_bytes else {}
        return {"request": self.request, "answer": self.answer, **cut}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One run's beginning."""

    run_id: str
    workflow: str
    pattern: str
    settings: JsonObject = field(repr=False)
    caller: Principal
    message: str
    data: Json = None
    labels: Labels = CLEAN
    """Of the task."""
    context_id: str = ""
    history: tuple[EarlierTurn, ...] = ()
    """What was said before in the same context, oldest first."""
    left_out: tuple[str, ...] = ()
    """What of it was left out, in words."""
    older: tuple[EarlierTurn, ...] = ()
    """Turns that were left out and are to be summed up, oldest first."""
    older_labels: Labels = CLEAN
    recap: str = ""
    """What turns that were left out came to, where the outer run knows it."""
    glossary: Mapping[str, str] = field(default_factory=dict[str, str])
    """Terms and what they mean here."""
    traceparent: str = ""
    phase: Phase = ""
    """Of the step this run is, if it is one: what only proposes must not let others commit."""
    parent_run: str = ""
    parent_step: str = ""
    deadline_at_us: int
    calls: int | None = None
    tokens: int | None = None
    cost_usd: Decimal | None = None
    depth: int
    origin: str = ""
    """The run this one was made from; empty for one that was asked for."""
    origin_step: str = ""
    """Step of `origin` from which on this run does everything anew; empty: from its beginning."""
    homes: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    """By run, slots whose records were taken over from it. Their steps keep the ids they had there."""
    redone: tuple[int, ...] = ()
    """Slots whose steps are further attempts at those that `origin` had there: they keep their ids as well, so that
    what one of them brought about is not brought about twice."""

    @property
    def version(self) -> str:
        """Of the workflow, as the run began with it: a digest of its settings."""
        return version_of(self.settings)

    def home(self, slot: int) -> str:
        """Id of the run in which what stands in the slot happened."""
        return next((run_id for run_id, slots in self.homes.items() if slot in slots), self.run_id)

    def name_of(self, slot: int) -> str:
        """With what the ids of steps that begin in this slot begin."""
        return self.origin if slot in self.redone else self.home(slot)

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    @property
    def acting(self) -> Principal:
        """As whom the run calls: the workflow, on its caller's behalf."""
        name = f"workflow:{self.workflow}"
        roles = frozenset({name, version_role(self.workflow, self.version)})
        return principal(name, kind="workflow", tenant=self.tenant, roles=roles, behind=self.caller)

    @property
    def task_content(self) -> Content:
        """The original request, as patterns and agents see it."""
        parts = [text_part(self.message)] if self.message else []
        if self.data is not None:
            parts.append(data_part(self.data))
        return Content(parts=tuple(parts), structured=self.data)

    def budget(self, now_us: int, now_s: float) -> Budget:
        """What the run may spend in all, its deadline on this process's clock."""
        return Budget(
            deadline_s=now_s + (self.deadline_at_us - now_us) / 1e6,
            calls=self.calls,
            tokens=self.tokens,
            cost_usd=self.cost_usd,
            depth=self.depth,
        )

    def _left_out_to_json(self) -> JsonObject:
        """Of most runs nothing: it is not kept with them."""
        older: list[Json] = [turn.to_json() for turn in self.older]
        kept: JsonObject = {"left_out": [*self.left_out], "older": older, "recap": self.recap}
        if self.older or self.older_labels != CLEAN:
            kept["older_labels"] = self.older_labels.to_json()
        return {name: each for name, each in kept.items() if each}

    def to_json(self) -> JsonObject:
        return {
            "run_id": self.run_id,
            "workflow": self.workflow,
            "pattern": self.pattern,
            "settings": self.settings,
            "caller": _principal_to_json(self.caller),
            "message": self.message,
            "data": self.data,
            "labels": self.labels.to_json(),
            "context_id": self.context_id,
            "history": [turn.to_json() for turn in self.history],
            **self._left_out_to_json(),
            "glossary": dict(self.glossary),
            "traceparent": self.traceparent,
            "phase": self.phase,
            "parent_run": self.parent_run,
            "parent_step": self.parent_step,
            "deadline_at_us": self.deadline_at_us,
            "calls": self.calls,
            "tokens": self.tokens,
            "cost_usd": None if self.cost_usd is None else str(self.cost_usd),
            "depth": self.depth,
            "version": self.version,
            "origin": self.origin,
            "origin_step": self.origin_step,
            "redone": [*self.redone],
            "homes": {run_id: [*slots] for run_id, slots in self.homes.items()},
        }


def spec_from_json(value: JsonObject) -> RunSpec:
    """See `RunSpec.to_json`. Raises: Internal: it is none."""
    deadline_at_us = _whole(value.get("deadline_at_us"))
    depth = _whole(value.get("depth"))
    if deadline_at_us is None or depth is None:
        raise Internal("what is kept of the run is not what this version keeps")
    cost_usd = value.get("cost_usd")
    return RunSpec(
        run_id=json_text(value.get("run_id")),
        workflow=json_text(value.get("workflow")),
        pattern=json_text(value.get("pattern")),
        settings=json_object(value.get("settings")),
        caller=_principal_from_json(value.get("caller")),
        message=json_text(value.get("message")),
        data=value.get("data"),
        labels=labels_from_json(value.get("labels")),
        context_id=json_text(value.get("context_id")),
        history=turns_from_json(value.get("history")),
        left_out=tuple(each for each in json_list(value.get("left_out")) if isinstance(each, str)),
        older=turns_from_json(value.get("older")),
        older_labels=labels_from_json(value.get("older_labels")),
        recap=json_text(value.get("recap")),
        glossary=terms_from_json(value.get("glossary")),
        traceparent=json_text(value.get("traceparent")),
        phase=phase_from(value.get("phase")),
        parent_run=json_text(value.get("parent_run")),
        parent_step=json_text(value.get("parent_step")),
        deadline_at_us=deadline_at_us,
        calls=_whole(value.get("calls")),
        tokens=_whole(value.get("tokens")),
        cost_usd=Decimal(cost_usd) if isinstance(cost_usd, str) else None,
        depth=depth,
        origin=json_text(value.get("origin")),
        origin_step=json_text(value.get("origin_step")),
        redone=tuple(slot for slot in json_list(value.get("redone")) if isinstance(slot, int)),
        homes={
            run_id: tuple(slot for slot in json_list(slots) if isinstance(slot, int))
            for run_id, slots in json_object(value.get("homes")).items()
        },
    )


def turns_from_json(value: Json) -> tuple[EarlierTurn, ...]:
    """See `EarlierTurn.to_json`. What is none is left out."""
    turns = (json_object(each) for each in json_list(value))
    return tuple(
        EarlierTurn(
            run_id=json_text(turn.get("run")),
            request=json_text(turn.get("request")),
            answer=json_text(turn.get("answer")),
            cut_bytes=cut if isinstance(cut := turn.get("cut_bytes"), int) else 0,
        )
        for turn in turns
        if turn
    )


def terms_from_json(value: Json) -> Mapping[str, str]:
    """Terms and their meanings. What is none is left out."""
    return {term: meaning for term, meaning in json_object(value).items() if isinstance(meaning, str)}


def version_of(settings: JsonObject) -> str:
    """Tells versions of a workflow apart: the same settings, whatever stands around them, are the same version."""
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def version_role(workflow: str, version: str) -> str:
    """The role in which runs of one version act, beside the workflow's own: what its configuration named then is
    granted to it for as long as one of them is under way."""
    return f"workflow:{workflow}@{version}"


def _principal_to_json(who: Principal) -> JsonObject:
    return {
        "subject": who.subject,
        "kind": who.kind,
        "tenant": who.tenant,
        "roles": [*sorted(who.roles)],
        "behind": None if who.behind is None else _principal_to_json(who.behind),
    }


def _principal_from_json(value: Json) -> Principal:
    """See `_principal_to_json`. Raises: Internal: it is none."""
    fields = json_object(value)
    kind = _KINDS.get(json_text(fields.get("kind")))
    if kind is None:
        raise Internal("what is kept of the run names no caller")
    behind = fields.get("behind")
    return principal(
        json_text(fields.get("subject")),
        kind=kind,
        tenant=json_text(fields.get("tenant")),
        roles=frozenset(each for each in json_list(fields.get("roles")) if isinstance(each, str)),
        behind=None if behind is None else _principal_from_json(behind),
    )


def phase_from(value: Json) -> Phase:
    return _PHASES.get(json_text(value), "")


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) else None
