"""How the REST API shows the gateway's values as JSON. Pure; decides nothing about who may see them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from adapters.http.api_ports import AgentEntry, IssuerState, NotOffered, UpstreamState
from gateway.core.answers import AnswersView
from gateway.core.breaker import BreakerView
from gateway.core.chaos import Active
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_from, json_list, json_object, json_text
from gateway.core.limits import Usage
from gateway.core.model import Capability, Principal
from gateway.core.ports.runs import Run, RunStep
from gateway.core.ports.storage import ApiKey
from gateway.core.resilience import Load, OwnerView, PlacesView
from gateway.core.task import TaskState

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(at_us: int) -> str:
    """UTC microseconds as an RFC 3339 time; empty for 0, which stands for never."""
    if not at_us:
        return ""
    # Not fromtimestamp: floats lose microseconds.
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def us_from_rfc3339(text: str, name: str) -> int:
    """UTC microseconds from an RFC 3339 time; `name` is the parameter it came in.

    Raises: InvalidRequest: not such a time, or one without a zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidRequest(f"{name} is not an RFC 3339 time such as 2026-11-21T09:30:00Z")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def usage_view(usage: Usage) -> JsonObject:
    # Money as text: a JSON number would pass through a float in most readers.
    return {
        "calls": usage.calls,
        "tokens": usage.tokens,
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "countedTokens": usage.counted_tokens,
        "costUsd": f"{usage.cost_usd:f}",
        "models": [*usage.models],
    }


def capability_view(capability: Capability) -> JsonObject:
    return {
        "name": capability.name,
        "kind": capability.kind,
        "owner": capability.owner,
        "title": capability.title,
        "description": capability.description,
        "tags": [*sorted(capability.tags)],
        "effect": capability.effect,
    }


def capability_in_full(capability: Capability) -> JsonObject:
    return {
        **capability_view(capability),
        "idempotency": capability.idempotency,
        "digest": capability.digest,
        "inputSchema": json_from(capability.input_schema) if capability.input_schema is not None else None,
        "outputSchema": json_from(capability.output_schema) if capability.output_schema is not None else None,
        "definition": json_from(capability.definition),
    }


def upstream_view(upstream: UpstreamState) -> JsonObject:
    return {
        "slug": upstream.slug,
        "kind": upstream.kind,
        "state": upstream.state,
        "reason": upstream.reason,
        "capabilities": upstream.capabilities,
        "breakers": [breaker_view(each) for each in upstream.breakers],
        "dropped": [*upstream.dropped],
        "droppedCount": upstream.dropped_count,
    }


def issuer_view(issuer: IssuerState) -> JsonObject:
    return {
        "name": issuer.name,
        "keys": issuer.keys,
        "ageSeconds": None if issuer.age_s is None else round(issuer.age_s),
        "problem": issuer.problem,
    }


def not_offered_view(missing: NotOffered) -> JsonObject:
    return {"at": missing.at, "name": missing.name, "reason": missing.reason}


def load_view(load: Load) -> JsonObject:
    return {
        "owners": [_owner_view(owner, answers) for owner, answers in load.owners],
        "answers": load.answers,
        "answersBytes": load.answers_bytes,
    }


def _owner_view(owner: OwnerView, answers: AnswersView) -> JsonObject:
    asked = answers.hits + answers.misses
    return {
        "owner": owner.owner,
        **_places_view(owner.places),
        "capabilities": [{"name": each.name, **_places_view(each)} for each in owner.capabilities],
        "breakers": [breaker_view(each) for each in owner.breakers],
        "answers": {
            "hits": answers.hits,
            "misses": answers.misses,
            "stale": answers.stale,
            "hitRate": round(answers.hits / asked, 4) if asked else None,
        },
    }


def _places_view(places: PlacesView) -> JsonObject:
    return {
        "inFlight": places.in_flight,
        "waiting": places.waiting,
        "concurrency": places.concurrency,
        "queue": places.queue,
    }


def breaker_view(breaker: BreakerView) -> JsonObject:
    return {
        "target": breaker.target,
        "state": breaker.state,
        "failures": breaker.failures,
        "retryAfterSeconds": round(breaker.retry_after_s, 1),
    }


def chaos_view(active: Active) -> JsonObject:
    injection = active.injection
    return {
        "id": injection.id,
        "target": injection.target,
        "fault": str(injection.fault),
        "share": injection.share,
        "seed": injection.seed,
        "by": active.by,
        "until": rfc3339(active.until_us),
        "calls": active.calls,
        "struck": active.struck,
    }


