"""README and the page of settings as data: their fenced blocks in order, and the rows of their tables by heading."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "gateway/config/README.md")
TEXT = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
"""One after the other."""

_FENCED = re.compile(r"^```(\S+)(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block."""

    line: int
    language: str
    mark: str
    """What stands behind the language, such as `background`."""
    text: str
    chapter: str
    """The second-level heading it stands under."""

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Each command with the output shown for it."""
        if self.language == "sh":
            for command in self.text.replace("\\\n", "\\\n\0").split("\n"):
                yield command, []
            return
        _, *parts = re.split(r"^\$ ", self.text, flags=re.MULTILINE)
        for part in parts:
            command, *shown = part.splitlines()
            yield command, shown


def blocks() -> list[Block]:
    return [
        Block(
            line=TEXT.count("\n", 0, found.start()) + 1,
            language=found[1],
            mark=found[2] or "",
            text=found[3],
            chapter=_heading_before(found.start(), "## "),
        )
        for found in _FENCED.finditer(TEXT)
    ]


def rows(heading: str) -> list[list[str]]:
    """The cells of every table row under a heading, up to the next heading of any level; without the table's head."""
    section = TEXT.partition(f"\n{heading}\n")[2]
    assert section, f"README has no heading {heading!r}"
    section = re.split(r"^#+ ", section, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [each for number, each in enumerate(cells) if not _is_head(cells, number)]


def names_in(cell: str) -> list[str]:
    """What stands in backquotes."""
    return _NAMED.findall(cell)


def _is_head(cells: list[list[str]], number: int) -> bool:
    ruled = [set(each[0]) <= {"-", ":"} for each in cells]
    return ruled[number] or (number + 1 < len(cells) and ruled[number + 1])


def _heading_before(place: int, prefix: str) -> str:
    lines = [line for line in TEXT[:place].splitlines() if line.startswith(prefix)]
    return lines[-1].removeprefix(prefix) if lines else ""
