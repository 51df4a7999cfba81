"""YAML text to plain values, with the place of each. Knows nothing of what the values mean.

The dialect is the part of YAML 1.2 that surprises nobody: text, numbers, `true`, `false`, `null`, lists and mappings.
`yes`, `on`, `12:30` and `2026-11-21` are text, keys are always text, tags are refused, and so is whatever only a
hostile file has: aliases that multiply, nesting without end.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, cast

import yaml

from gateway.config.problems import Problem
from gateway.core.json import Json

LARGEST_BYTES = 1024 * 1024
DEEPEST = 40
MOST_VALUES = 50_000

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18}|[0-9]{1,18})(?:[eE][-+]?[0-9]{1,3})?")
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_COLLECTION_TAGS = frozenset({"!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands. Lines and columns count from 1."""

    line: int
    column: int
    """Of the key, or of the value where it has none."""
    value_line: int
    value_column: int
    verbatim: bool = False
    """The value is text on one line, so that an offset into it is an offset into the line."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file's values, and where each of them stands."""

    data: dict[str, Json]
    places: dict[str, Place]
    """By path, see `child`."""
    problems: tuple[Problem, ...] = ()

    def place_of(self, path: str) -> Place:
        """Where a path stands, or the nearest thing around it that is there."""
        while path and path not in self.places:
            path = parent(path)
        return self.places.get(path, _TOP)


def read_document(text: str) -> Document:
    """The document in `text`; what is wrong with its form is in `problems`, and the rest is there all the same."""
    reader = _Reader()
    try:
        root = reader.root(text)
        data = reader.values(root) if root is not None else None
    except _UnreadableError as error:
        return Document({}, {}, (error.problem,))
    except yaml.MarkedYAMLError as error:
        return Document({}, {}, (_syntax(error),))
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line = before.count("\n") + 1
        return Document(
            {}, {}, (Problem(message="a control character", line=line, column=len(before) - before.rfind("\n")),)
        )
    if data is None:
        data = {}
    if not isinstance(data, dict):
        reader.problems.append(
            Problem(message="is not a mapping of sections", line=1, column=1, expected="write for example `servers:`")
        )
        data = {}
    return Document(data, reader.places, tuple(reader.problems))


