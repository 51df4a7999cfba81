"""Scenarios, run as `drawbridge test` runs them: what passes, what is found, and what is said of it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import cast
from xml.etree import ElementTree

import pytest

from gateway.cli.main import main
from tests.e2e.gateways import free_port, until
from tests.readme import ROOT, blocks

HEAD = """\
gateway:
  workflows:
    refund:
      pattern: sequential
      agents: [intake]
      stages:
        - {agent: intake, output_schema: {type: object, required: [amount]}}
        - {tool: bank/pay, input: {amount: $intake.amount}}
mocks:
  agent:intake: {value: {amount: 47.99}, summary: A refund, tokens: 120, cost_usd: 0.02, delay_s: 30}
  tool:bank/pay: {value: {paid: true, amount: $data.amount}}
scenarios:
"""


class Desk:
    """Where scenario files lie, and how they are run."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys

    def write(self, text: str, name: str = "scenario.yaml") -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def run(self, *arguments: str) -> tuple[int, str]:
        code = main(["test", *arguments])
        said = self.capsys.readouterr()
        return code, said.out + said.err

    def report(self, text: str, *arguments: str) -> dict[str, dict[str, object]]:
        """What is said of each scenario, by its name."""
        _, said = self.run(self.write(text), "--json", *arguments)
        return {each["name"]: each for each in json.loads(said)["scenarios"]}


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def whats(report: dict[str, object]) -> list[str]:
    """Which expectations did not hold."""
    trials: list[dict[str, list[dict[str, str]]]] = report["trials"]  # pyright: ignore[reportAssignmentType]
    return [finding["what"] for trial in trials for finding in trial["findings"]]


def test_the_scenarios_in_readme_pass(desk: Desk) -> None:
    shown = [each for each in blocks() if each.mark == "scenario"]
    assert shown
    for block in shown:
        code, said = desk.run(desk.write(block.text))
        assert code == 0, said


@pytest.mark.parametrize(
    ("expect", "what"),
    [
        ("{answer: {paid: false}}", "answer"),
        ("{equals: {paid: true}}", "equals"),
        ("{contains: overdrawn}", "contains"),
        ("{lacks: paid}", "lacks"),
        ("{regex: 'paid.*twice'}", "regex"),
        ("{at: {'steps[0].target': agent:other}}", "at[steps[0].target]"),
        ("{schema: {type: object, required: [receipt]}}", "schema"),
        ("{gaps: [{target: agent:intake}]}", "gaps"),
        ("{notices: {$contains: stood in}}", "notices"),
        ("{confidence: {$ge: 0.5}}", "confidence"),
        ("{error: true}", "error"),
        ("{error: overdrawn}", "error"),
        ("{trace: {order: ['tool:bank/pay', 'agent:intake']}}", "trace.order"),
        ("{trace: {exactly: ['agent:intake']}}", "trace.exactly"),
        ("{trace: {before: [['tool:bank/pay', 'agent:intake']]}}", "trace.before"),
        ("{trace: {side_by_side: [['tool:bank/pay', 'agent:other']]}}", "trace.side_by_side"),
        ("{trace: {counts: {'agent:*': {at_least: 2}}}}", "trace.counts[agent:*]"),
        ("{trace: {never: 'tool:*'}}", "trace.never"),
        ("{trace: {effects: {'tool:bank/pay': 2}}}", "trace.effects[tool:bank/pay]"),
        ("{trace: {steps: [{target: agent:intake, state: timeout}]}}", "trace.steps[0]"),
        ("{trace: {steps: [{target: 'tool:bank/pay', received: {amount: 48}}]}}", "trace.steps[0]"),
        ("{trace: {labels: [{step: 'tool:bank/pay', lacks: 'untrusted:*'}]}}", "trace.labels[0]"),
        ("{trace: {labels: [{has: 'confidential:secret'}]}}", "trace.labels[0]"),
        ("{trace: {denied: [{target: 'tool:bank/pay'}]}}", "trace.denied[0]"),
        ("{trace: {decisions: [{what: route}]}}", "trace.decisions[0]"),
        ("{trace: {state: failed}}", "trace.state"),
        ("{trace: {failure: {target: agent:intake}}}", "trace.failure"),
        ("{trace: {cost_usd: {$lt: 0.02}}}", "trace.cost_usd"),
        ("{trace: {tokens: {$lt: 120}}}", "trace.tokens"),
        ("{trace: {calls: 1}}", "trace.calls"),
        ("{trace: {took_s: {$lt: 30}}}", "trace.took_s"),
        ("{trace: {processes: 2}}", "trace.processes"),
    ],
)
def test_what_is_not_as_expected_is_found(desk: Desk, expect: str, what: str) -> None:
    said = desk.report(f"{HEAD}  it:\n    say: my 47.99 back\n    expect: {expect}\n")
    assert whats(said["it"]) == [what]


