"""What tools ask in forms, in words, and answers in words as those forms want them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.contracts import violation
from gateway.core.json import Json, JsonObject, json_object
from gateway.orchestration.step.forms import Filled, cannot_be_asked, filled, words_of


def form(properties: JsonObject, *required: str) -> JsonObject:
    schema: JsonObject = {"type": "object", "properties": properties, "required": [*required]}
    return {"method": "elicitation/create", "params": {"message": "Well?", "requestedSchema": schema}}


COPIES = form({"copies": {"type": "integer", "description": "how many"}}, "copies")
COLOUR = form({"colour": {"type": "string", "enum": ["Red", "decline"]}}, "colour")
TWO = form({"sure": {"type": "boolean"}, "note": {"type": "string"}}, "sure")
SURE = form({"sure": {"type": "boolean"}}, "sure")
URL: JsonObject = {
    "method": "elicitation/create",
    "params": {"mode": "url", "message": "Log in.", "url": "https://a/b"},
}
NOTHING = form({})


@pytest.mark.parametrize(
    ("question", "value", "content"),
    [
        (COPIES, "3", {"copies": 3}),
        (COPIES, 3.0, {"copies": 3}),
        (COPIES, {"copies": "3"}, {"copies": 3}),
        (COPIES, '{"copies": 3}', {"copies": 3}),
        (COPIES, {"action": "accept", "content": {"copies": 3}}, {"copies": 3}),
        (COLOUR, "red", {"colour": "Red"}),
        (COLOUR, "decline", {"colour": "decline"}),
        (SURE, "Yes", {"sure": True}),
        (SURE, False, {"sure": False}),
        (TWO, {"sure": "no"}, {"sure": False}),
        (TWO, '{"sure": true, "note": "x"}', {"sure": True, "note": "x"}),
    ],
)
def test_an_answer_is_what_the_form_wants(question: JsonObject, value: Json, content: JsonObject) -> None:
    assert filled(question, value) == Filled(reply={"action": "accept", "content": content})


@pytest.mark.parametrize(
    ("question", "value", "action"),
    [
        (COPIES, "Decline.", "decline"),
        (COPIES, "cancel", "cancel"),
        (COPIES, {"action": "decline"}, "decline"),
        (URL, "done", "accept"),
        (URL, {"action": "accept", "content": {}}, "accept"),
        (URL, "no", "decline"),
        (NOTHING, "ok", "accept"),
        (NOTHING, {}, "accept"),
    ],
)
def test_a_form_is_agreed_to_or_not_in_a_word(question: JsonObject, value: Json, action: str) -> None:
    assert filled(question, value).reply["action"] == action


@pytest.mark.parametrize(
    ("question", "value"),
    [(COPIES, "many"), (COPIES, {"copies": 1.5}), (COLOUR, "blue"), (TWO, "yes"), (URL, "perhaps"), (NOTHING, 7)],
)
def test_an_answer_in_no_form_says_what_would_be_one(question: JsonObject, value: Json) -> None:
    fit = filled(question, value)
    assert fit.problem
    assert fit.reply == {}


def test_the_words_of_a_form_name_its_fields() -> None:
    assert words_of(COPIES) == "Well? (copies: how many, integer)"
    assert words_of(TWO) == "Well? (sure: boolean; note: string, may be left out)"
    assert "https://a/b" in words_of(URL)


def test_what_is_no_form_cannot_be_asked() -> None:
    assert cannot_be_asked({"a": COPIES}) == ""
    assert "sampling/createMessage" in cannot_be_asked({"a": COPIES, "b": {"method": "sampling/createMessage"}})
    assert cannot_be_asked({})


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=5), st.sampled_from(["string", "integer", "number", "boolean", "array"]), max_size=3
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
        max_leaves=5,
    ),
)
def test_whatever_is_answered_either_fits_or_is_a_problem(kinds: dict[str, str], value: Json) -> None:
    properties: JsonObject = {name: {"type": kind} for name, kind in kinds.items()}
    question = form(properties, *kinds)
    fit = filled(question, value)
    assert bool(fit.problem) != bool(fit.reply)
    if fit.reply.get("action") == "accept" and "content" in fit.reply:
        schema = json_object(json_object(question["params"])["requestedSchema"])
        assert violation(schema, fit.reply["content"]) == ""
