"""How answers look: tables, trees and JSON on stdout, notes and progress on stderr. Decides nothing."""

import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager

import orjson
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from adapters.http.shown_json import shown_json
from gateway.cli.words import clean, indented
from gateway.core.json import Json, JsonObject, json_text

_WIDE = 200

_STATE_STYLE = {
    "ok": "green",
    "up": "green",
    "completed": "green",
    "accepted": "green",
    "working": "cyan",
    "running": "cyan",
    "submitted": "cyan",
    "waiting": "cyan",
    "denied": "red",
    "failed": "red",
    "down": "red",
    "error": "red",
    "rejected": "red",
}


def stdout() -> Console:
    """Made per use, so that it writes to whatever stdout is then."""
    console = Console(soft_wrap=False, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        # A pipe or a file has no edge to wrap at; rich would take 80 columns.
        console.width = _WIDE
    return console


def stderr() -> Console:
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def show(value: Json, view: Callable[[], RenderableType], *, as_json: bool) -> None:
    """Print a value: itself as JSON, or the view of it for people."""
    if as_json:
        sys.stdout.write(shown_json(value, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        stdout().print(view())


def show_line(value: Json) -> None:
    """Print one value of a stream as one line of JSON."""
    sys.stdout.write(shown_json(value).decode() + "\n")
    sys.stdout.flush()


def say(text: str | Text) -> None:
    """Print a line of the answer, never wrapped: it may be copied."""
    stdout().print(text, soft_wrap=True)


def say_fields(found: JsonObject) -> None:
    """Print names and values, each name at the beginning of its line, and nothing else there."""
    for name, value in found.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        say(f"{name:<12}{indented(shown, 12)}")


def note(text: str) -> None:
    """Print something beside the answer."""
    stderr().print(Text(clean(text)))


@contextmanager
def progress(text: str) -> Generator[None]:
    """Show that work goes on, on a terminal only."""
    console = stderr()
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        yield


def cell(value: Json) -> Text:
    """A value in a table or a tree."""
    if isinstance(value, list):
        return Text(clean(", ".join(str(each) for each in value)))
    return Text("" if value is None else clean(str(value)))


def state(value: Json) -> Text:
    """A state in its colour."""
    text = cell(value)
    text.stylize(_STATE_STYLE.get(text.plain, "yellow"))
    return text


def table(columns: Sequence[str], rows: Iterable[Sequence["Json | Text"]], *, empty: str) -> RenderableType:
    """A table, or the sentence `empty` where it would have no rows."""
    grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(each if isinstance(each, Text) else cell(each) for each in row))
    return grid if grid.row_count else Text(empty)


def facts(pairs: Iterable[tuple[str, "Json | Text"]]) -> RenderableType:
    """Names and values below each other; empty values are left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in pairs:
        shown = value if isinstance(value, Text) else cell(value)
        if shown.plain:
            grid.add_row(name, shown)
    return grid


def duration(microseconds: Json) -> str:
    """A duration as people say it."""
    if not isinstance(microseconds, int):
        return ""
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.0f} ms"
    return f"{microseconds / 1_000_000:.1f} s"


def moment(time: Json) -> str:
    """An RFC 3339 time down to the second."""
    return json_text(time).partition(".")[0].replace("T", " ")


def may_show_secret(*, anyway: bool) -> bool:
    """Secrets go to terminals, and elsewhere only when that is asked for."""
    return anyway or sys.stdout.isatty()