def child(path: str, key: str | int) -> str:
    """The path of an entry: `servers.orders`, `allow[0]`, `tools["a.b"]`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if not re.fullmatch(r"[A-Za-z0-9_:*-]+", key):
        return f'{path}["{key}"]'
    return f"{path}.{key}" if path else key


def parent(path: str) -> str:
    """The path without its last step."""
    return path[: max(path.rfind("."), path.rfind("["), 0)]


@dataclass(slots=True)
class _Node:
    kind: Literal["scalar", "list", "mapping"]
    event: yaml.NodeEvent
    value: Json = None
    items: list["_Node"] = field(default_factory=list["_Node"])
    keys: list["_Node"] = field(default_factory=list["_Node"])

    @property
    def line(self) -> int:
        return _position(self.event)[0]

    @property
    def column(self) -> int:
        return _position(self.event)[1]


class _UnreadableError(Exception):
    """Nothing can be made of the rest of the file."""

    def __init__(self, message: str, event: yaml.Event) -> None:
        line, column = _position(event)
        super().__init__(message)
        self.problem = Problem(message=message, line=line, column=column)


class _Reader:
    """One reading of one text."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.places: dict[str, Place] = {}
        self._anchors: dict[str, _Node] = {}
        self._count = 0

    def root(self, text: str) -> _Node | None:
        """The tree of the only document; None for an empty file."""
        events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        root: _Node | None = None
        for event in events:
            if isinstance(event, yaml.NodeEvent):
                root = self._node(event, events, 0)
            elif isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise _UnreadableError("a second document begins here", event)
        return root

    def _node(self, event: yaml.NodeEvent, events: Iterator[yaml.Event], depth: int) -> _Node:
        if depth > DEEPEST:
            raise _UnreadableError(f"nested more than {DEEPEST} levels deep", event)
        if isinstance(event, yaml.AliasEvent):
            anchored = self._anchors.get(str(event.anchor))
            if anchored is None:
                raise _UnreadableError(f"*{event.anchor} refers to nothing that ends before it", event)
            return anchored
        if isinstance(event, yaml.ScalarEvent):
            node = _Node("scalar", event, self._scalar(event))
        else:
            node = self._collection(event, events, depth)
        if event.anchor is not None:
            # Set only now, so that nothing can contain itself.
            self._anchors[str(event.anchor)] = node
        return node

    def _collection(self, event: yaml.NodeEvent, events: Iterator[yaml.Event], depth: int) -> _Node:
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._check_tag(event, _COLLECTION_TAGS)
        node = _Node("mapping" if is_mapping else "list", event)
        for inner in events:
            if not isinstance(inner, yaml.NodeEvent):
                break
            if is_mapping:
                node.keys.append(self._node(inner, events, depth + 1))
                inner = next(events)
            # The parser gives a value for every key, so what follows one is always a node.
            node.items.append(self._node(cast("yaml.NodeEvent", inner), events, depth + 1))
        return node

    def _check_tag(self, event: yaml.NodeEvent, allowed: Iterable[str]) -> None:
        tag: str | None = getattr(event, "tag", None)
        if tag is not None and tag not in allowed:
            line, column = _position(event)
            wrong = "tags are not allowed here"
            self.problems.append(Problem(message=wrong, line=line, column=column, expected="write the plain value"))

    def _scalar(self, event: yaml.ScalarEvent) -> Json:
        self._check_tag(event, _TEXT_TAGS)
        text: str = event.value
        if event.style is not None or event.tag is not None:
            return text
        return plain_value(text)

    def values(self, node: _Node, path: str = "", key: _Node | None = None, depth: int = 0) -> Json:
        """The node's value; notes its place, and that of everything in it."""
        self._count += 1
        if depth > DEEPEST:
            raise _UnreadableError(f"nested more than {DEEPEST} levels deep, aliases included", node.event)
        if self._count > MOST_VALUES:
            raise _UnreadableError(f"more than {MOST_VALUES} values, aliases included", node.event)
        at = key or node
        if path:
            self.places[path] = Place(at.line, at.column, node.line, _text_column(node), _is_verbatim(node))
        if node.kind == "list":
            return [self.values(each, child(path, index), depth=depth + 1) for index, each in enumerate(node.items)]
        if node.kind == "mapping":
            return self._mapping(node, path, depth)
        return node.value

    def _mapping(self, node: _Node, path: str, depth: int) -> dict[str, Json]:
        said: dict[str, Json] = {}
        first: dict[str, int] = {}
        for key, value in zip(node.keys, node.items, strict=True):
            if not isinstance(key.event, yaml.ScalarEvent):
                self.problems.append(
                    Problem(message="a key that is no text", path=path, line=key.line, column=key.column)
                )
                continue
            name: str = key.event.value
            inner = child(path, name)
            if name in said:
                again = f"the key {name!r} is there twice, first in line {first[name]}"
                self.problems.append(Problem(message=again, path=inner, line=key.line, column=key.column))
                continue
            first[name] = key.line
            said[name] = self.values(value, inner, key, depth + 1)
        return said


def plain_value(text: str) -> Json:
    """What an unquoted scalar stands for."""
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text) and not re.match(r"[-+]?0[0-9]", text):
        return int(text)
    if _FLOAT.fullmatch(text) and any(sign in text for sign in ".eE"):
        return float(text)
    return text


def _text_column(node: _Node) -> int:
    """Where the text itself begins, behind an opening quote."""
    quoted = isinstance(node.event, yaml.ScalarEvent) and node.event.style in ("'", '"')
    return node.column + 1 if quoted else node.column


def _is_verbatim(node: _Node) -> bool:
    event = node.event
    return (
        isinstance(event, yaml.ScalarEvent)
        and event.style in (None, "'", '"')
        and event.start_mark is not None
        and event.end_mark is not None
        and event.start_mark.line == event.end_mark.line
    )


def _position(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)


def _syntax(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "cannot be read"
    expected = ""
    if "'\\t'" in problem:
        problem, expected = "a tab where YAML wants spaces", "indent with spaces"
    elif "mapping values are not allowed" in problem:
        expected = "check the indentation, and put text that contains `: ` in quotes"
    elif "expected <block end>" in problem:
        expected = "this line is indented differently from its neighbours"
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    return Problem(message=problem, line=line, column=column, expected=expected)


_TOP = Place(1, 1, 1, 1)