def test_a_file_that_is_wrong_is_refused_with_every_place(desk: Desk) -> None:
    path = desk.write(
        HEAD + "  it:\n    sya: my 47.99 back\n    faults: [{target: agent:intake, fault: explode}]\n"
        "    mocks: {agent:intake: {vlaue: 1}}\n"
    )
    code, said = desk.run(path)
    assert code == 2
    assert f"{path}:14:5: scenarios.it.sya: unknown key (did you mean 'say'?)" in said
    assert f"{path}:15:44: scenarios.it.faults[0].fault: 'explode' is no fault" in said
    assert f"{path}:16:28: scenarios.it.mocks.agent:intake.vlaue: unknown key" in said


def test_what_people_were_ready_to_say_and_nobody_asked_is_a_finding(desk: Desk) -> None:
    said = desk.report(
        HEAD
        + """\
  spare:
    as: {subject: ana, roles: [tester]}
    say: go
    replies: ["yes"]
    approvals: [{by: bo, role: lead}]
  drawn:
    as: {subject: ana, roles: [tester]}
    say: go
    replies: ["yes"]
    faults: [{target: "agent:intake", fault: delay=1s, share: 0.5}]
"""
    )
    [trial] = cast("list[dict[str, list[dict[str, str]]]]", said["spare"]["trials"])
    assert [each["what"] for each in trial["findings"]] == ["replies", "approvals"]
    assert trial["findings"][1]["seen"] == "nobody asked bo anything, of the role lead"
    assert said["drawn"]["passed"]


def test_a_report_for_ci_can_be_read_whatever_was_said(desk: Desk) -> None:
    said = r"""
  "odd\uFFFEname":
    say: go
    mocks: {"agent:intake": {error: "odd \uFFFE and \u0001 words"}}
"""
    report = desk.folder / "report.xml"
    desk.run(desk.write(HEAD + said), "--junit", str(report))
    [case] = ElementTree.parse(report).getroot().iter("testcase")
    assert case.get("name") == "odd\N{REPLACEMENT CHARACTER}name"
    assert len([*case.iter("failure")]) == 1


def test_patterns_that_can_mean_nothing_are_named_at_their_places_before_anything_runs(desk: Desk) -> None:
    text = (
        HEAD
        + """\
  a:
    say: go
    mocks:
      agent:intake:
        replies: [{when: {regex: "refund("}, value: 1}, {when: {data: {n: {$more: 2}}}, value: {amount: 1}}]
    expect:
      answer: {paid: {$not: {$equals: true}}}
      at: {"steps[0].id": {$regex: "("}}
      trace: {decisions: [{what: route, chosen: {$gt: a}}], cost_usd: {$between: 3}}
"""
    )
    code, said = desk.run(desk.write(text))
    assert code == 2
    for place, wrong in (
        ("mocks.agent:intake.replies[0].when.regex", "no regular expression"),
        ("mocks.agent:intake.replies[1].when.data", "no operator $more"),
        ("expect.answer", "no operator $equals"),
        ("expect.at", "$regex is no regular expression"),
        ("expect.trace.decisions[0].chosen", "$gt takes a number"),
        ("expect.trace.cost_usd", "$between takes a list of two numbers"),
    ):
        assert any(place in line and wrong in line for line in said.splitlines()), (place, said)


