"""A document in several files, as one: what it refers to in files beside it is drawn in. No address is fetched.

Each further file stands under `FILES` in the document, and every reference leads within it. What cannot be drawn in is
left as it is, with the reason under `PROBLEMS`: it costs the operations that need it, and no others.
"""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject

FILES = "x-drawbridge-files"
PROBLEMS = "x-drawbridge-problems"
MOST_FILES = 64
"""Files one document may draw in."""
_SUFFIXES = (".json", ".yaml", ".yml")

Load = Callable[[Path, int, str], tuple[JsonObject, int]]
"""A file of at most so many bytes, by the name messages give it: what is in it, its size. Raises: InvalidRequest."""


def in_one(path: Path, document: JsonObject, load: Load, spare_bytes: int) -> JsonObject:
    """The document with all it refers to; `spare_bytes` bounds the further files together."""
    files = _Files(path.resolve(), load, spare_bytes)
    whole = files.rewritten(document, files.root)
    files.draw_in()
    if files.loaded:
        whole[FILES] = files.loaded
    if files.problems:
        whole[PROBLEMS] = files.problems
    return whole


class _Files:
    def __init__(self, root: Path, load: Load, spare_bytes: int) -> None:
        self.root = root
        self.loaded: JsonObject = {}
        self.problems: JsonObject = {}
        self._load = load
        self._spare_bytes = spare_bytes
        self._known: dict[Path, str] = {root: "#"}
        """Where each file stands."""
        self._waiting: list[tuple[str, JsonObject, Path]] = []

    def draw_in(self) -> None:
        """All that is referred to, and what that refers to in turn."""
        while self._waiting:
            key, content, path = self._waiting.pop()
            self.loaded[key] = self.rewritten(content, path)

    def rewritten(self, value: JsonObject, file: Path) -> JsonObject:
        """What is in `file`, with references that lead within the whole."""
        return {name: self._value(name, each, file) for name, each in value.items()}

    def _value(self, name: str, value: Json, file: Path) -> Json:
        if isinstance(value, dict):
            return self.rewritten(value, file)
        if isinstance(value, list):
            return [self._value("", each, file) for each in value]
        if name == "$ref" and isinstance(value, str):
            return self._reference(value, file)
        return value

    def _reference(self, reference: str, file: Path) -> str:
        named, _, within = reference.partition("#")
        if within and not within.startswith("/"):
            self.problems[reference] = "only paths (#/…) are followed, no anchors"
            return reference
        try:
            return (self._known[file] if not named else self._stands(named, file)) + within
        except InvalidRequest as error:
            self.problems[reference] = error.message
            return reference

    def _stands(self, named: str, beside: Path) -> str:
        if ":" in named or named.startswith(("//", "/")):
            raise InvalidRequest("it is no file beside the document, and no address is fetched")
        path = (beside.parent / unquote(named)).resolve()
        if path in self._known:
            return self._known[path]
        if not path.is_relative_to(self.root.parent):
            raise InvalidRequest("it leads out of the folder of the document")
        if path.suffix not in _SUFFIXES:
            raise InvalidRequest("only files called .json, .yaml or .yml are read")
        if len(self._known) > MOST_FILES:
            raise InvalidRequest(f"a document draws in at most {MOST_FILES} files")
        content, size_bytes = self._load(path, self._spare_bytes, path.name)
        self._spare_bytes -= size_bytes
        key = path.relative_to(self.root.parent).as_posix()
        self._waiting.append((key, content, path))
        self._known[path] = f"#/{FILES}/{key.replace('~', '~0').replace('/', '~1')}"
        return self._known[path]
