"""README is held to the code: what it shows is run, what it lists is complete, and every setting's default is right."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from adapters.storage.directory import DataDirectory
from gateway.app.sections import SECTIONS, configuration_schema
from gateway.cli.main import COMMANDS, main
from gateway.config.load import parse
from gateway.config.schema import SCHEMA_FILE, schema_text
from gateway.core.errors import ERRORS
from gateway.core.json import Json, json_list, json_object, json_text
from gateway.orchestration.orchestrator import check
from gateway.orchestration.settings import WorkflowSettings
from gateway.plugins import load_patterns
from tests.e2e.gateways import free_port, until
from tests.readme import ROOT, TEXT, Block, blocks, names_in, rows

WALK = "Five minutes"
"""The chapter a new user follows from top to bottom; its YAML is what they add to gateway.yaml."""
NOT_RUN = (
    ("make demo", "runs the story, which tests/e2e/test_e2e_story.py tells"),
    ("make test", "would run this test"),
    ("make check", "would run this test"),
    ("uv tool install .", "changes the machine"),
    ("pipx install .", "changes the machine"),
    ("docker build -t drawbridge .", "needs a daemon and a registry"),
    ("docker run -p 8640:8640 -v ./config:/config:ro -v drawbridge:/data -e ORDERS_TOKEN drawbridge", "as above"),
    ("python -m benchmarks.calls", "takes minutes, and needs nginx and wrk"),
    ("python -m benchmarks.lists", "takes minutes"),
    ("python -m benchmarks.audit", "takes minutes"),
    ("python -m benchmarks.startup", "takes minutes"),
    ("python -m benchmarks.steps", "takes minutes"),
)
"""Command lines that are shown and not run, with the reason."""
PORTS = ("8640", "9101")
"""Ports in README, each of which stands for a free one here."""
MAY_REFUSE = ("drawbridge explain",)
"""Commands whose exit code tells the verdict."""
ASKS = ("drawbridge audit", "drawbridge doctor", "drawbridge runs", "drawbridge tools")
"""Commands that change nothing: asked again until what is on its way has arrived."""
ARRIVES_WITHIN_S = 20.0


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


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Generator[Reader]:
    reader = Reader(tmp_path, monkeypatch, capsys)
    try:
        yield reader
    finally:
        reader.leave()


def test_the_five_minutes_happen_as_they_are_told(reader: Reader) -> None:
    walk = [block for block in blocks() if block.chapter == WALK and not is_shown_only(block)]
    assert {block.language for block in walk} == {"sh", "console", "yaml"}
    for block in walk:
        reader.follow(block)


def is_shown_only(block: Block) -> bool:
    """The demo's own workflow stands in the walk to be compared with; its agents are not at hand there."""
    return block.language == "yaml" and "pattern: supervisor" in block.text


def test_every_other_command_is_named_among_those_not_run() -> None:
    shown = [
        command
        for block in blocks()
        if block.language in ("sh", "console") and block.chapter != WALK
        for command, _ in block.commands()
        if command
    ]
    assert sorted(shown) == sorted(command for command, reason in NOT_RUN if reason)


@pytest.mark.parametrize(
    "block", [each for each in blocks() if each.language == "yaml"], ids=lambda b: f"line {b.line}"
)
def test_every_yaml_block_is_a_configuration(block: Block) -> None:
    sections = parse(block.text, SECTIONS).sections
    workflows: dict[str, WorkflowSettings] = sections["workflows"]  # pyright: ignore[reportAssignmentType]
    check(load_patterns({each.pattern for each in workflows.values()}), workflows)


def test_the_pattern_shown_can_be_set_up_and_run_by_its_name() -> None:
    block = next(each for each in blocks() if each.language == "python")
    found: dict[str, Any] = {}
    exec(compile(block.text, f"README.md:{block.line}", "exec"), found)
    workflow = WorkflowSettings(pattern="first", agents=("a", "b"))
    check({"first": found["First"]}, {"either": workflow})


def test_the_languages_of_blocks_are_those_that_are_looked_at() -> None:
    assert {block.language for block in blocks()} <= {"sh", "console", "yaml", "python", "json", "text"}


# What is listed


