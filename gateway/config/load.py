"""A file to a `Configuration`, as a whole or not at all. Knows which sections there are only from who calls it."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias, TypeVar, cast

from gateway.config.document import LARGEST_BYTES, Document, child, read_document
from gateway.config.problems import ConfigurationError, Problem, Severity, closest, in_order
from gateway.config.schema import Section, adapter_of, shapes
from gateway.config.validate import unknown_keys, validated

T = TypeVar("T")

NOT_LOOKED_AT = "x-"
"""Top-level keys that begin so are the user's own, for anchors."""
MOST_NAMED = 10
"""Names an error lists when it cannot guess which was meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Everything the file says, validated."""

    source: Path
    """The file it was read from."""
    sections: Mapping[str, object]
    """Each section as its own type; those the file leaves out have their defaults."""
    digest: str
    """SHA-256, hex, of the file: the version of the configuration."""
    warnings: tuple[Problem, ...] = ()
    document: Document = field(repr=False)

    def section(self, name: str, kind: type[T]) -> T:
        """A section; `kind` is what its type says it is.  Raises: KeyError: there is no such section."""
        return cast("T", self.sections[name])

    def entries(self, name: str) -> Mapping[str, object]:
        """The entries of a section that is a mapping of names; none where there is no such section."""
        return cast("Mapping[str, object]", self.sections.get(name) or {})

    def line_of(self, path: str) -> int:
        """The line of a path such as `roles.support.allow[0]`, or of the nearest thing around it."""
        return self.document.place_of(path).line

    def problem(
        self,
        path: str,
        message: str,
        *,
        severity: Severity = "error",
        expected: str = "",
        name: str = "",
        known: Collection[str] = (),
    ) -> Problem:
        """Something wrong at a path. `name` is what stands there, `known` what could have been meant by it."""
        place = self.document.place_of(path)
        suggestion = closest(name, known)
        if known and not suggestion and not expected:
            expected = f"there are {', '.join(list(known)[:MOST_NAMED])}"
        return Problem(
            message=message,
            path=path,
            line=place.value_line if name else place.line,
            column=place.value_column if name else place.column,
            file=str(self.source),
            severity=severity,
            expected=expected,
            suggestion=suggestion,
        )


Check: TypeAlias = Callable[[Configuration], Iterable[Problem]]
"""What can only be seen across sections. Runs once each section by itself is right."""


def load(path: Path, sections: Mapping[str, Section], *, checks: Sequence[Check] = ()) -> Configuration:
    """The configuration in a file.

    Raises: ConfigurationError: the file cannot be read, or something in it is wrong; has every error there is.
    """
    content = _read(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refused(path, [Problem(message="is not UTF-8", line=line)]) from error
    return parse(text, sections, source=path, checks=checks)


def parse(
    text: str, sections: Mapping[str, Section], *, source: Path = Path("gateway.yaml"), checks: Sequence[Check] = ()
) -> Configuration:
    """The configuration in a text; see `load`."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return configured(read_document(text), sections, digest=digest, source=source, checks=checks)


def configured(
    document: Document, sections: Mapping[str, Section], *, digest: str, source: Path, checks: Sequence[Check] = ()
) -> Configuration:
    """The configuration in a document, wherever that is from; see `load`."""
    if document.problems and not document.data:
        raise _refused(source, document.problems)
    problems = [*document.problems, *_unknown_sections(document, sections)]
    adapters = {name: adapter_of(section) for name, section in sections.items()}
    known = shapes(adapters)
    values: dict[str, object] = {}
    for name, adapter in adapters.items():
        data = document.data.get(name)
        data = {} if data is None else data
        problems += unknown_keys(data, known[name], name, document)
        values[name], found = validated(name, adapter, data, document)
        problems += found
    if problems:
        raise _refused(source, problems)
    configuration = Configuration(
        source=source,
        sections=MappingProxyType(values),
        digest=digest,
        document=document,
    )
    return _checked(configuration, checks)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError as error:
        missing = Problem(message="there is no such file", expected="`drawbridge init` writes one")
        raise _refused(path, [missing]) from error
    except OSError as error:
        raise _refused(path, [Problem(message=f"cannot be read: {error.strerror}")]) from error
    if len(content) > LARGEST_BYTES:
        raise _refused(path, [Problem(message=f"is larger than {LARGEST_BYTES} bytes")])
    return content


def _unknown_sections(document: Document, sections: Mapping[str, Section]) -> Iterable[Problem]:
    for name in document.data:
        if name not in sections and not name.startswith(NOT_LOOKED_AT):
            place = document.place_of(child("", name))
            suggestion = closest(name, sections)
            yield Problem(
                message="unknown section",
                path=name,
                line=place.line,
                column=place.column,
                expected="" if suggestion else f"there are {', '.join(sorted(sections))}",
                suggestion=suggestion,
            )


def _checked(configuration: Configuration, checks: Sequence[Check]) -> Configuration:
    problems = [problem for check in checks for problem in check(configuration)]
    if any(problem.severity == "error" for problem in problems):
        raise _refused(configuration.source, problems)
    return replace(configuration, warnings=in_order(_in_file(configuration.source, problems)))


def _refused(source: Path, problems: Iterable[Problem]) -> ConfigurationError:
    return ConfigurationError(_in_file(source, problems))


def _in_file(source: Path, problems: Iterable[Problem]) -> list[Problem]:
    return [replace(problem, file=str(source)) for problem in problems]
