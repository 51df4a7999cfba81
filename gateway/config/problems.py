"""What can be wrong with a configuration, and where. Knows neither YAML nor what the sections mean."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to put right."""

    message: str
    """What is wrong; never a value of a secret."""
    path: str = ""
    """Where it stands: `servers.orders.url`, `roles.support.allow[0]`; empty for the file as a whole."""
    line: int = 0
    """From 1; 0 where there is none."""
    column: int = 0
    """From 1; 0 where there is none."""
    file: str = ""
    severity: Severity = "error"
    expected: str = ""
    """What would be right."""
    suggestion: str = ""
    """What was probably meant."""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        said = ": ".join(part for part in (place, self.path, self.message) if part)
        said += f"; {self.expected}" if self.expected else ""
        said += f" (did you mean {self.suggestion!r}?)" if self.suggestion else ""
        return f"{said} [warning]" if self.severity == "warning" else said

    def to_json(self) -> dict[str, Json]:
        """Every member that says something, by its name."""
        members: dict[str, Json] = {
            "severity": self.severity,
            "message": self.message,
            "path": self.path,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "expected": self.expected,
            "suggestion": self.suggestion,
        }
        return {name: value for name, value in members.items() if value}


class ConfigurationError(InvalidRequest):
    """The configuration cannot be used; says everything that is wrong with it, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_order(problems)
        errors = sum(problem.severity == "error" for problem in self.problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        count = "1 error" if errors == 1 else f"{errors} errors"
        super().__init__(
            f"the configuration has {count}\n{lines}",
            detail={"problems": [problem.to_json() for problem in self.problems]},
        )


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each problem once, as the file has them."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: (problem.line, problem.column)))


def closest(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant, or empty."""
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""
