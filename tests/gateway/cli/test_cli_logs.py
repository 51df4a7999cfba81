"""Log lines of a command."""

import json
import subprocess
import sys

import pytest
import structlog

from gateway.cli.logs import configure_logs

SCRIPT = """
import structlog
from gateway.cli.logs import configure_logs
configure_logs()
log = structlog.get_logger("x")
def fail():
    password = "hunter2"
    raise ValueError("broken")
try:
    fail()
except ValueError:
    log.exception("it failed", door="mcp")
log.debug("chatter")
"""


def test_logs_leave_stdout_alone_and_show_no_local_variables() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=180, check=True)
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.stdout == ""
    assert (line["event"], line["level"], line["door"]) == ("it failed", "error", "mcp")
    assert "ValueError: broken" in line["exception"]
    assert "hunter2" not in done.stderr.replace('password = "hunter2"', "")


@pytest.mark.parametrize("turn", ["one test", "the next"])
def test_where_a_command_in_a_test_logs_to_is_not_where_the_next_test_does(turn: str) -> None:
    assert not structlog.is_configured(), turn
    configure_logs()