def principal_view(principal: Principal) -> JsonObject:
    return {"subject": principal.subject, "kind": principal.kind, "roles": [*sorted(principal.roles)]}


def agent_view(entry: AgentEntry) -> JsonObject:
    """An agent as listed, with the grant to paste for whoever is to call it."""
    card = json_from(entry.card)
    skills = [json_object(skill) for skill in json_list(card.get("skills"))]
    return {
        "slug": entry.slug,
        "name": json_text(card.get("name")),
        "description": json_text(card.get("description")),
        "version": json_text(card.get("version")),
        "card": entry.card_url,
        "source": "configuration" if entry.configured else "registry",
        "digest": entry.digest,
        "addedAt": rfc3339(entry.added_at_us),
        "addedBy": entry.added_by,
        "problem": entry.problem,
        "skills": [{"id": skill.get("id"), "name": skill.get("name")} for skill in skills],
        "asksFor": _asks_for(card),
        "grant": f"agent:{entry.slug}",
    }


def _asks_for(card: JsonObject) -> list[Json]:
    """Credentials the card wants from its callers, by scheme name."""
    schemes = json_object(card.get("securitySchemes"))
    return [*sorted(schemes)]


def key_view(key: ApiKey) -> JsonObject:
    return {
        "id": key.id,
        "subject": key.subject,
        "kind": key.kind,
        "roles": [*sorted(key.roles)],
        "createdAt": rfc3339(key.created_at_us),
        "expiresAt": rfc3339(key.expires_at_us or 0),
        "revokedAt": rfc3339(key.revoked_at_us or 0),
        "note": key.note,
    }


def record_view(record: JsonObject) -> JsonObject:
    """A stored record with its time as the API says times."""
    shown = {name: value for name, value in record.items() if name != "at_us"}
    at_us = record.get("at_us")
    return {**shown, "at": rfc3339(at_us if isinstance(at_us, int) else 0)}


def run_view(run: Run) -> JsonObject:
    shown: JsonObject = {
        "id": run.id,
        "workflow": run.workflow,
        "owner": run.owner,
        "state": run.state,
        "contextId": run.context_id,
        "createdAt": rfc3339(run.created_at_us),
        "updatedAt": rfc3339(run.updated_at_us),
        "error": run.error,
        "usage": usage_view(run.usage),
        "version": json_text(run.spec.get("version")),
    }
    if run.paused_at_us and not TaskState(run.state).terminal:
        shown["pausedAt"] = rfc3339(run.paused_at_us)
    if origin := json_text(run.spec.get("origin")):
        shown["forkedFrom"] = {"run": origin, "step": json_text(run.spec.get("origin_step"))}
    return shown


def run_in_full(run: Run, steps: Sequence[RunStep]) -> JsonObject:
    return {**run_view(run), "input": run.input, "output": run.output, "steps": step_tree(steps)}


def step_tree(steps: Iterable[RunStep]) -> list[Json]:
    """Steps nested under their parents in order of start, each by its last attempt with the earlier ones beside it.

    What names an unknown parent stands at the top.
    """
    attempts: dict[str, list[RunStep]] = {}
    for step in sorted(steps, key=lambda step: (step.started_at_us, step.id, step.attempt)):
        attempts.setdefault(step.id, []).append(step)
    children: dict[str, list[Json]] = {step_id: [] for step_id in attempts}
    roots: list[Json] = []
    for step_id, tries in attempts.items():
        last = tries[-1]
        siblings = children[last.parent] if last.parent in children and last.parent != step_id else roots
        siblings.append(_step_view(last, tries[:-1], children[step_id]))
    return roots


def _step_view(step: RunStep, earlier: Sequence[RunStep], children: list[Json]) -> JsonObject:
    return {
        "id": step.id,
        "target": step.target,
        "state": step.state,
        "attempt": step.attempt,
        "phase": step.phase,
        "startedAt": rfc3339(step.started_at_us),
        "durationUs": step.duration_us,
        "summary": step.summary,
        "reason": step.reason,
        "input": step.input,
        "value": step.value,
        "usage": usage_view(step.usage),
        "labels": json_from(step.labels.to_json()),
        "record": step.record_id,
        "remoteTask": step.remote_task,
        "earlier": [
            {"attempt": each.attempt, "state": each.state, "reason": each.reason, "durationUs": each.duration_us}
            for each in earlier
        ],
        "steps": children,
    }
