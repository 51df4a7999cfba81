"""What the log says: the last records, those that match, one call in full, all of it. Reads only, also offline."""

import sqlite3
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from adapters.storage.audit.schema import open_to_read
from gateway.core.errors import Unavailable
from gateway.core.json import Json, JsonObject, json_object, json_text

_POLL_S = 0.2
_PAGE = 500
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which records; an empty field does not narrow. Nothing but `record_id` and `run_id` has an index: an index
    costs every call, a search now and then reads the file."""

    tenant: str | None
    """None sees every tenant, and is for operators of the whole gateway only."""
    subject: str = ""
    """Who called, or on whose behalf."""
    capability: str = ""
    """A glob such as `tool:orders/*`."""
    outcome: str = ""
    run_id: str = ""
    step_id: str = ""
    record_id: str = ""
    label: str = ""
    """A glob that one of its labels fits, of whichever kind: `server:web`, `chaos:*`."""
    since_us: int = 0
    until_us: int = 0
    """Records before this; 0 for no end."""
    after: int = 0
    """Only records later in the log than this one."""
    text: str = ""
    """Anywhere in the record, upper and lower case alike for ASCII."""
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record as it is stored; see `line.Line` for its fields."""

    seq: int
    hash: bytes
    line: bytes
    fields: JsonObject

    def to_json(self) -> JsonObject:
        """The fields, with `seq` before them."""
        return {"seq": self.seq, **self.fields}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A record with what was said, where it was kept and not erased since."""

    entry: Entry
    request: Json = None
    result: Json = None

    def to_json(self) -> JsonObject:
        """See `Entry.to_json`; `request` and `result` where there is something."""
        said = self.entry.to_json()
        if self.request is not None:
            said["request"] = self.request
        if self.result is not None:
            said["result"] = self.result
        return said


class AuditReader:
    """Reads the log at `path`, each answer from a connection of its own; may be used from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tail(self, count: int, *, tenant: str | None) -> tuple[Entry, ...]:
        """The last records, oldest first. Raises: NotFound, Unavailable."""
        return self.search(Query(tenant=tenant, limit=count))

    def search(self, query: Query) -> tuple[Entry, ...]:
        """The last `limit` that match; with `after`, the first `limit` behind it. Oldest first.

        Raises: NotFound: there is no log; Unavailable: it cannot be read.
        """
        with self._connected() as connection:
            found = list(_entries(connection, query, newest_first=not query.after))
        return tuple(found if query.after else reversed(found))

    def follow(self, query: Query, *, pause: Callable[[], None] | None = None) -> Generator[Entry]:
        """Every record from now on that matches (with `after`, from there on), as it comes; never ends by itself.

        `pause` is called whenever there is nothing new; by default it sleeps for a moment.

        Raises: NotFound, Unavailable.
        """
        with self._connected() as connection:
            after = query.after or int(connection.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()[0])
            while True:
                came = False
                for entry in _entries(connection, query, after=after, limit=_PAGE):
                    came, after = True, entry.seq
                    yield entry
                if not came:
                    (pause or _pause)()

    def show(self, record_id: str, *, tenant: str | None) -> tuple[Shown, ...]:
        """Everything recorded under one id: intent, then outcome. Empty where there is nothing."""
        with self._connected() as connection:
            query = Query(tenant=tenant, record_id=record_id)
            return tuple(_shown(connection, entry) for entry in _entries(connection, query))

    def entries(self, query: Query) -> Generator[Entry]:
        """Everything that matches, oldest first, whatever `limit` says, read as it is asked for."""
        with self._connected() as connection:
            connection.execute("BEGIN")
            yield from _entries(connection, query, after=query.after, limit=-1)

    @contextmanager
    def _connected(self) -> Generator[sqlite3.Connection]:
        connection = open_to_read(self._path)
        try:
            yield connection
        except sqlite3.Error as error:
            raise Unavailable(f"{self._path} cannot be read: {error}") from error
        finally:
            connection.close()


def _entries(
    connection: sqlite3.Connection,
    query: Query,
    *,
    newest_first: bool = False,
    after: int | None = None,
    limit: int | None = None,
) -> Iterator[Entry]:
    where, values = _conditions(query, query.after if after is None else after)
    order = "DESC" if newest_first else "ASC"
    # The conditions are texts of this module; every value is bound.
    statement = f"SELECT seq, hash, line FROM records WHERE {where} ORDER BY seq {order} LIMIT ?"  # noqa: S608
    for seq, hashed, line in connection.execute(statement, [*values, query.limit if limit is None else limit]):
        yield Entry(seq=seq, hash=hashed, line=line, fields=_fields(line))


def _conditions(query: Query, after: int) -> tuple[str, list[Any]]:
    # Built from texts of this module alone, as above.
    subject = f"({_said('subject')} = ? OR EXISTS (SELECT 1 FROM json_each({_JSON}, '$.actors') WHERE value = ?))"  # noqa: S608
    label = f"EXISTS (SELECT 1 FROM json_tree({_JSON}, '$.labels') WHERE type = 'text' AND atom GLOB ?)"  # noqa: S608
    candidates: tuple[tuple[str, tuple[Any, ...], bool], ...] = (
        ("seq > ?", (after,), after > 0),
        ("tenant = ?", (query.tenant,), query.tenant is not None),
        ("id = ?", (query.record_id,), bool(query.record_id)),
        ("run_id = ?", (query.run_id,), bool(query.run_id)),
        ("at_us >= ?", (query.since_us,), query.since_us > 0),
        ("at_us < ?", (query.until_us,), query.until_us > 0),
        (f"{_said('outcome')} = ?", (query.outcome,), bool(query.outcome)),
        (f"{_said('step_id')} = ?", (query.step_id,), bool(query.step_id)),
        (f"{_said('capability')} GLOB ?", (query.capability,), bool(query.capability)),
        (subject, (query.subject, query.subject), bool(query.subject)),
        (label, (query.label,), bool(query.label)),
        ("instr(lower(line), lower(?)) > 0", (query.text,), bool(query.text)),
    )
    used = [(text, values) for text, values, given in candidates if given]
    return " AND ".join(text for text, _ in used) or "1", [value for _, values in used for value in values]


# A damaged line must not keep the others from being found.
_JSON = "CASE WHEN json_valid(line) THEN line ELSE '{}' END"


def _said(name: str) -> str:
    return f"json_extract({_JSON}, '$.{name}')"


def _shown(connection: sqlite3.Connection, entry: Entry) -> Shown:
    return Shown(
        entry=entry,
        request=_body(connection, json_text(entry.fields.get("request_digest"))),
        result=_body(connection, json_text(entry.fields.get("result_digest"))),
    )


def _body(connection: sqlite3.Connection, digest: str) -> Json:
    found = connection.execute("SELECT body FROM bodies WHERE digest = ?", (digest,)).fetchone() if digest else None
    return _decode(found[0]) if found else None


def _pause() -> None:
    time.sleep(_POLL_S)


def _fields(line: bytes) -> JsonObject:
    try:
        return json_object(_decode(line))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # Somebody was at the file; the rest of the log is readable all the same, and `verify` tells of it.
        return {"id": "", "damaged": True}
