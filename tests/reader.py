"""A new user who follows README in an empty folder: real processes, free ports, and outputs held to those shown."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.storage.directory import DataDirectory
from gateway.cli.main import main
from gateway.core.json import Json, json_object
from tests.e2e.gateways import SHOWN_LOG, free_port, until
from tests.readme import ROOT, Block

PORTS = ("8640", "9101")
"""Ports in README, each of which stands for a free one here."""
MAY_REFUSE = ("drawbridge explain",)
"""Commands whose exit code tells the verdict."""
ASKS = ("drawbridge audit", "drawbridge doctor", "drawbridge runs", "drawbridge tools")
"""Commands that change nothing: asked again until what is on its way has arrived."""
ARRIVES_WITHIN_S = 60.0


class Reader:
    """A new user in an empty folder, who does what README says, block by block."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self._ports = {port: str(free_port()) for port in PORTS}
        self._functions = ""
        self._latest_record = ""
        self._background: list[subprocess.Popen[bytes]] = []
        self._log = (folder / "background.log").open("ab")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        settings = {"HOME": str(folder), "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        for name in ("DRAWBRIDGE_CONFIG", "DRAWBRIDGE_DATA", "DRAWBRIDGE_URL", "XDG_CONFIG_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(folder)

    def follow(self, block: Block) -> None:
        """Do what one block says. Raises: AssertionError: it does not come out as it is shown."""
        try:
            self._follow(block)
        except AssertionError as error:
            error.add_note(Path(self._log.name).read_text(errors="replace")[-SHOWN_LOG:])
            raise

    def _follow(self, block: Block) -> None:
        if block.language == "yaml":
            self._add(block)
        elif block.mark == "background":
            self._start(self._here(block.text.strip()))
        elif re.match(r"\w+\(\) \{", block.text):
            self._functions += self._here(block.text)
        else:
            for command, shown in block.commands():
                self._run(self._here(command), [self._here(line) for line in shown], block.line)

    def leave(self) -> None:
        """Stop everything, the last started first."""
        for process in reversed(self._background):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=10)
        self._log.close()

    def _here(self, text: str) -> str:
        for written, free in self._ports.items():
            text = re.sub(rf"\b{written}\b", free, text)
        return re.sub(r"\brec_[0-9a-z]{26}\b", self._latest_record, text) if self._latest_record else text

    def _run(self, command: str, shown: list[str], line: int) -> None:
        if command.startswith("cd "):
            self._monkeypatch.chdir(command.removeprefix("cd "))
            return
        deadline_s = time.monotonic() + ARRIVES_WITHIN_S
        while True:
            code, said = self._said(command)
            missing = first_missing(shown, said)
            late = time.monotonic() > deadline_s
            if not missing or late or not command.startswith(ASKS):
                break
            time.sleep(0.1)
        assert not missing, f"README:{line}: `{command}` does not say {missing!r} but:\n{said}"
        assert code == 0 or (code == 1 and command.startswith(MAY_REFUSE)), f"README:{line}: {command}: {code}\n{said}"
        self._latest_record = (re.findall(r"\brec_[0-9a-z]{26}\b", said) or [self._latest_record])[-1]

    def _said(self, command: str) -> tuple[int, str]:
        if command.startswith("drawbridge "):
            # In this process: starting an interpreter for each would take most of the time.
            self._capsys.readouterr()
            code = main(shlex.split(command)[1:])
            return code, "".join(self._capsys.readouterr())
        script = f"{self._functions}\n{command}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def _start(self, command: str) -> None:
        process = subprocess.Popen(
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        self._background.append(process)
        port = re.search(r"--port (\d+)", command)
        url = f"http://127.0.0.1:{port[1]}/" if port else f"{self._gateway}/readyz"

        def answers() -> bool:
            assert process.poll() is None, f"`{command}` ended:\n{Path(self._log.name).read_text()}"
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return True
            except urllib.error.HTTPError as error:
                return error.code != 503  # the gateway is starting; an agent has nothing at /
            except OSError:
                return False

        until(answers)
        if port is None:
            # What follows is about a gateway that has reached its servers, however slow they are to start.
            until(lambda: not self._asked("GET", "status")["gaps"])

    @property
    def _gateway(self) -> str:
        return f"http://127.0.0.1:{self._ports['8640']}"

    def _add(self, block: Block) -> None:
        """Add a block to gateway.yaml, and wait until a gateway that runs has it."""
        file = Path("gateway.yaml")
        wanted = json_object(merged(yaml.safe_load(file.read_text()), yaml.safe_load(self._here(block.text))))
        wanted["gateway"] = {"port": int(self._ports["8640"])}
        first = file.read_text().partition("\n")[0]
        draft = file.with_suffix(".draft")
        draft.write_text(f"{first}\n{yaml.safe_dump(wanted)}")
        draft.replace(file)
        if self._background:
            self._asked("POST", "reload")
            workflows = {f"workflow:{slug}" for slug in json_object(wanted.get("workflows"))}
            until(lambda: workflows <= {each["name"] for each in self._asked("GET", "tools")["tools"]})

    def _asked(self, method: str, path: str) -> Any:
        key = DataDirectory(root=Path(".drawbridge").absolute()).operator_key.read_text().strip()
        headers = {"authorization": f"Bearer {key}"}
        request = urllib.request.Request(f"{self._gateway}/api/v1/{path}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return yaml.safe_load(answer.read())


def merged(one: Json, other: Json) -> Json:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return other
    return {**one, **{key: merged(one.get(key), value) for key, value in other.items()}}


def first_missing(shown: list[str], said: str) -> str:
    """The first line of `shown` that does not stand in `said`, behind those before it; `…` is anything."""
    rest = [" ".join(line.split()) for line in said.splitlines()]
    for line in shown:
        pattern = re.compile(".*".join(map(re.escape, " ".join(line.split()).split("…"))))
        at = next((number for number, each in enumerate(rest) if pattern.search(each)), None)
        if at is None:
            return line
        rest = rest[at + 1 :]
    return ""
