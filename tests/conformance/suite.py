"""The official MCP conformance suite as a program: what it is asked to run, and what it found.

Its results are compared check by check: a scenario may pass and yet have checked less than it did elsewhere.
"""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from tests.node_tools import MODULES, environment, node

_WITHIN_S = 400
_CLIENT_WITHIN_S = 150
_STAMP = re.compile(r"-\d{4}-\d\d-\d\dT[\d-]+Z$")
_GOOD = frozenset({"SUCCESS", "INFO"})
_BAD = frozenset({"FAILURE", "WARNING"})


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one version of the suite."""

    name: str
    package: str
    arguments: tuple[str, ...]

    @property
    def plain(self) -> "Run":
        """The same without extensions."""
        if self.package != _NEW or "--spec-version" in self.arguments:
            return self
        return replace(self, arguments=(*self.arguments, "--spec-version", "2026-07-28"))


_NEW, _OLD = "@modelcontextprotocol/conformance", "conformance-latest"
_LEGACY = ("2025-03-26", "2025-06-18", "2025-11-25")
RUNS = (
    Run("latest release", _OLD, ("--suite", "all")),
    *(Run(version, _NEW, ("--suite", "all", "--spec-version", version)) for version in _LEGACY),
    # Without a version each scenario runs at the newest revision that has it, and the extensions' run as well.
    Run("2026-07-28 and extensions", _NEW, ("--suite", "all")),
)
NEWEST = "2026-07-28"
CLIENT_RUNS = (
    *(Run(version, _NEW, ("--suite", "all", "--spec-version", version)) for version in (*_LEGACY, NEWEST)),
    Run("client credentials", _NEW, ("--scenario", "auth/client-credentials-basic")),
    Run("client credentials, signed", _NEW, ("--scenario", "auth/client-credentials-jwt")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one scenario found. Checks that do not apply count for nothing."""

    passed: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict[str, str])
    """With what was said of them."""


Report: TypeAlias = Mapping[str, Outcome]
"""By scenario."""


def server_report(run: Run, url: str, *, key: str = "", scenarios: tuple[str, ...] = ()) -> Report:
    """What the suite finds at a server; only of these scenarios where some are named."""
    if not scenarios:
        return _ran(run.package, ("server", "--url", url, *run.arguments), key)
    version = run.arguments[2:] if "--spec-version" in run.arguments else ()
    return {
        name: outcome
        for scenario in scenarios
        for name, outcome in _ran(run.package, ("server", "--url", url, "--scenario", scenario, *version), key).items()
    }


def client_report(run: Run, command: str, *, scenario: str = "") -> Report:
    """What the suite finds of a client that it starts by `command`, with the URL of a server of its own appended: in
    every scenario at once, or in the one that is named.
    """
    what = run.arguments if not scenario else ("--scenario", scenario, *run.arguments[2:])
    return _ran(run.package, ("client", "--command", command, "--timeout", str(_CLIENT_WITHIN_S * 1000), *what), "")


def worse(direct: Outcome, through: Outcome) -> Mapping[str, str]:
    """Checks that passed directly and did not do so through the gateway, with what was said of them."""
    said = {each: through.failed.get(each, "not reached") for each in direct.passed - through.passed}
    return said | {each: text for each, text in through.failed.items() if each not in direct.failed}


def passed(report: Report) -> str:
    """Checks passed, of those made."""
    count = sum(len(each.passed) for each in report.values())
    return f"{count}/{count + sum(len(each.failed) for each in report.values())}"


def _ran(package: str, arguments: tuple[str, ...], key: str) -> Report:
    command = node(MODULES / package / "dist" / "index.js", *arguments, preload="with-key.mjs" if key else "")
    with TemporaryDirectory() as folder:
        subprocess.run(
            [*command, "-o", folder],
            env=environment(GATEWAY_KEY=key),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_WITHIN_S,
            check=False,
        )
        return {
            _STAMP.sub("", file.parent.relative_to(folder).as_posix().removeprefix("server-")): _outcome(file)
            for file in sorted(Path(folder).rglob("checks.json"))
        }


def _outcome(file: Path) -> Outcome:
    passed: set[str] = set()
    failed: dict[str, str] = {}
    for check in json.loads(file.read_text()):
        if check["status"] in _GOOD:
            passed.add(check["id"])
        elif check["status"] in _BAD:
            failed[check["id"]] = str(check.get("errorMessage"))[:300]
    return Outcome(passed=frozenset(passed - failed.keys()), failed=failed)