def test_what_is_wrong_with_an_inline_configuration_is_named_at_its_place(desk: Desk) -> None:
    path = desk.write(
        HEAD.replace("pattern: sequential", "pattern: sequential\n      limits: {max_rounds: 99}") + "  it: {say: x}\n"
    )
    code, said = desk.run(path)
    assert code == 2
    assert f"{path}:5:28: gateway.workflows.refund.limits.max_rounds: " in said


def test_a_crash_at_each_step_changes_nothing_but_the_process(desk: Desk) -> None:
    cases = "".join(
        f"  at-{step}-{when}:\n    say: my 47.99 back\n    kill_gateway_at: [{{step: {step}, when: {when}}}]\n"
        "    expect: {answer: {paid: true}, trace: {effects: {'tool:bank/pay': 1}, processes: 2}}\n"
        for step in (1, 2)
        for when in ("unrecorded", "after")
    )
    code, said = desk.run(desk.write(HEAD + cases))
    assert code == 0, said


def test_a_payment_that_left_before_a_crash_is_in_doubt_and_not_made_again(desk: Desk) -> None:
    said = desk.report(
        HEAD + "  it:\n    say: my 47.99 back\n    kill_gateway_at: {step: 2, when: before}\n"
        "    expect: {error: true, trace: {effects: {'tool:bank/pay': 0}, failure: {error: in_doubt}}}\n"
    )
    assert said["it"]["passed"] is True, said


def test_many_runs_tell_which_share_passed_and_how_they_differ(desk: Desk) -> None:
    said = desk.report(
        HEAD + "  it:\n    say: my 47.99 back\n    faults: [{target: agent:intake, fault: error, share: 0.5}]\n",
        *("--times", "20"),
    )
    report = said["it"]
    failed: list[int] = report["failedSeeds"]  # pyright: ignore[reportAssignmentType]
    assert 0 < len(failed) < 20
    assert report["runs"] == 20
    courses: list[dict[str, object]] = report["courses"]  # pyright: ignore[reportAssignmentType]
    assert [sum(each["runs"] for each in courses), len(courses)] == [20, 2]  # pyright: ignore[reportArgumentType, reportCallIssue]
    again = desk.report(Path(desk.folder / "scenario.yaml").read_text(), "--seed", str(failed[0]))
    assert again["it"]["failedSeeds"] == [failed[0]]


def test_junit_names_each_case_and_what_was_wrong(desk: Desk) -> None:
    path = desk.write(HEAD + "  good: {say: x}\n  bad:\n    say: x\n    expect: {answer: {paid: false}}\n")
    out = desk.folder / "junit.xml"
    code, _ = desk.run(path, "--junit", str(out))
    assert code == 1
    suite = ElementTree.fromstring(out.read_text())[0]
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["errors"]) == ("2", "1", "0")
    cases = {each.attrib["name"]: [*each] for each in suite}
    assert cases["good"] == []
    assert "paid is true, not false" in cases["bad"][0].attrib["message"]


def test_a_junit_file_in_a_new_folder_is_written(desk: Desk) -> None:
    out = desk.folder / "reports" / "today" / "junit.xml"
    assert desk.run(desk.write(HEAD + "  it: {say: x}\n"), "--junit", str(out))[0] == 0
    assert ElementTree.fromstring(out.read_text())[0].attrib["tests"] == "1"


def test_a_junit_file_without_a_place_is_refused_before_anything_runs(desk: Desk) -> None:
    path = desk.write(HEAD + "  it: {say: x}\n")
    folder = desk.folder / "taken"
    folder.mkdir()
    for out in (folder, Path(path) / "junit.xml", Path(path) / "a" / "junit.xml"):
        code, said = desk.run(path, "--junit", str(out))
        assert (code, f"--junit {out} cannot be written: " in said, "1 of 1 passed" in said) == (2, True, False), said
    assert [*folder.iterdir()] == []


def test_a_report_of_before_stays_until_the_new_one_is_there(desk: Desk) -> None:
    out = desk.folder / "junit.xml"
    out.write_text("as it was")
    assert desk.run(desk.write(HEAD + "  it: {say: x, workflow: other}\n", "wrong.yaml"), "--junit", str(out))[0] == 1
    assert "as it was" not in out.read_text()
    out.write_text("as it was")
    assert desk.run(desk.write(HEAD + "  it: {sya: x}\n", "wrong.yaml"), "--junit", str(out))[0] == 2
    assert out.read_text() == "as it was"


