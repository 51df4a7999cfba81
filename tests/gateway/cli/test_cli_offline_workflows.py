"""What `drawbridge check` says of workflows: all that is wrong with any of them, where it stands, what was meant."""

from pathlib import Path

from gateway.cli.offline import problems_of
from gateway.cli.options import place

HEAD = """\
agents:
  a: {card: "http://127.0.0.1:9301"}
  b: {card: "http://127.0.0.1:9302"}
workflows:
"""


def found_in(folder: Path, *workflows: str) -> list[tuple[int, str, str, str]]:
    path = folder / "gateway.yaml"
    path.write_text(HEAD + "".join(f"  {each}\n" for each in workflows))
    problems = [each for each in problems_of(place(path, None, {})) if each.path != "principals"]
    return [(each.line, each.path, each.suggestion, each.severity) for each in problems]


def test_every_workflow_that_is_wrong_is_named_with_its_place_and_what_was_meant(tmp_path: Path) -> None:
    found = found_in(
        tmp_path,
        "unknown: {pattern: seqential, stages: [{agent: a}]}",
        "right: {pattern: sequential, stages: [{agent: a}, {agent: b}]}",
        "judges: {pattern: reflection, agents: [a], critic: a}",
        'later: {pattern: sequential, stages: [{agent: a}, {agent: b, input: {x: "$nobody.id"}}]}',
        "calls: {pattern: router, agents: [a, b], classifier: b, limits: {calls: 1}}",
        "idle: {pattern: router, agents: [a, b], router: {rules: [{agent: a, keywords: [refund]}]}}",
    )
    assert found == [
        (5, "workflows.unknown.pattern", "sequential", "error"),
        (7, "workflows.judges.critic", "", "error"),
        (8, "workflows.later.stages[1]", "", "error"),
        (9, "workflows.calls.limits", "", "error"),
        (10, "workflows.idle", "", "warning"),
    ]


def test_a_field_that_no_contract_names_is_an_error_where_there_can_be_no_other_and_else_a_warning(
    tmp_path: Path,
) -> None:
    stages = '[{{agent: a, output_schema: {{properties: {{amount: {{}}}}{}}}}}, {{agent: b, input: {{x: "$a.amont"}}}}]'
    found = found_in(
        tmp_path,
        f"closed: {{pattern: sequential, stages: {stages.format(', additionalProperties: false')}}}",
        f"open: {{pattern: sequential, stages: {stages.format('')}}}",
    )
    assert found == [
        (5, "workflows.closed.stages[1]", "", "error"),
        (6, "workflows.open", "", "warning"),
    ]


def test_workflows_that_call_each_other_in_a_circle_are_told_once(tmp_path: Path) -> None:
    found = found_in(
        tmp_path,
        "one: {pattern: sequential, stages: [{workflow: other}]}",
        "other: {pattern: sequential, stages: [{workflow: one}]}",
        "self: {pattern: sequential, stages: [{workflow: self}]}",
    )
    assert sorted(path for _, path, _, _ in found) in (
        ["workflows.one", "workflows.self"],
        ["workflows.other", "workflows.self"],
    )


def test_a_configuration_that_is_right_has_no_problem(tmp_path: Path) -> None:
    assert found_in(tmp_path, "right: {pattern: sequential, stages: [{agent: a}]}") == []
