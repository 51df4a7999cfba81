"""Whether the lock files pin what pyproject.toml asks for. Run by `make check`; needs no registry."""

import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in PIN.findall((ROOT / lock).read_text())}


def problems() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    runtime, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    asked = [(each, runtime) for each in [*project["project"]["dependencies"], *groups["build"]]]
    asked += [(each, dev) for each in groups["dev"] if isinstance(each, str)]
    found = [
        f"{name} is pinned to {version} and {dev.get(name)}"
        for name, version in runtime.items()
        if dev.get(name) != version
    ]
    for text, pinned in asked:
        requirement = Requirement(text)
        version = pinned.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            found.append(f"{text} is not satisfied by the lock ({version}); run `make lock`")
    return found


if __name__ == "__main__":
    found = problems()
    sys.stderr.writelines(f"{problem}\n" for problem in found)
    sys.exit(bool(found))
