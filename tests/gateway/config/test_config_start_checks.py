"""What is wrong with the messages that start runs is said before anything starts, and where it stands."""

from pathlib import Path

import pytest

from gateway.app.sections import SECTIONS
from gateway.config.checks import standard_checks
from gateway.config.load import parse
from gateway.config.problems import ConfigurationError, Problem

GOOD = """\
buses:
  mail:
    url: "memory:"
    topics: {orders: {}, returns: {}, invoices: {}}
  other: {url: "memory:", tenant: acme, topics: {orders: {}}}
workflows:
  intake:
    pattern: sequential
    stages: [{tool: mail/invoices}, {workflow: inner}]
    started_by:
      - {bus: mail, topic: orders, principal: mailroom, answers_to: done}
      - {bus: mail, topic: returns, principal: mailroom}
  inner: {pattern: sequential, stages: [{tool: other/orders}]}
principals:
  mailroom: {}
  boss: {kind: operator}
  acme: {tenant: acme}
"""


def problems(text: str) -> list[Problem]:
    try:
        return list(parse(text, SECTIONS, source=Path("g"), checks=standard_checks()).warnings)
    except ConfigurationError as refused:
        return list(refused.problems)


def changed(old: str, new: str) -> list[Problem]:
    assert old in GOOD
    return problems(GOOD.replace(old, new, 1))


def test_a_topic_that_is_there_and_somebody_to_act_as_are_all_it_takes() -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "suggestion"),
    [
        ("bus: mail, topic: orders", "bus: mial, topic: orders", 11, 15, "mail"),
        ("topic: returns", "topic: retruns", 12, 28, "returns"),
        ("principal: mailroom}", "principal: mailrom}", 12, 48, "mailroom"),
    ],
)
def test_a_name_that_leads_nowhere_is_shown_where_it_stands_with_what_was_meant(
    old: str, new: str, line: int, column: int, suggestion: str
) -> None:
    [problem] = changed(old, new)
    assert (problem.line, problem.column, problem.suggestion) == (line, column, suggestion)
    assert problem.severity == "error"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("principal: mailroom}", "principal: boss}", "is an operator"),
        ("principal: mailroom}", "principal: acme}", "of tenant 'acme', and the bus of 'default'"),
        ("{bus: mail, topic: returns", "{bus: other, topic: orders", "of tenant 'default', and the bus of 'acme'"),
        ("topic: returns, ", "topic: orders, ", "starts workflow 'intake' already"),
        ("answers_to: done", "answers_to: orders", "for ever"),
        ("tool: mail/invoices", "tool: mail/orders", "for ever"),
        ("tool: other/orders", "tool: mail/returns", "for ever"),
        ("topics: {orders: {}, ", "replies: orders\n    topics: {orders: {}, ", "its replies"),
        ("topics: {orders: {}, ", "dead_letters: orders\n    topics: {orders: {}, ", "its dead_letters"),
        ("topics: {orders: {}, returns: {}, invoices: {}}", "topics: {}", "has no topic 'orders'"),
    ],
)
def test_what_cannot_be_meant_is_refused(old: str, new: str, said: str) -> None:
    assert any(each.severity == "error" and said in each.message for each in changed(old, new))


def test_a_run_may_answer_where_another_begins_as_long_as_that_leads_no_further() -> None:
    assert changed("answers_to: done", "answers_to: returns") == []


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("{bus: mail}", ""),
        ("{bus: mial}", "no bus 'mial'"),
        ("{bus: bare}", "no topics"),
    ],
)
def test_the_bus_of_an_event_driven_workflow_is_there_and_has_topics(block: str, said: str) -> None:
    text = GOOD.replace("buses:\n", 'buses:\n  bare: {url: "memory:"}\n', 1)
    text = text.replace(
        "principals:\n", f"  search: {{pattern: event_driven, event_driven: {block}}}\nprincipals:\n", 1
    )
    found = problems(text)
    assert [said in each.message for each in found] == ([True] if said else [])


def test_topics_an_event_driven_run_may_publish_on_start_none_like_it() -> None:
    start = "started_by: [{bus: mail, topic: invoices, principal: mailroom}]"
    search = f"  search: {{pattern: event_driven, event_driven: {{bus: mail}}, {start}}}\n"
    found = problems(GOOD.replace("principals:\n", f"{search}principals:\n", 1))
    assert "workflows.search.started_by[0]" in [each.path for each in found if "for ever" in each.message]


def test_runs_that_start_each_other_over_two_topics_are_refused() -> None:
    text = GOOD.replace("{bus: mail, topic: returns, principal: mailroom}", "", 1).replace("      - \n", "")
    text = text.replace("answers_to: done", "answers_to: returns").replace(
        "{pattern: sequential, stages: [{tool: other/orders}]}",
        "{pattern: sequential, stages: [{tool: other/orders}],"
        " started_by: [{bus: mail, topic: returns, principal: mailroom, answers_to: orders}]}",
    )
    found = problems(text)
    assert [each.path for each in found if "for ever" in each.message] == [
        "workflows.intake.started_by[0]",
        "workflows.inner.started_by[0]",
    ]
