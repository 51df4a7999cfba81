"""The pattern in `examples/own_pattern`: its own tests pass, and installed as a package it is found and checked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "examples" / "own_pattern"


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.e2e
def test_its_own_tests_pass() -> None:
    done = run("pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", ".", ".", cwd=PACKAGE)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


@pytest.mark.e2e
def test_installed_it_is_found_by_its_name_and_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    installed = run(
        *(
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--disable-pip-version-check",
        ),
        *("--target", str(tmp_path / "site"), str(PACKAGE)),
        cwd=tmp_path,
    )
    assert installed.returncode == 0, installed.stderr
    configuration = tmp_path / "gateway.yaml"
    text = (
        "agents: {small: {card: 'http://127.0.0.1:1'}}\n"
        "principals: {ana: {roles: []}}\n"
        "workflows: {answer: {pattern: ladder, agents: [small], options: {sure: 0.8}}}\n"
    )
    configuration.write_text(text)
    checked = run("gateway", "check", "--config", str(configuration), cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    configuration.write_text(text.replace("0.8", "very"))
    refused = run("gateway", "check", "--config", str(configuration), cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert refused.returncode == 1
    assert "options.sure" in refused.stdout + refused.stderr


def test_the_pattern_has_forty_lines_at_most() -> None:
    text = (PACKAGE / "drawbridge_ladder" / "pattern.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