def fields(schema: Json, definitions: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(path, default as README writes it) of every setting below a schema; `*` any name, `[]` any entry."""
    said = json_object(schema)
    if "$ref" in said:
        said = definitions[json_text(said["$ref"]).rpartition("/")[2]]
    for each in (*json_list(said.get("anyOf")), *json_list(said.get("oneOf"))):
        yield from fields(each, definitions)
    if isinstance(said.get("additionalProperties"), dict):
        yield from ((f".*{path}", default) for path, default in fields(said["additionalProperties"], definitions))
    if "items" in said:
        yield from ((f"[]{path}", default) for path, default in fields(said["items"], definitions))
    for name, setting in json_object(said.get("properties")).items():
        below = [*fields(setting, definitions)]
        if not below or _may_be_plain(setting):
            yield f".{name}", _default(name, said)
        yield from ((f".{name}{path}", default) for path, default in below)


def _may_be_plain(setting: Json) -> bool:
    """Whether an entry of the list may be written as a text instead of a mapping."""
    items = json_object(json_object(setting).get("items"))
    return any(
        json_object(each).get("type") == "string"
        for each in (*json_list(items.get("anyOf")), *json_list(items.get("oneOf")))
    )


def _default(name: str, schema: dict[str, Any]) -> str:
    if name in schema.get("required", ()):
        return "required"
    value: Json = schema["properties"][name].get("default")
    if value in (None, "", [], {}):
        return ""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


SCHEMA: dict[str, Any] = configuration_schema()


@pytest.mark.parametrize("section", sorted(SECTIONS))
def test_every_setting_is_listed_with_its_default(section: str) -> None:
    whole = SCHEMA["properties"][section]
    named = "additionalProperties" in whole
    schema = whole["additionalProperties"] if named else whole
    expected = {path.lstrip("."): default for path, default in fields(schema, SCHEMA["$defs"])}
    listed: dict[str, str] = {}
    for settings, default, *_ in rows(f"### `{section}{'.*' if named else ''}`"):
        for name in names_in(settings):
            assert name not in listed, f"{name} is listed twice"
            listed[name] = default.strip("`")
    assert listed == expected


def test_every_error_is_listed_as_it_is() -> None:
    listed = {tuple(cell.strip("`") for cell in row[:5]) for row in rows("## Errors")}
    expected = {
        (str(each.wire.code), each.wire.reason, str(each.wire.jsonrpc), str(each.wire.http), retry)
        for each in ERRORS
        for retry in ("yes" if each.wire.retryable else "",)
    }
    assert listed == expected


def commands() -> Iterator[str]:
    for name in COMMANDS:
        command = get_command(import_module(f"gateway.cli.commands.{name}").app)
        below: dict[str, object] = getattr(command, "commands", {})
        yield from (f"drawbridge {name} {each}" for each in below) if below else (f"drawbridge {name}",)


def test_every_command_is_listed() -> None:
    listed = [name for row in rows("## Commands") for name in names_in(row[0])]
    assert sorted(listed) == sorted(commands())


def policies() -> set[str]:
    """The name of every policy: what a module of `policies` calls POLICY."""
    files = (ROOT / "policies").rglob("*.py")
    modules = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files if file.stem != "__init__")
    return {module.POLICY for module in map(import_module, modules) if hasattr(module, "POLICY")}


def test_policies_and_patterns_are_listed() -> None:
    listed = {name for row in rows("## Policies and patterns") for name in names_in(row[0])}
    patterns = {entry.name for entry in entry_points(group="gateway.patterns") if entry.value.startswith("gateway.")}
    assert listed == policies() | patterns
    for entry in entry_points(group="gateway.adapters"):
        assert f"`{entry.name}`" in TEXT


def test_files_of_the_data_directory_are_listed(tmp_path: Path) -> None:
    data = DataDirectory(root=tmp_path)
    paths = [getattr(data, name) for name, value in vars(DataDirectory).items() if isinstance(value, property)]
    listed = {name for row in rows("## Data directory") for name in names_in(row[0])}
    assert listed == {path.relative_to(tmp_path).parts[0] for path in paths}


@pytest.mark.parametrize("file", sorted(path.name for path in (ROOT / "benchmarks").glob("*.[pc]*")))
def test_every_benchmark_is_named(file: str) -> None:
    name = file.partition(".")[0]
    assert f"benchmarks.{name}\n" in TEXT or f"`{name}" in TEXT


def test_the_second_chapter_is_the_glossary() -> None:
    first, *_ = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    assert first == "Glossary"
    words = [name for row in rows("## Glossary") for name in names_in(row[0])]
    assert len(words) == len(set(words))


def test_the_schema_shipped_is_the_one_of_the_code() -> None:
    """After a change of settings: `drawbridge config schema > gateway/config/gateway.schema.json`."""
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(SECTIONS)


def test_every_setting_says_what_it_is() -> None:
    silent = [
        f"{kind}.{name}"
        for kind, definition in SCHEMA["$defs"].items()
        for name, setting in definition.get("properties", {}).items()
        if not setting.get("description")
    ]
    assert silent == []
