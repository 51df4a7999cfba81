"""JSON in the words of strangers: found where it is, and read in bounded time whatever they say."""

from time import perf_counter

import pytest

from gateway.core.json import Json, JsonObject
from gateway.patterns.shared.spoken import object_said

FOUND: JsonObject = {"worker": "a"}


@pytest.mark.parametrize(
    "said",
    [
        {"worker": "a"},
        '{"worker": "a"}',
        'So:\n```json\n{"worker": "a"}\n```\n',
        'So: ``` {"worker": "a"} ``` and that is all.',
        'First\n```python\nprint()\n```\nthen\n```json\n{"worker": "a"}\n```',
        'Twice\n```json\n{"worker": "a"}\n```\nand\n```json\n{"worker": "b"}\n```',
    ],
)
def test_an_object_is_found_in_what_somebody_says(said: Json) -> None:
    assert object_said(said) == FOUND


def test_fences_within_the_json_are_part_of_it() -> None:
    assert object_said('```json\n{"text": "say ```x``` here"}\n```') == {"text": "say ```x``` here"}


@pytest.mark.parametrize("said", [None, 7, [FOUND], "no", "[1]", "```json\nno\n```", "```json", '"text"'])
def test_what_is_no_object_is_none(said: Json) -> None:
    assert object_said(said) == {}


@pytest.mark.parametrize(
    "said",
    ["```{" * 50_000 + "}" * 300_000, '{"a":' * 200_000, "[" * 400_000, "```json\n" + '{"a":' * 200_000 + "\n```"],
)
def test_a_hostile_text_takes_no_longer_than_a_long_one(said: str) -> None:
    began = perf_counter()
    assert object_said(said) == {}
    # Tried in every way there is, it would be hours.
    assert perf_counter() - began < 20