def test_only_the_selected_scenarios_are_run(desk: Desk) -> None:
    path = desk.write(HEAD + "  good: {say: x}\n  bad:\n    say: x\n    expect: {answer: {paid: false}}\n")
    assert desk.run(path, "--select", "good")[0] == 0
    for others in ((), ("--select", "good")):
        code, said = desk.run(path, "--select", "ugly", *others)
        assert (code, "no scenario is called ugly; there are good, bad" in said) == (2, True)


def test_a_fault_that_never_strikes_is_a_finding(desk: Desk) -> None:
    said = desk.report(HEAD + "  it:\n    say: x\n    faults: [{target: agent:other, fault: kill}]\n")
    assert whats(said["it"]) == ["faults"]


def test_an_agent_is_refused_what_its_roles_do_not_grant(desk: Desk) -> None:
    said = desk.report(
        """\
gateway:
  agents: {clerk: {card: "https://clerk.invalid", roles: [reader]}}
  roles: {tester: {allow: ["workflow:*"]}, reader: {allow: ["tool:bank/show"]}}
  workflows: {help: {pattern: sequential, agents: [clerk], stages: [{agent: clerk}]}}
mocks:
  tool:bank/show: {value: {balance: 100}}
  tool:bank/pay: {value: {paid: true}}
  agent:clerk:
    calls:
      - {call: "tool:bank/show", name: shown}
      - {call: "tool:bank/pay", arguments: {amount: $shown.balance}, name: paid, go_on: true}
    value: {balance: $shown.balance, refused: $paid.error}
scenarios:
  it:
    say: pay me
    expect:
      answer: {balance: 100, refused: DENIED_BY_POLICY}
      trace:
        counts: {"tool:bank/show": 1}
        never: "tool:bank/pay"
        denied: [{target: "tool:bank/pay", by: "agent:clerk"}]
"""
    )
    assert whats(said["it"]) == []


@pytest.mark.parametrize(("trust", "says"), [("untrusted", "has"), ("trusted", "lacks")])
def test_what_an_agent_calls_is_in_its_words_as_its_answer_is(desk: Desk, trust: str, says: str) -> None:
    said = desk.report(
        f"""\
gateway:
  agents: {{clerk: {{card: "https://clerk.invalid", roles: [reader], trust: {trust}}}}}
  roles: {{tester: {{allow: ["workflow:*"]}}, reader: {{allow: ["tool:bank/show"]}}}}
  workflows: {{help: {{pattern: sequential, agents: [clerk], stages: [{{agent: clerk}}]}}}}
mocks:
  tool:bank/show: {{value: {{balance: 100}}}}
  agent:clerk: {{calls: [{{call: "tool:bank/show", name: shown}}], value: {{balance: $shown.balance}}}}
scenarios:
  it:
    say: what have I
    expect: {{trace: {{labels: [{{step: "tool:bank/show", {says}: "untrusted:agent:clerk"}}]}}}}
"""
    )
    assert whats(said["it"]) == []


def test_people_answer_what_runs_ask(desk: Desk) -> None:
    text = """\
gateway:
  workflows:
    help:
      pattern: sequential
      agents: [clerk]
      stages: [{agent: clerk, approve: {question: "Pay it?", role: lead}}]
mocks: {agent:clerk: {value: {paid: true}}}
scenarios:
  approved:
    say: pay me
    approvals: [{by: {subject: bo, roles: [lead]}}]
    expect: {answer: {paid: true}}
  denied:
    say: pay me
    approvals: [{by: {subject: bo, roles: [lead]}, approve: false}]
    expect: {error: true, trace: {never: "agent:clerk"}}
  silent:
    say: pay me
    expect: {error: true, trace: {never: "agent:clerk", took_s: {$ge: 300}}}
"""
    said = desk.report(text)
    assert {name: whats(each) for name, each in said.items()} == {"approved": [], "denied": [], "silent": []}


