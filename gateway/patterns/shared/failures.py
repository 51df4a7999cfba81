"""What becomes of work that failed: who may try again, and what the caller wants done (`limits.on_failure`)."""

from dataclasses import replace
from typing import Literal, TypeAlias

from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.ports.orchestration import Node, Question, StepError, StepResult
from gateway.patterns.shared.settings import seconds
from gateway.patterns.shared.work import Work, asked, decided

Choice: TypeAlias = Literal["retry", "skip", "fail", ""]
"""Empty: nobody said."""
OnFailure: TypeAlias = Literal["partial", "fail", "ask"]

WANTING: frozenset[StepError] = frozenset({"failed", "timeout", "unavailable", "schema"})
"""Failures after which another attempt may help, as the same step, so that no effect is repeated. The others would only
fail again; a conflict means that the work was done on something outdated."""
STOPPED: frozenset[StepError] = frozenset({"budget", "deadline"})
"""Failures after which nothing more can be done in the run."""

ASK_TIMEOUT_S = 300.0
"""How long a person has to answer, where the limits do not say and the run's deadline leaves that much."""
_CHOICES: dict[str, Choice] = {"retry": "retry", "skip": "skip", "fail": "fail"}
_YES = frozenset({"yes", "y", "ok", "approve", "approved", "true"})


def on_failure_in(limits: JsonObject) -> OnFailure:
    match limits.get("on_failure"):
        case "fail":
            return "fail"
        case "ask":
            return "ask"
        case _:
            return "partial"


def ask_timeout_s_in(limits: JsonObject) -> float:
    """Seconds a question to the caller stays open."""
    asked_s, deadline_s = seconds(limits.get("ask_timeout_s")), seconds(limits.get("deadline_s"))
    asked_s = ASK_TIMEOUT_S if asked_s is None else asked_s
    return asked_s if deadline_s is None else min(asked_s, deadline_s)


def what_to_do(name: str, result: StepResult, timeout_s: float) -> Work[Choice]:
    """What the caller wants done about a step that failed for good."""
    prompt = f"{name} failed ({result.because}). Answer retry, skip or fail."
    schema: JsonObject = {"type": "string", "enum": ["retry", "skip", "fail"]}
    answer = yield from asked(Question(prompt=prompt, schema=schema), timeout_s)
    choice: Choice = choice_in(answer.value) if answer.given else ""
    because = f"the caller was asked about {name}" if choice else f"nobody said in time what to do about {name}"
    yield from decided("on_failure", choice or "partial", because=because, detail={"step": name})
    return choice


def choice_in(value: Json) -> Choice:
    """The choice in an answer; empty where there is none."""
    return _CHOICES.get(words_in(value).strip().lower(), "")


def is_approved(value: Json) -> bool:
    """Whether an answer says yes, and nothing else."""
    said = json_object(value).get("approved", value)
    return said is True or words_in(said).strip().lower() in _YES


def words_in(value: Json) -> str:
    """What was said in words, plain or under `message`, `answer` or `choice`."""
    if isinstance(value, str):
        return value
    fields = json_object(value)
    return next((text for name in ("message", "answer", "choice") if (text := json_text(fields.get(name)))), "")


def another_try(node: Node, failed: StepResult) -> Node:
    """The same work once more, by whoever `node` names now: as the same step, so that no effect is repeated, and told
    what was wrong. That may be in words of whoever failed, so it comes with their labels; a tool is told nothing."""
    if node.target.startswith("tool:"):
        return replace(node, again=failed.id)
    return replace(node, again=failed.id, note=another_way(failed), labels=node.labels.join(failed.labels))


def another_way(result: StepResult) -> str:
    """Said to an agent that is asked again: it is not to do the same once more."""
    if result.error == "schema":
        return f"The last answer could not be used: {result.reason}. Answer so that it can."
    return f"The last attempt did not succeed: {result.because}. Try another way."
