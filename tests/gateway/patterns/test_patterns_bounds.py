"""Answers as large as an agent may send them: what is made of them takes no longer than reading them some times."""

from time import perf_counter

from gateway.core.fields import without
from gateway.core.json import Json, JsonObject
from gateway.core.ports.orchestration import StepResult
from gateway.patterns.concurrent.reports import report_from, template_from
from gateway.patterns.consensus.panel import likeness
from gateway.patterns.consensus.rubric import criteria_in, scored_by_rules
from gateway.patterns.shared.verify import checks_in, confirms, verified

MANY = 20_000
ENTRIES: list[Json] = [{"page": number} for number in range(MANY)]


def test_long_lists_are_compared_weighed_and_cleaned_entry_by_entry() -> None:
    began = perf_counter()
    other: list[Json] = [{"page": number} for number in range(MANY // 2, MANY + MANY // 2)]
    assert likeness(ENTRIES, other) == 0.5
    scored = scored_by_rules(criteria_in({"cited": {"rule": "cites", "least": MANY}}), {"a": {"evidence": ENTRIES}})
    assert scored == {"a": {"cited": 1.0}}
    bad: list[Json] = [*range(1, MANY)]
    assert without({"cited": ENTRIES}, "cited[].page", bad) == {"cited": [{"page": 0}]}
    # Pair by pair it would be an hour.
    assert perf_counter() - began < 30


def test_a_long_field_of_a_report_is_read_line_by_line() -> None:
    template = template_from("## [i/n] Title\nText: text")
    said = report_from("## [1/1] One\nText: a\n" + "  b\n" * 400_000, template)
    assert said == {"sections": [{"title": "One", "Text": "a" + "\nb" * 400_000}]}


def test_of_many_values_that_cannot_be_resolved_some_are_named() -> None:
    entry: JsonObject = {"verify": [{"field": "cited[].page", "tool": "files/page"}]}
    result = StepResult(id="run/1", target="agent:a", ok=True, value={"cited": ENTRIES})
    work = verified(checks_in(entry), "one", result)
    nodes = work.send(None)
    assert isinstance(nodes, dict)
    unknown = StepResult(id="run/2", target="tool:files/page", ok=True)
    assert not confirms(unknown)
    decision = work.send(dict.fromkeys(nodes, unknown))
    assert len(str(decision)) < 2_000
