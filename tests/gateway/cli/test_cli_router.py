"""`drawbridge router`, and what `check` says of rules; no gateway runs."""

import json
from pathlib import Path

import pytest

from gateway.cli.failure import OK, UNREACHABLE, USAGE
from gateway.cli.main import main

CONFIGURATION = """
agents:
  refunds: {card: "http://127.0.0.1:9101"}
  billing: {card: "http://127.0.0.1:9102"}
workflows:
  desk:
    pattern: router
    router:
      rules:
        - {agent: refunds, keywords: ["refund*"]}
        - {agent: billing, keywords: [invoice]}
principals:
  ana: {roles: [all], key: "env:ANA_KEY"}
roles:
  all: {allow: ["workflow:desk"]}
"""
LABELLED = [
    {"message": "a refund", "worker": "refunds"},
    {"message": "my invoice", "worker": "billing"},
    {"message": "refund it. And the invoice", "workers": ["refunds", "billing"]},
    {"message": "an invoice over the wrong amount was refunded", "worker": "refunds"},
    {"message": "hello", "worker": "billing"},
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION)
    (tmp_path / "set.jsonl").write_text("\n".join(json.dumps(each) for each in LABELLED))
    return tmp_path


def test_rules_are_measured_without_a_gateway(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["router", "eval", "set.jsonl", "--json"]) == OK
    report = json.loads(capsys.readouterr().out)
    assert (report["cases"], report["right"], report["accuracy"], report["by_rules"]) == (5, 3, 0.6, 0.6)
    assert report["confusion"]["billing + refunds"] == {"billing + refunds": 1}
    assert [each["found"] for each in report["wrong"]] == ["(nobody)", "(nobody)"]


def measured(home: Path, capsys: pytest.CaptureFixture[str], router: str, classifier: str = "") -> dict[str, float]:
    """The report on the router with that in its block, too."""
    asks = f"    classifier: {classifier}\n" if classifier else ""
    (home / "gateway.yaml").write_text(CONFIGURATION.replace("    router:\n", f"{asks}    router:\n      {router}\n"))
    assert main(["router", "eval", "set.jsonl", "--json"]) == OK
    return json.loads(capsys.readouterr().out)


def test_whoever_takes_the_rest_is_counted_where_nobody_else_would_be_asked(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = measured(home, capsys, "otherwise: billing")
    assert (report["right"], report["decided"], report["by_rules"]) == (4, 5, 0.6)
    with_classifier = measured(home, capsys, "otherwise: billing", classifier="billing")
    assert (with_classifier["right"], with_classifier["decided"]) == (3, 3)


def test_wishes_that_are_not_looked_at_are_counted_as_lost(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measured(home, capsys, "multi_intent: false")["right"] == 2


def test_skills_that_are_not_known_here_leave_it_open(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measured(home, capsys, "by_skill: true\n      otherwise: billing")["decided"] == 3


def test_the_confusion_matrix_is_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["router", "eval", "set.jsonl", "--workflow", "desk"]) == OK
    shown = capsys.readouterr().out
    assert "60%" in shown
    assert "EXPECTED" in shown
    assert "hello" in shown


@pytest.mark.parametrize("arguments", [["set.jsonl", "--workflow", "other"], ["missing.jsonl"], [], ["gateway.yaml"]])
def test_what_cannot_be_measured_is_wrong_usage(home: Path, arguments: list[str]) -> None:
    assert main(["router", "eval", *arguments]) == USAGE


def test_the_record_is_asked_of_a_running_gateway(home: Path) -> None:
    assert main(["router", "eval", "--recent", "10"]) == UNREACHABLE


def test_rules_that_overlap_are_warned_of_where_they_stand(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == OK
    assert "warning" not in capsys.readouterr().out
    text = CONFIGURATION.replace("[invoice]", '[invoice, "refund status"]')
    (home / "gateway.yaml").write_text(text)
    assert main(["check"]) == OK
    said = capsys.readouterr().out
    assert "gateway.yaml:6:" in said
    assert "rules 0 (agent:refunds) and 1 (agent:billing) both hold for 'refund status' [warning]" in said
