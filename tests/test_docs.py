"""README is held to the code: what it shows is run, what it lists is complete, and every setting's default is right."""

import re
from collections.abc import Generator, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from adapters.storage.directory import DataDirectory
from gateway.app.sections import SECTIONS, configuration_schema
from gateway.cli.main import COMMANDS
from gateway.config.load import parse
from gateway.config.schema import SCHEMA_FILE, schema_text
from gateway.core.errors import ERRORS
from gateway.core.json import Json, json_list, json_object, json_text
from gateway.orchestration.orchestrator import check
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.plugins import load_patterns
from tests.reader import Reader, first_missing
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
    ("python -m benchmarks.tool_tokens", "starts a gateway"),
    ("python -m benchmarks.audit", "takes minutes"),
    ("python -m benchmarks.startup", "takes minutes"),
    ("python -m benchmarks.steps", "takes minutes"),
    ("python -m benchmarks.engine", "takes minutes"),
    ("python -m benchmarks.kills", "takes minutes"),
    ("python -m benchmarks.idle", "takes minutes"),
    ("python -m benchmarks.streams", "takes minutes"),
)
"""Command lines that are shown and not run, with the reason."""


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Generator[Reader]:
    reader = Reader(tmp_path, monkeypatch, capsys)
    try:
        yield reader
    finally:
        reader.leave()


@pytest.mark.e2e
def test_the_five_minutes_happen_as_they_are_told(reader: Reader) -> None:
    walk = [block for block in blocks() if block.chapter == WALK and not is_shown_only(block)]
    assert {block.language for block in walk} == {"sh", "console", "yaml"}
    for block in walk:
        reader.follow(block)


def is_shown_only(block: Block) -> bool:
    """The demo's own workflow stands in the walk to be compared with; its agents are not at hand there."""
    return block.language == "yaml" and "pattern: supervisor" in block.text


@pytest.mark.parametrize(
    ("shown", "missing"),
    [
        (["a …c", "d"], ""),
        (["a b c d"], "a b c d"),
        (["d", "a b"], "a b"),
        (["a b", "a b"], "a b"),
        (["a (b)"], "a (b)"),
    ],
)
def test_output_that_differs_from_what_is_shown_is_found(shown: list[str], missing: str) -> None:
    assert first_missing(shown, "a  b   c\nx\n  d\n") == missing


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
    "block", [each for each in blocks() if each.language == "yaml" and not each.mark], ids=lambda b: f"line {b.line}"
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


LISTED_APART = {
    "FillerSettings": "### A role",
    **{
        f"{''.join(word.title() for word in name.split('_'))}Settings": f"### `workflows.*.{name}`"
        for name in (
            *("router", "sequential", "concurrent", "supervisor", "plan_execute", "consensus", "mesh", "reflection"),
            *("event_driven", "canary"),
        )
    },
}
"""Types with a table of their own, by its heading."""


def fields(schema: Json, definitions: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(path, default as README writes it) of every setting below a schema; `*` any name, `[]` any entry."""
    said = json_object(schema)
    if "$ref" in said:
        name = json_text(said["$ref"]).rpartition("/")[2]
        if name in LISTED_APART:
            return
        said = definitions[name]
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
    """Whether an entry of the list or mapping may be written as a text instead of a mapping."""
    said = json_object(setting)
    items = json_object(said.get("items") or said.get("additionalProperties"))
    return any(
        json_object(each).get("type") == "string"
        for each in (*json_list(items.get("anyOf")), *json_list(items.get("oneOf")))
    )


def _default(name: str, schema: dict[str, Any]) -> str:
    if name in schema.get("required", ()):
        return "required"
    value: Json = schema["properties"][name].get("default")
    if value in (None, "", []) or isinstance(value, dict):
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


@pytest.mark.parametrize("kind", [kind for kind in LISTED_APART if SCHEMA["$defs"][kind].get("properties")])
def test_every_setting_of_a_type_with_a_table_of_its_own_is_listed(kind: str) -> None:
    definition = SCHEMA["$defs"][kind]
    expected = {path.lstrip("."): default for path, default in fields(definition, SCHEMA["$defs"])}
    listed = {name: row[1].strip("`") for row in rows(LISTED_APART[kind]) for name in names_in(row[0])}
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
