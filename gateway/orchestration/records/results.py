"""Step results: read from answers and errors, written to the journal and read back. Pure.

A result is built once, as JSON, and what the pattern gets is always read from that JSON: so it is the same live and on
replay. What an agent says about its answer stands in the member `drawbridge` of its data part.
"""

from dataclasses import replace
from typing import get_args

from gateway.core.content import Content
from gateway.core.errors import Conflict, DeadlineExceeded, Denied, Exhausted, GatewayError, InDoubt, Unavailable
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.labels import labels_from_json, labels_of
from gateway.core.limits import usage_from_json
from gateway.core.model import Accepted, Complete, InputRequired, Result
from gateway.core.ports.orchestration import StepError, StepResult
from gateway.orchestration.records.promised import NoJson, json_text_read
from gateway.orchestration.records.spec import phase_from

MEMBER = "drawbridge"
SUMMARY_CHARS = 400
"""About 100 tokens: what an agent's own summary is cut to, or the beginning of its text where it gives none."""
REASON_CHARS = 600
_READ = ("summary", "writes", "commits")
"""What a step's result has fields of its own for."""

_ERRORS: dict[str, StepError] = {each: each for each in get_args(StepError)}
_BY_TYPE: tuple[tuple[type[GatewayError], StepError], ...] = (
    (InDoubt, "in_doubt"),
    (Conflict, "conflict"),
    (Denied, "denied"),
    (Unavailable, "unavailable"),
    (DeadlineExceeded, "timeout"),
)


def answered(begun: StepResult, answer: Result) -> StepResult:
    """`begun` with what came back."""
    match answer:
        case Complete():
            return _completed(begun, answer)
        case InputRequired():
            asked = answer.body.content()
            reason = cut(asked.text or "it asks for more input", REASON_CHARS)
            return replace(begun, error="input_required", reason=reason, labels=begun.labels.join(answer.labels))
        case Accepted():
            reason = f"it took the work on as task {answer.task.id} and did not wait for its end"
            return replace(begun, error="failed", reason=reason, labels=begun.labels.join(answer.labels))


def refused(begun: StepResult, error: GatewayError) -> StepResult:
    """`begun` with why there is no answer."""
    known = next((name for kind, name in _BY_TYPE if isinstance(error, kind)), None)
    if known is None and isinstance(error, Exhausted):
        # A budget of ours is used up for good; a full queue somewhere else may have room the next time.
        known = "budget" if error.detail.get("limit") in ("depth", "budget") else "unavailable"
    rule = json_text(error.detail.get("rule"))
    reason = f"{error.message} (rule {rule})" if rule else error.message
    record_id = json_text(error.detail.get("record"))
    labels = begun.labels.join(labels_of(error))
    return replace(begun, error=known or "failed", reason=cut(reason, REASON_CHARS), labels=labels, record_id=record_id)


def _completed(begun: StepResult, answer: Complete) -> StepResult:
    content = answer.body.content()
    value, said = _split(content)
    text = content.text
    if value == text and begun.target.startswith("tool:"):
        value = _said_in_words(text)
    result = replace(
        begun,
        ok=not answer.is_error,
        value=value,
        text=text,
        summary=cut(json_text(said.get("summary")) or text, SUMMARY_CHARS),
        usage=begun.usage + answer.usage,
        labels=begun.labels.join(answer.labels),
        writes=json_object(said.get("writes")),
        commits=said.get("commits") is not False,
        said={name: each for name, each in said.items() if name not in _READ},
        quality=_sentences(answer.meta.get("quality")),
        record_id=json_text(answer.meta.get("record")),
    )
    if answer.is_error:
        canceled = answer.meta.get("state") == "canceled"
        reason = cut(text or "it answered that it failed", REASON_CHARS)
        return replace(result, error="canceled" if canceled else "failed", reason=reason)
    return result


def _split(content: Content) -> tuple[Json, JsonObject]:
    """The value proper, and what the agent says about it."""
    structured = content.structured
    if structured is None:
        return content.text, {}
    if not isinstance(structured, dict) or MEMBER not in structured:
        return structured, {}
    value = {name: each for name, each in structured.items() if name != MEMBER}
    return value or content.text or {}, json_object(structured[MEMBER])


def _said_in_words(text: str) -> Json:
    """The object or list that all of a text is, else the text: MCP before 2025-06-18 knows no structured content, and
    later servers need not give any."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return json_text_read(text)
    except NoJson:
        return text


def handed_over(result: StepResult) -> JsonObject:
    """A result as the next agent is given it."""
    if result.ok:
        return {"summary": result.summary, "value": result.value}
    return {"summary": "", "value": None, "error": result.error, "reason": result.reason}


def result_to_json(result: StepResult) -> JsonObject:
    return {
        "id": result.id,
        "target": result.target,
        "ok": result.ok,
        "phase": result.phase,
        "value": result.value,
        "text": result.text,
        "summary": result.summary,
        "error": result.error,
        "reason": result.reason,
        "usage": result.usage.to_json(),
        "labels": result.labels.to_json(),
        "writes": dict(result.writes),
        "reads": dict(result.reads),
        "recalled": [*result.recalled],
        "commits": result.commits,
        "said": dict(result.said),
        "quality": result.quality,
        "attempts": result.attempts,
        "remote_task": result.remote_task,
        "record_id": result.record_id,
        "started_at_us": result.started_at_us,
        "duration_us": result.duration_us,
    }


def result_from_json(value: JsonObject) -> StepResult:
    """See `result_to_json`."""
    return StepResult(
        id=json_text(value.get("id")),
        target=json_text(value.get("target")),
        ok=value.get("ok") is True,
        phase=phase_from(value.get("phase")),
        value=value.get("value"),
        text=json_text(value.get("text")),
        summary=json_text(value.get("summary")),
        error=_ERRORS.get(json_text(value.get("error")), "failed"),
        reason=json_text(value.get("reason")),
        usage=usage_from_json(value.get("usage")),
        labels=labels_from_json(value.get("labels")),
        writes=json_object(value.get("writes")),
        reads={key: _whole(version) for key, version in json_object(value.get("reads")).items()},
        recalled=tuple(each for each in json_list(value.get("recalled")) if isinstance(each, str)),
        commits=value.get("commits") is not False,
        said=json_object(value.get("said")),
        quality=json_text(value.get("quality")),
        attempts=_whole(value.get("attempts")),
        remote_task=json_text(value.get("remote_task")),
        record_id=json_text(value.get("record_id")),
        started_at_us=_whole(value.get("started_at_us")),
        duration_us=_whole(value.get("duration_us")),
    )


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, and visibly so."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _sentences(value: Json) -> str:
    """What is said of an answer's quality, as one text: a sentence, or a list of them."""
    return value if isinstance(value, str) else "; ".join(each for each in json_list(value) if isinstance(each, str))


def _whole(value: Json) -> int:
    return value if isinstance(value, int) else 0
