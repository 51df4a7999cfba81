"""References in a workflow's settings to its task and earlier results: `$task.order`, `$quote.amount > 100`. Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject

TASK = "task"
_REFERENCE = re.compile(r"\$([A-Za-z0-9_-]+)((?:\.[A-Za-z0-9_-]+)*)")
_CONDITION = re.compile(r"(not\s+)?(\$\S+)(?:\s*(==|!=|<=|>=|<|>)\s*(.+))?")


@dataclass(frozen=True, slots=True)
class Condition:
    """What decides whether a stage runs."""

    reference: str
    negated: bool
    operator: str
    """Empty: whether anything that counts as true is there."""
    value: Json

    def __str__(self) -> str:
        compared = f" {self.operator} {json.dumps(self.value, ensure_ascii=False)}" if self.operator else ""
        return f"{'not ' if self.negated else ''}{self.reference}{compared}"

    def holds(self, known: Mapping[str, Json]) -> bool:
        """A comparison with something that is not there, or of another kind, does not hold."""
        return self._holds(resolved(self.reference, known)) is not self.negated

    def _holds(self, found: Json) -> bool:
        match self.operator:
            case "":
                return bool(found)
            case "==":
                return found == self.value
            case "!=":
                return found != self.value
            case _:
                return _ordered(found, self.operator, self.value)


def condition_from(text: str) -> Condition:
    """Raises: InvalidRequest: it is none."""
    match = _CONDITION.fullmatch(text.strip())
    if match is None or not _REFERENCE.fullmatch(match[2]):
        raise InvalidRequest(f"{text!r} is no condition: write `$stock.available`, `not $stock.available`, `$a.b > 3`")
    try:
        value: Json = json.loads(match[4]) if match[4] else None
    except ValueError as error:
        raise InvalidRequest(f"{match[4]!r} in {text!r} is no number, no text in double quotes, no true") from error
    return Condition(match[2], bool(match[1]), match[3] or "", value)


def resolved(value: Json, known: Mapping[str, Json]) -> Json:
    """`value` with every reference in it replaced by what it stands for; null where nothing does."""
    if isinstance(value, str):
        match = _REFERENCE.fullmatch(value)
        return value if match is None else _found(match, known)
    if isinstance(value, list):
        return [resolved(each, known) for each in value]
    if isinstance(value, dict):
        return {key: resolved(each, known) for key, each in value.items()}
    return value


def named_in(value: Json) -> Iterable[str]:
    """Names of whatever `value` refers to."""
    for name, *_ in paths_in(value):
        yield name


def paths_in(value: Json) -> Iterable[tuple[str, ...]]:
    """Everything `value` refers to, each as name and fields."""
    if isinstance(value, str):
        if is_reference(value):
            yield tuple(value[1:].split("."))
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from paths_in(each)


def is_reference(text: str) -> bool:
    return _REFERENCE.fullmatch(text) is not None


def filled(text: str, known: Mapping[str, Json]) -> str:
    """`text` with every reference within it replaced by the text or number it stands for; by nothing where there is
    neither: `account:$task.account`."""

    def found(match: re.Match[str]) -> str:
        value = _found(match, known)
        return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""

    return _REFERENCE.sub(found, text)


def names_filled_in(texts: Iterable[str]) -> list[str]:
    """Names of whatever the texts refer to within themselves."""
    return [match[1] for text in texts for match in _REFERENCE.finditer(text)]


def references_within(texts: Iterable[str]) -> list[Json]:
    """Whatever the texts refer to within themselves, each as a reference by itself."""
    return [match[0] for text in texts for match in _REFERENCE.finditer(text)]


def renamed(value: Json, names: Mapping[str, str]) -> Json:
    """`value` with every reference in it to something that has another name now under that name."""
    if isinstance(value, str):
        match = _REFERENCE.fullmatch(value)
        return value if match is None else f"${names.get(match[1], match[1])}{match[2]}"
    if isinstance(value, list):
        return [renamed(each, names) for each in value]
    if isinstance(value, dict):
        return {key: renamed(each, names) for key, each in value.items()}
    return value


def without_nothing(value: JsonObject) -> JsonObject:
    """The members that are there."""
    return {key: each for key, each in value.items() if each is not None}


def _found(match: re.Match[str], known: Mapping[str, Json]) -> Json:
    found = known.get(match[1])
    for step in match[2].split(".")[1:]:
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _ordered(found: Json, operator: str, value: Json) -> bool:
    if not isinstance(found, int | float) or not isinstance(value, int | float):
        return False
    match operator:
        case "<":
            return found < value
        case "<=":
            return found <= value
        case ">":
            return found > value
        case _:
            return found >= value
