"""The shape of the code: no file and no function grows until it hides something. The exception list may only shrink."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gateway", "adapters", "policies")
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
TOP_LEVEL = {
    *("gateway", "adapters", "policies", "tests", "examples", "benchmarks", "deploy"),
    *("pyproject.toml", "requirements.lock", "requirements-dev.lock", "Makefile", "Dockerfile"),
    *("README.md", "LICENSE", "CHANGELOG.md", ".ci", ".gitignore", ".pre-commit-config.yaml", ".dockerignore"),
}
ORCHESTRATION = ("messages", "records", "running", "runs", "settings", "step")
PATTERNS = (
    *("concurrent", "consensus", "event_driven", "mesh", "plan_execute", "reflection", "router", "sequential"),
    *("supervisor", "planned", "shared"),
)
MAPPED = (
    *("gateway/core", "gateway/app", "gateway/cli"),
    *("gateway/orchestration", *(f"gateway/orchestration/{each}" for each in ORCHESTRATION)),
    *("gateway/patterns", *(f"gateway/patterns/{each}" for each in PATTERNS)),
)
"""Packages of so many modules that their docstring is a map of them."""
TOO_LONG: dict[str, int] = {}
"""Files and functions that are longer for now, each with the length it may not exceed."""


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def lengths() -> Iterator[tuple[str, int, int]]:
    """(name, lines, most) of every file and function."""
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        text = path.read_text()
        yield name, text.count("\n"), MOST_LINES_OF_A_FILE
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                yield f"{name}::{node.name}", lines, MOST_LINES_OF_A_FUNCTION


def test_no_file_and_no_function_is_too_long() -> None:
    over = {name: lines for name, lines, most in lengths() if lines > TOO_LONG.get(name, most)}
    assert over == {}


def test_the_exceptions_are_still_needed() -> None:
    found = {name: (lines, most) for name, lines, most in lengths() if name in TOO_LONG}
    assert {name for name, (lines, most) in found.items() if lines > most} == set(TOO_LONG)


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


@pytest.mark.parametrize("package", MAPPED)
def test_the_map_of_a_large_package_has_each_of_its_modules(package: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""
    named = set(re.findall(r"`([a-z_]+)`", text))
    modules = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
    assert modules - named == set(), "say in the package's docstring what they are for"


def test_nothing_stands_at_the_top_level_that_has_no_place_there() -> None:
    listed = {path.name for path in ROOT.iterdir()}
    ours = {name for name in listed if not (ROOT / name).is_dir() or any((ROOT / name).rglob("*.py"))}
    hidden = {name for name in ours if name.startswith(".") and name not in TOP_LEVEL}
    assert ours - hidden - {"build", "dist", "htmlcov", "node_modules"} <= TOP_LEVEL
