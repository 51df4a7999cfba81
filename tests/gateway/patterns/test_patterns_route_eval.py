"""How well requests are routed, in numbers."""

import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject
from gateway.patterns.router.classifying import RoutedRequest
from gateway.patterns.router.evaluation import Case, Labelled, evaluated, labelled_from, recent

WORKERS = ("agent:refunds", "agent:billing")


def case(expected: str, found: str, by: str) -> Case:
    labelled = Labelled(request=RoutedRequest(message=f"{expected}?"), workers=frozenset({expected}))
    return Case(labelled=labelled, workers=frozenset({found} - {""}), by=by)


def test_accuracy_confusion_and_who_decided() -> None:
    report = evaluated(
        [
            case("agent:refunds", "agent:refunds", "rules"),
            case("agent:refunds", "agent:billing", "rules"),
            case("agent:billing", "agent:billing", "classifier"),
            case("agent:billing", "", ""),
        ]
    )
    assert (report["accuracy"], report["accuracy_of_decided"]) == (0.5, 0.667)
    assert (report["by_rules"], report["by_classifier"], report["decided"]) == (0.5, 0.25, 3)
    assert report["confusion"] == {
        "billing": {"billing": 1, "(nobody)": 1},
        "refunds": {"refunds": 1, "billing": 1},
    }
    assert report["wrong"] == [
        {"message": "agent:refunds?", "expected": "refunds", "found": "billing", "by": "rules"},
        {"message": "agent:billing?", "expected": "billing", "found": "(nobody)", "by": ""},
    ]


def test_a_labelled_set_is_read_line_by_line() -> None:
    found = labelled_from(
        [
            '{"message": "a", "worker": "refunds"}',
            "",
            '{"message": "b", "data": {"n": 1}, "workers": ["refunds", "billing"]}',
            '{"message": "c", "worker": null}',
        ],
        WORKERS,
    )
    assert [each.workers for each in found] == [frozenset({"agent:refunds"}), frozenset(WORKERS), frozenset()]
    assert found[1].request.data == {"n": 1}


@pytest.mark.parametrize(
    "line", ["{", '{"message": "a"}', '{"worker": "refunds"}', '{"message": "a", "worker": "ghost"}', "[]"]
)
def test_a_line_that_is_no_label_is_named(line: str) -> None:
    with pytest.raises(InvalidRequest, match="line 2"):
        labelled_from(['{"message": "a", "worker": "refunds"}', line], WORKERS)


def test_an_empty_set_measures_nothing() -> None:
    with pytest.raises(InvalidRequest):
        labelled_from(["", " "], WORKERS)


def routes(*confidences: float, by: str = "classifier") -> list[JsonObject]:
    return [{"by": by, "confidence": each} for each in confidences]


@pytest.mark.parametrize(
    ("newest_first", "falling"),
    [
        ([0.6] * 5 + [0.9] * 5, True),
        ([0.9] * 5 + [0.6] * 5, False),
        ([0.8] * 10, False),
        ([0.1] * 4 + [0.9] * 5, False),
    ],
    ids=["falls", "rises", "steady", "too few to say"],
)
def test_confidence_that_falls_is_seen(newest_first: list[float], falling: bool) -> None:
    assert recent(routes(*newest_first))["falling"] is falling


def test_the_cache_is_measured_against_what_the_classifier_was_asked() -> None:
    report = recent([*routes(0.9, by="cache"), *routes(0.9, 0.9, 0.9), *routes(1.0, by="rules")])
    assert report["cache_hit_rate"] == 0.25
    assert report["by"] == {"cache": 0.2, "classifier": 0.6, "rules": 0.2}
    assert recent([])["confidence"] is None
