"""What servers, agents and callers say is shown as theirs: it steers no terminal, and forges no line of ours."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.cli.audit_views import record_line
from gateway.cli.failure import report
from gateway.cli.run_views import event_line
from gateway.core.errors import UpstreamFailed
from gateway.core.json import JsonObject
from tests.fakes_api import ApiBench
from tests.gateway.cli.test_cli_online import Shell, a_letter

pytestmark = pytest.mark.anyio

WORDS = "no\x1b]0;pwned\x07\x9b2J stock\nowner       the queen"


def test_a_refusal_in_a_strangers_words_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report(UpstreamFailed(f"shop: {WORDS}"), as_json=False)
    said = capsys.readouterr().err
    assert said.startswith("drawbridge: shop: no")
    assert not {"\x1b", "\x07", "\x9b"} & {*said}
    assert "\nowner" not in said


def test_a_record_and_an_event_are_one_line_whatever_is_said_in_them() -> None:
    record: JsonObject = {
        "outcome": "error",
        "subject": "ana",
        "capability": "tool:shop/pay",
        "rule": "r",
        "reason": WORDS,
    }
    event: JsonObject = {"at": "2026-11-29T10:00:00Z", "event": {"kind": "progress", "text": WORDS}}
    for line in (record_line(record).plain, event_line(event).plain):
        assert "the queen" in line
        assert not {"\n", "\x1b", "\x9b"} & {*line}


@pytest.fixture
def bench() -> ApiBench:
    return ApiBench()


@pytest.fixture
def shell(bench: ApiBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(bench, tmp_path, capsys)


async def test_fields_of_a_question_or_a_dead_letter_are_the_gateways_own(bench: ApiBench, shell: Shell) -> None:
    asked = bench.approving.kept["run_1.q1"]
    bench.approving.kept["run_1.q1"] = replace(asked, prompt=f"Pay 900? {WORDS}")
    await bench.dead_letters.kept.add(replace(a_letter("run_1"), reason=WORDS))
    async with shell.serving():
        for command in (("approvals", "show", "run_1.q1"), ("dead", "show", "run_1")):
            said = (await shell(*command)).out
            assert sum(line.startswith("owner ") for line in said.splitlines()) == 1
            assert "the queen" in said
            assert "\x1b" not in said
