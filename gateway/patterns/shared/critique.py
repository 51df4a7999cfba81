"""What is said of a piece of work: by rules that need no model, or by a critic, read from its answer. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.contracts import violation
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.ports.orchestration import StepResult
from gateway.patterns.shared.settings import contract, texts
from gateway.patterns.shared.spoken import object_said

RULES = ("rules",)
"""Built-in rules that fill the role of a critic or goal checker."""
OPTIONS = frozenset({"schema", "fields", "required", "forbidden", "min_chars", "max_chars"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Critique:
    """How good it is, and what it lacks."""

    score: float
    """0 to 1."""
    findings: tuple[str, ...] = ()
    scores: Mapping[str, float] | None = None
    """By criterion, where there are several."""

    def to_json(self) -> JsonObject:
        findings: list[Json] = [*self.findings]
        said: JsonObject = {"score": self.score, "findings": findings}
        return said if self.scores is None else {**said, "scores": dict(self.scores)}


def refuse_options(options: JsonObject, role: str) -> None:
    """Raises: InvalidRequest: the built-in rules have no such option, or there is none."""
    unknown = ", ".join(sorted(options.keys() - OPTIONS))
    if unknown or not options:
        known = ", ".join(sorted(OPTIONS))
        message = f"the rules of the {role} have no option {unknown}" if unknown else f"the {role} has no rules"
        raise InvalidRequest(f"{message}; there is {known}", detail={"setting": role})


def by_rules(result: StepResult, options: JsonObject, rubric: Mapping[str, float]) -> Critique:
    """The work held to the rules in `options`: the weighted mean of how far each is kept; one that the rubric does not
    name weighs 1."""
    words = words_of(result)
    kept: dict[str, tuple[float, tuple[str, ...]]] = {}
    if schema := contract(options.get("schema")):
        broken = violation(schema, result.value)
        kept["schema"] = (float(not broken), (broken,) if broken else ())
    if fields := texts(options.get("fields")):
        there = json_object(result.value)
        kept["fields"] = _share_of(fields, [f for f in fields if there.get(f) in (None, "", [], {})], "{} is missing")
    lower = words.casefold()
    if phrases := texts(options.get("required")):
        missing = [each for each in phrases if each.casefold() not in lower]
        kept["required"] = _share_of(phrases, missing, "it does not say {!r}")
    if forbidden := texts(options.get("forbidden")):
        said = [each for each in forbidden if each.casefold() in lower]
        kept["forbidden"] = _share_of(forbidden, said, "it says {!r}")
    if length := _length(len(words), options):
        kept["length"] = length
    scores = {name: score for name, (score, _) in kept.items()}
    findings = tuple(finding for _, said in kept.values() for finding in said)
    return Critique(score=weighted(scores, {name: rubric.get(name, 1.0) for name in scores}), findings=findings)


def critique_in(result: StepResult, rubric: Mapping[str, float]) -> Critique:
    """What a critic answered: `{"score": 0.8}`, or with a rubric `{"scores": {"criterion": 0.8}}`, and `findings`.

    Raises: InvalidRequest: it gave no score; the message tells a critic what to mend.
    """
    said = _object_in(result.answer)
    findings = _findings(said)
    if not rubric:
        score = _share(said.get("score"))
        if score is None:
            raise InvalidRequest('there is no score: answer {"score": 0 to 1, "findings": ["what it lacks"]}')
        return Critique(score=score, findings=findings)
    given = json_object(said.get("scores"))
    scores = {name: score for name in rubric if (score := _share(given.get(name))) is not None}
    lacking = [name for name in rubric if name not in scores]
    if lacking:
        raise InvalidRequest(
            f"there is no score for {', '.join(lacking)}: "
            'answer {"scores": {"CRITERION": 0 to 1}, "findings": ["what it lacks"]}'
        )
    return Critique(score=weighted(scores, rubric), findings=findings, scores=scores)


def weighted(scores: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The weighted mean of the scores, 0 to 1; 1 where there is nothing to hold it to."""
    total = sum(weights[name] for name in scores)
    if not total:
        return 1.0
    mean = sum(weights[name] * score for name, score in scores.items()) / total
    return round(min(1.0, max(0.0, mean)), 4)


def words_of(result: StepResult) -> str:
    """Everything a result says in words."""
    value = result.value
    told = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return told if result.text in told else f"{result.text}\n{told}" if told else result.text


def _share_of(all_of: tuple[str, ...], broken: list[str], saying: str) -> tuple[float, tuple[str, ...]]:
    return 1 - len(broken) / len(all_of), tuple(saying.format(each) for each in broken)


def _length(chars: int, options: JsonObject) -> tuple[float, tuple[str, ...]] | None:
    least, most = options.get("min_chars"), options.get("max_chars")
    if isinstance(least, int) and chars < least:
        return chars / least, (f"it has {chars} characters, and at least {least} are wanted",)
    if isinstance(most, int) and chars > most:
        return most / chars, (f"it has {chars} characters, and at most {most} are wanted",)
    return (1.0, ()) if isinstance(least, int) or isinstance(most, int) else None


def _findings(said: JsonObject) -> tuple[str, ...]:
    listed = texts(said.get("findings"))
    text = json_text(said.get("feedback")) or json_text(said.get("text"))
    return listed or ((text,) if text else ())


def _share(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return None
    return float(value)


def _object_in(value: Json) -> JsonObject:
    return object_said(next(iter(json_list(value)), None) if isinstance(value, list) else value)
