"""What a tool asks, in words for whoever started the run, and their answer in the form the tool wants. Pure.

A form is MCP's elicitation: an object of texts, numbers, choices and yes or no. An answer may be such an object, or, of
a form with one field, just its value; `decline` and `cancel` are answers to every form.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.core.contracts import violation
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

FORMS: JsonObject = {"elicitation": {"form": {}, "url": {}}}
"""What whoever starts a run can be asked, as a client would declare it."""
_ELICITATION = "elicitation/create"
_REFUSALS = ("decline", "cancel")
_YES = ("yes", "y", "ok", "accept", "accepted", "done", "true")
_NO = ("no", "n", "false")
_FIELDS_AT_MOST = 30
_CHOICES_AT_MOST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """An answer in the form that was asked for, or why it is none."""

    reply: JsonObject = field(default_factory=dict[str, Json])
    problem: str = ""


Questions: TypeAlias = Mapping[str, Json]
"""By key, each with `method` and `params`."""


def cannot_be_asked(questions: Questions) -> str:
    """Why nobody who starts a run can be asked this; empty where they can."""
    for each in questions.values():
        method = json_text(json_object(each).get("method"))
        if method != _ELICITATION:
            return (
                f"it asks for {method or 'nothing that has a name'}, and whoever starts a run can only be asked forms"
            )
    return "" if questions else "it asks for more input without saying for what"


def words_of(question: Json) -> str:
    """The question, and what an answer has to be."""
    params = json_object(json_object(question).get("params"))
    message = json_text(params.get("message")) or "it asks for more input"
    if params.get("mode") == "url":
        return f"{message} Open {json_text(params.get('url'))} and answer `accept` once that is done, or `decline`."
    properties = _properties(params)
    if not properties:
        return f"{message} Answer `accept` or `decline`."
    required = json_list(_schema(params).get("required"))
    fields = [_field(name, each, name in required) for name, each in [*properties.items()][:_FIELDS_AT_MOST]]
    return f"{message} ({'; '.join(fields)})"


def filled(question: Json, value: Json) -> Filled:
    """The answer `value` as the tool wants it."""
    params = json_object(json_object(question).get("params"))
    properties = _properties(params)
    said = value.strip() if isinstance(value, str) else value
    if isinstance(said, dict) and "action" in said and "action" not in properties:
        return _as_it_is(params, said)
    word = said.lower().rstrip(".!") if isinstance(said, str) else ""
    if word in _REFUSALS and not _is_choice(properties, json_text(said)):
        return Filled(reply={"action": word})
    if params.get("mode") == "url" or not properties:
        return _consent(said, word)
    content = _content(properties, said)
    if content is None:
        return Filled(problem=f"the answer has to be an object with {', '.join(properties)}")
    return _accepted(params, content)


def _consent(said: Json, word: str) -> Filled:
    if said is True or said == {} or word in _YES:
        return Filled(reply={"action": "accept"})
    if said is False or word in _NO:
        return Filled(reply={"action": "decline"})
    return Filled(problem="the answer has to be `accept`, `decline` or `cancel`")


def _as_it_is(params: JsonObject, said: JsonObject) -> Filled:
    if said.get("action") in _REFUSALS:
        return Filled(reply={"action": said["action"]})
    if params.get("mode") == "url":
        return Filled(reply={"action": "accept"})
    return _accepted(params, json_object(said.get("content")))


def _accepted(params: JsonObject, content: JsonObject) -> Filled:
    properties = _properties(params)
    fitting: JsonObject = {name: _fitting(json_object(properties.get(name)), each) for name, each in content.items()}
    if broken := violation(_schema(params), fitting):
        return Filled(problem=f"the answer does not fit: {broken}")
    return Filled(reply={"action": "accept", "content": fitting})


def _content(properties: JsonObject, said: Json) -> "JsonObject | None":
    if isinstance(said, str) and said.startswith("{"):
        try:
            parsed = json.loads(said)
        except (ValueError, RecursionError):
            parsed = said
        said = parsed
    if isinstance(said, dict):
        return said
    return {next(iter(properties)): said} if len(properties) == 1 else None


def _fitting(schema: JsonObject, value: Json) -> Json:
    """The value as its type wants it: words come as texts, and whole numbers by some protocols with a point."""
    kind = schema.get("type")
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "array" and isinstance(value, str):
        return [each.strip() for each in value.split(",") if each.strip()]
    if not isinstance(value, str):
        return str(value) if kind == "string" and isinstance(value, int | float) else value
    word = value.strip().lower()
    if kind == "boolean" and word in (*_YES, *_NO):
        return word in _YES
    if kind in ("integer", "number"):
        try:
            number = float(word)
        except ValueError:
            return value
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    choices = [each for each in json_list(schema.get("enum")) if isinstance(each, str)]
    return next((each for each in choices if each.lower() == word), value)


def _is_choice(properties: JsonObject, said: str) -> bool:
    return any(said in json_list(json_object(each).get("enum")) for each in properties.values())


def _field(name: str, said: Json, required: bool) -> str:
    schema = json_object(said)
    about = json_text(schema.get("description")) or json_text(schema.get("title"))
    choices = [str(each) for each in json_list(schema.get("enum"))[:_CHOICES_AT_MOST]]
    kind = f"one of {', '.join(choices)}" if choices else json_text(schema.get("type"))
    notes = ", ".join(each for each in (about, kind, "" if required else "may be left out") if each)
    return f"{name}: {notes}" if notes else name


def _schema(params: JsonObject) -> JsonObject:
    return json_object(params.get("requestedSchema"))


def _properties(params: JsonObject) -> JsonObject:
    return json_object(_schema(params).get("properties"))