def test_the_schema_of_scenario_files_is_printed(desk: Desk) -> None:
    code, said = desk.run("--schema")
    assert (code, {*json.loads(said)["properties"]}) == (0, {"gateway", "mocks", "scenarios"})


CONTRACTS = """\
gateway:
  workflows:
    refund:
      pattern: sequential
      agents: [intake]
      stages:
        - agent: intake
          input_schema: {type: object, properties: {note: {type: string, maxLength: 5}}}
          output_schema: {type: object, required: [amount], properties: {amount: {type: number}}}
        - {tool: bank/pay, input: {amount: $intake.amount}}
mocks:
  agent:intake: {replies: [{when: {data: {note: xxxxx}}, value: {}}, {value: {amount: 47.99}}]}
  tool:bank/pay:
    value: {paid: true}
    input_schema: {type: object, required: [amount], properties: {amount: {type: number, minimum: 0}}}
scenarios: {it: {say: my 47.99 back}}
"""
WORDS = 'text: "```json\\n{\\"amount\\": 47.99}\\n```"'


def test_every_consumer_is_asked_with_its_boundaries(desk: Desk) -> None:
    code, said = desk.run("contracts", desk.write(CONTRACTS), "--json")
    report = json.loads(said)
    kept = {each["consumer"]: (each["asked"] > 5, each["kept"]) for each in report["consumers"]}
    assert (code, kept) == (1, {"stage intake": (True, False), "stage pay": (True, True)})
    broken = next(each["broken"] for each in report["consumers"] if each["broken"])
    assert [each["input"] for each in broken] == [{"note": "xxxxx"}]
    assert desk.run("contracts", desk.write(CONTRACTS), "--agent", "intake")[0] == 1
    for option, name in (("--workflow", "refunds"), ("--agent", "intaek")):
        code, said = desk.run("contracts", desk.write(CONTRACTS), option, name)
        assert code == 2
        assert f"there is no {option.removeprefix('--')} {name} (did you mean '{name[:2]}" in said


def test_an_agent_that_answers_its_json_in_words_keeps_its_contract(desk: Desk) -> None:
    in_words = CONTRACTS.replace("replies: [{when: {data: {note: xxxxx}}, value: {}}, {value: {amount: 47.99}}]", WORDS)
    path = desk.write(in_words.replace("47.99 back}", "47.99 back, expect: {answer: {paid: true}}}"))
    assert desk.run(path)[0] == 0
    assert desk.run("contracts", path)[0] == 0


def test_a_change_lists_every_consumer_it_breaks(desk: Desk) -> None:
    old = desk.write(CONTRACTS, "old.yaml")
    new = desk.write(CONTRACTS.replace("required: [amount], properties: {amount: {type: number}}", "required: [sum]"))
    code, said = desk.run("contracts", new, "--against", old, "--json")
    found = [(each["consumer"], each["problem"]) for each in json.loads(said)["breaks"]]
    assert (code, found) == (1, [("stage pay", "is gone")])
    assert desk.run("contracts", old, "--against", old)[0] == 0


def test_check_warns_of_whom_a_change_breaks(desk: Desk) -> None:
    old = """\
agents: {intake: {card: "https://intake.invalid"}, clerk: {card: "https://clerk.invalid"}}
principals: {ana: {}}
workflows:
  refund:
    pattern: sequential
    agents: [intake, clerk]
    stages:
      - {agent: intake, output_schema: {type: object, required: [amount], properties: {amount: {type: number}}}}
      - {agent: clerk, input: {sum: $intake.amount}}
"""
    former = desk.write(old, "old.yaml")
    now = desk.write(old.replace("{amount: {type: number}}", "{amount: {type: string}}"), "gateway.yaml")
    code = main(["check", now, "--against", former])
    said = desk.capsys.readouterr().out
    assert code == 0
    assert f"{now}:9:9: workflows.refund.stages[1]: " in said
    assert "$intake.amount (input.sum), which was number and is string now [warning]" in said


