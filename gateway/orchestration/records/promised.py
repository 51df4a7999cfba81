"""A step's answer, held to what it promised. Pure.

Agents that nobody here wrote often spell JSON out in words. Where a contract asks for a value, the words are read as
that value; where none does, they stay words.
"""

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from gateway.core.contracts import violation
from gateway.core.json import Json
from gateway.core.ports.orchestration import StepResult

_FENCE = "```"
_INFO = ("", "json")
"""What may stand behind the fence that opens a block of JSON."""


class NoJson(Exception):
    """A text is not JSON."""


def promised(schema: Mapping[str, Json], result: StepResult) -> StepResult:
    """A successful `result` with the value that the contract asks for, or failed with how its answer breaks it.

    What is asked of a workflow may be asked of its answer alone.
    """
    value, broken = value_promised(schema, result.answer)
    if not broken:
        return _with_answer(result, value)
    if not violation(schema, result.value):
        return result
    return replace(result, ok=False, error="schema", reason=f"its answer breaks its contract: {broken}")


def _with_answer(result: StepResult, value: Json) -> StepResult:
    if result.answer is not result.value and isinstance(result.value, dict):
        value = {**result.value, "answer": value}
    return replace(result, value=value)


def value_promised(schema: Mapping[str, Json], said: Json) -> tuple[Json, str]:
    """The value in what was said, and how it breaks the contract; empty where it holds.

    Words that are JSON, as a whole or as their one fenced block, count as what they spell out. The words themselves
    count where the contract asks for words.
    """
    if not isinstance(said, str):
        return said, violation(schema, said)
    try:
        spelled_out = json_in_words(said)
    except NoJson:
        return said, violation(schema, said)
    broken = violation(schema, spelled_out)
    simple = not isinstance(spelled_out, dict | list)
    if (broken or simple) and not violation(schema, said):
        return said, ""
    return spelled_out, broken


def json_in_words(text: str) -> Json:
    """What the words spell out.  Raises: NoJson: nothing, or more than one thing."""
    try:
        return json_text_read(text)
    except NoJson:
        return json_text_read(_one_block(text))


def json_text_read(text: str) -> Json:
    """JSON to Python; stricter than the standard library: no NaN, no half of a surrogate pair.

    Raises: NoJson.
    """
    try:
        value: Json = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise NoJson from error
    return value


def _one_block(text: str) -> str:
    """What stands in the one fenced block of a text. Fences stand on lines of their own: others are within a value."""
    stripped = text.strip()
    if "\n" not in stripped and stripped.startswith(_FENCE) and stripped.endswith(_FENCE):
        return stripped.removeprefix(_FENCE).removesuffix(_FENCE).strip().removeprefix("json")
    lines = text.splitlines()
    fences = [number for number, line in enumerate(lines) if line.lstrip().startswith(_FENCE)]
    if len(fences) != 2 or lines[fences[0]].strip().removeprefix(_FENCE).strip().lower() not in _INFO:
        raise NoJson
    return "\n".join(lines[fences[0] + 1 : fences[1]])
