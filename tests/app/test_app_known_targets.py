"""An expectation that names nobody is a finding, and one of anybody who could be called is not."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import main

HEAD = """\
gateway:
  servers: {files: {url: "https://files.invalid"}}
  agents: {writer: {card: "https://writer.invalid"}}
  workflows:
    refund:
      pattern: sequential
      agents: [intake]
      tools: [bank/pay, bank/audit]
      workflows: [report]
      stages:
        - {agent: intake, name: look}
        - {tool: bank/pay, input: {amount: 1}, when: $look.pay}
    report: {pattern: sequential, agents: [printer], stages: [{agent: printer}]}
  roles: {tester: {allow: ["workflow:*"]}}
mocks:
  agent:intake:
    replies:
      - {when: {contains: robbery}, value: {pay: true}, calls: [{call: "tool:vault/open", go_on: true}]}
      - {value: {pay: false}}
  agent:printer: {text: printed}
  tool:bank/pay: {value: {paid: true}}
scenarios:
"""


MISSPELLED = {
    "agent": ("{never: 'agent:intkae'}", "never", "agent:intake"),
    "tool": ("{never: ['tool:bank/pay', 'tool:bank/pya']}", "never", "tool:bank/pay"),
    "server": ("{never: 'tool:bnak/*'}", "never", ""),
    "workflow": ("{never: 'workflow:reprot'}", "never", "workflow:report"),
    "kind": ("{never: printer}", "never", "agent:printer"),
    "tool-kind": ("{never: bank/pay}", "never", "tool:bank/pay"),
    "stage": ("{never: look}", "never", "agent:intake"),
    "none-of": ("{counts: {'tool:bank/payy': 0}}", "counts[tool:bank/payy]", "tool:bank/pay"),
    "few-of": ("{counts: {'agent:prnter': {at_most: 3}}}", "counts[agent:prnter]", "agent:printer"),
    "many-of": ("{counts: {'agent:intak': 1}}", "counts[agent:intak]", "agent:intake"),
    "effects": ("{effects: {'tool:bank/pays': 0}}", "effects[tool:bank/pays]", "tool:bank/pay"),
}
NOT_CALLED = (
    *(
        "tool:bank/pay",
        "tool:bank/*",
        "agent:printer",
        "agent:*er",
        "workflow:report",
        "tool:bank/audit",
        "tool:b*/pay",
    ),
    *("agent:writer", "tool:files/read", "resource:files/readme.txt", "skill:writer/prose", "tool:*"),
    "tool:run/claim",
    "tool:vault/open",  # a mock could ask for it, and there is none
)


def found_in(folder: Path, capsys: pytest.CaptureFixture[str], traces: Mapping[str, str]) -> dict[str, list[Any]]:
    """What is found where a trace is expected to be so, by the name of the expectation."""
    scenarios = [
        f"  {name}: {{workflow: refund, say: my 47.99 back, expect: {{trace: {trace}}}}}"
        for name, trace in traces.items()
    ]
    path = folder / "scenario.yaml"
    path.write_text(HEAD + "\n".join(scenarios))
    main(["test", str(path), "--json"])
    reports = json.loads(capsys.readouterr().out)["scenarios"]
    assert [each["problem"] for each in reports if each.get("problem")] == []
    return {each["name"]: each["trials"][0]["findings"] for each in reports}


def test_what_was_not_called_because_nothing_has_that_name_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = found_in(tmp_path, capsys, {name: trace for name, (trace, _, _) in MISSPELLED.items()})
    assert {name: [each["what"] for each in findings] for name, findings in found.items()} == {
        name: [f"trace.{what}"] for name, (_, what, _) in MISSPELLED.items()
    }
    for name, (_, _, meant) in MISSPELLED.items():
        said = found[name][0]["seen"]
        assert (f"did you mean {meant!r}?" in said) is bool(meant), said
        assert "there are agent:intake, agent:printer" in said


def test_whoever_could_be_called_or_is_named_by_a_mock_may_be_expected_not_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traces = {name: f"{{never: '{name}', counts: {{'{name}': 0}}, effects: {{'{name}': 0}}}}" for name in NOT_CALLED}
    found = found_in(tmp_path, capsys, {f"scenario {number}": each for number, each in enumerate(traces.values())})
    assert found == {f"scenario {number}": [] for number in range(len(NOT_CALLED))}