def test_load_is_bounded_and_counted(desk: Desk) -> None:
    path = desk.write(
        HEAD.replace("delay_s: 30", "delay_s: 0.001") + "  it: {say: x, expect: {answer: {paid: true}}}\n"
    )
    code, said = desk.run("load", path, "--runs", "30", "--in-flight", "5", "--json")
    load = json.loads(said)["loads"][0]
    assert (code, load["runs"], load["inFlight"], load["failed"]) == (0, 30, 5, 0)
    assert 0 < load["p50Ms"] <= load["p99Ms"] <= load["longestMs"]
    wrong = desk.write(Path(path).read_text().replace("answer: {paid: true}", "answer: {paid: false}"))
    code, said = desk.run("load", wrong, "--runs", "3", "--json")
    assert (code, json.loads(said)["loads"][0]["failed"]) == (1, 3)


@pytest.mark.e2e
def test_real_servers_are_asked_over_their_pipes(desk: Desk) -> None:
    server = json.dumps([sys.executable, str(ROOT / "tests" / "e2e" / "stdio_server.py"), str(desk.folder / "mark")])
    text = f"""\
gateway:
  servers: {{odd: {{command: {server}}}}}
  workflows: {{say: {{pattern: sequential, tools: [odd/echo], stages: [{{tool: odd/echo, input: {{a: 1}}}}]}}}}
mocks: {{tool:odd/echo: {{value: {{mocked: true}}}}}}
scenarios:
  it: {{say: x, expect: {{trace: {{counts: {{"tool:odd/echo": 1}}}}}}}}
  half:
    say: x
    mocks: {{tool:odd/echo: {{real: true}}}}
    expect: {{trace: {{state: completed}}, at: {{answer: {{$not: {{mocked: true}}}}}}}}
"""
    code, said = desk.run(desk.write(text))
    assert code == 0, said
    answers = {name: each["trials"] for name, each in desk.report(text, "--real").items()}
    assert "mocked" not in json.dumps(answers["it"])


AGENT = """\
import contextlib

from examples.support.agent_kit import Agent, Outcome, serve


class Clerk(Agent):
    name, description, skill = "clerk", "Looks things up.", "clerk"

    async def work(self, work, tools):
        # It answers in words alone, and the kit wants data.
        with contextlib.suppress(TypeError):
            await tools.call("odd__echo", a=7)
        return Outcome(summary="done", value={})


serve(Clerk())
"""


@pytest.mark.e2e
def test_a_real_agent_calls_back_with_the_token_of_its_step(desk: Desk) -> None:
    port, own = free_port(), free_port()
    program = desk.folder / "clerk.py"
    program.write_text(AGENT)
    server = json.dumps([sys.executable, str(ROOT / "tests" / "e2e" / "stdio_server.py"), str(desk.folder / "mark")])
    text = f"""\
gateway:
  gateway: {{port: {own}}}
  servers: {{odd: {{command: {server}}}}}
  agents: {{clerk: {{card: "http://127.0.0.1:{port}", roles: [clerk], delegation: required}}}}
  roles: {{clerk: {{allow: ["tool:odd/echo"]}}, caller: {{allow: ["workflow:say"]}}}}
  workflows: {{say: {{pattern: sequential, stages: [{{agent: clerk}}]}}}}
scenarios:
  it:
    say: x
    as: {{subject: ana, roles: [caller]}}
    expect: {{trace: {{state: completed, counts: {{"tool:odd/echo": 1}}}}}}
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GATEWAY_MCP_URL": f"http://127.0.0.1:{own}/mcp"}
    with subprocess.Popen([sys.executable, str(program), "--port", str(port)], env=environment) as agent:
        try:
            until(lambda: answers(port))
            code, said = desk.run(desk.write(text), "--real")
        finally:
            agent.terminate()
    assert code == 0, said


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


REVIEWED = """\
gateway:
  agents: {a: {card: "http://127.0.0.1:1", roles: [worker]}}
  roles:
    tester: {allow: ["workflow:*"]}
    worker: {allow: ["tool:desk/look"]}
  workflows:
    help:
      pattern: supervisor
      planner: plan
      critic: crit
      agents: [a, b, c]
      limits: {max_rounds: 3}
mocks:
  agent:plan: {value: {steps: [{id: z, agent: a}, {id: b, agent: b, after: [z]}, {id: a, agent: c, after: [b]}]}}
  agent:crit:
    in_turn:
      - value: {reviews: [{step: a, verdict: retry, note: more}]}
      - value: {reviews: [{step: a, verdict: accept}]}
  agent:a: {value: {v: 1}, calls: [{call: tool:desk/look, arguments: {}}]}
  agent:b: {value: {w: 1}}
  agent:c: {in_turn: [{value: {x: 1}}, {value: {x: 2}}]}
  tool:desk/look: {value: {seen: true}}
scenarios:
  in-order:
    say: go
    expect:
      trace:
        exactly: [agent:plan, agent:a, agent:b, agent:c, agent:crit, agent:c, agent:crit]
        order: [agent:plan, agent:a, tool:desk/look, agent:b, agent:c, agent:crit, agent:c, agent:crit]
"""


def test_what_takes_no_time_is_told_in_the_order_in_which_it_was_done(desk: Desk) -> None:
    code, said = desk.run(desk.write(REVIEWED))
    assert code == 0, said


TURNS = """\
gateway:
  workflows:
    line: {pattern: sequential, stages: [{agent: a}], limits: {max_rounds: 1}}
mocks:
  agent:a: {in_turn: [{error: broken}, {value: {x: 1}}]}
scenarios:
  silent:
    turns: [{say: one}, {say: two}]
    expect: {answer: {x: 1}}
  said:
    turns: [{say: one, expect: {error: broken}}, {say: two, expect: {answer: {x: 1}}}]
"""


def test_a_turn_that_fails_without_a_word_about_it_is_found_and_named(desk: Desk) -> None:
    report = desk.report(TURNS)
    assert {name: whats(each) for name, each in report.items()} == {
        "silent": ["turn 1: error"],
        "said": [],
    }


ROLES = """\
gateway:
  workflows:
    supervises: {pattern: supervisor, planner: bad, agents: [ok], fallback: {bad: plan}}
    words: {pattern: supervisor, plan: [{id: one, agent: ok}], synthesiser: bad, fallback: {bad: word}}
    reviews: {pattern: supervisor, plan: [{id: one, agent: ok}], critic: bad, fallback: {bad: review}}
    weighs: {pattern: consensus, agents: [ok, ok2], judge: bad, consensus: {rubric: {a: {}}}, fallback: {bad: j}}
    routes: {pattern: router, agents: [ok, ok2], classifier: bad, fallback: {bad: classify}}
    criticises: {pattern: reflection, agents: [ok], critic: bad, fallback: {bad: score}}
    reconciles: {pattern: concurrent, agents: [ok, ok2], reconciler: bad, fallback: {bad: word}}
    plans: {pattern: plan_execute, planner: bad, synthesiser: word, executor: ok, fallback: {bad: plan}}
    checks:
      pattern: event_driven
      agents: [ok]
      goal_checker: bad
      event_driven: {workers: {ok: {topics: [request]}}}
      fallback: {bad: goal}
mocks:
  agent:bad: {error: broken}
  agent:ok: {value: {v: 1}}
  agent:ok2: {value: {v: 1}}
  agent:plan: {value: {steps: [{id: s1, agent: ok, instruction: do it}]}}
  agent:review: {value: {reviews: [{step: one, verdict: accept}]}}
  agent:word: {text: told}
  agent:j: {value: {scores: {A: {a: 1}, B: {a: 0}}}}
  agent:classify: {value: {worker: ok, confidence: 1}}
  agent:score: {value: {score: 1}}
  agent:goal: {value: {reached: true}}
scenarios:
"""


def test_whoever_fills_a_role_and_fails_has_its_fallback_asked(desk: Desk) -> None:
    workflows = ["supervises", "words", "reviews", "weighs", "routes", "criticises", "reconciles", "plans", "checks"]
    said = "{gaps: [], notices: {$each: {$contains: stood in for bad}, $length: 1}, trace: {counts: {'agent:bad': 1}}}"
    scenarios = [f"  {each}: {{workflow: {each}, say: go, expect: {said}}}\n" for each in workflows]
    report = desk.report(ROLES + "".join(scenarios))
    assert {name: whats(each) for name, each in report.items()} == {name: [] for name in workflows}
