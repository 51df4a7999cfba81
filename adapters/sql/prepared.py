"""Statements compiled once for each kind of database and then handed to its driver as text.

For the few that every step of every run needs: what SQLAlchemy does around a statement - looking it up, binding its
values, wrapping what comes back - costs several times what SQLite takes to run it. What it does when one fails is done
here as well, so that nobody can tell the difference.
"""

import select
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from sqlalchemy import BindParameter, Connection, Delete, Dialect, Insert, Select, Update
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError

Statement: TypeAlias = "Select[*tuple[Any, ...]] | Insert | Update | Delete"
_Bind: TypeAlias = Callable[[Any], Any]
_Parameter: TypeAlias = "tuple[str, bool, Any, _Bind | None]"
"""Its name; whether its value is given or else a constant, and which; what turns a value into the driver's."""
_Compiled: TypeAlias = tuple[str, tuple[_Parameter, ...], bool]
"""The text; its parameters; whether the driver takes them by their places."""


class Prepared:
    """A statement whose values, all but its own constants, are given by name. Rows come as the driver gives them."""

    __slots__ = ("_columns", "_compiled", "_statement")

    def __init__(self, statement: Statement, columns: Iterable[str] | None = None) -> None:
        """`columns`: those that an insert or an update sets from the values given, where it does not say so itself."""
        self._statement = statement
        self._columns = None if columns is None else [*columns]
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """How many rows it concerned. Within a transaction that has begun.

        Raises: what `Connection.execute` raises; KeyError: a value is missing.
        """
        cursor = self._executed(connection, values)
        count = cursor.rowcount
        cursor.close()
        return count

    def first(self, connection: Connection, values: Mapping[str, Any]) -> "tuple[Any, ...] | None":
        """The first row it gives, as the driver gives it. Otherwise as `run`."""
        cursor = self._executed(connection, values)
        row = cursor.fetchone()
        # SQLite commits nothing while a statement has rows left.
        cursor.close()
        return row

    def all(self, connection: Connection, values: Mapping[str, Any]) -> "list[tuple[Any, ...]]":
        """Every row it gives, as the driver gives them. Otherwise as `run`."""
        cursor = self._executed(connection, values)
        rows = cursor.fetchall()
        cursor.close()
        return [*rows]

    def _executed(self, connection: Connection, values: Mapping[str, Any]) -> DBAPICursor:
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        text, parameters, by_place = compiled
        bound = [
            (values[name] if given else constant) if bind is None else bind(values[name] if given else constant)
            for name, given, constant, bind in parameters
        ]
        names = (name for name, *_ in parameters)
        return executed(connection, text, bound if by_place else dict(zip(names, bound, strict=True)))

    def _compile(self, dialect: Dialect) -> _Compiled:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        binds = {name: bind for bind, name in compiled.bind_names.items()}
        order = compiled.positiontup if compiled.positional and compiled.positiontup else list(binds)
        parameters = tuple(_parameter(name, binds[name], dialect) for name in order)
        return str(compiled), parameters, compiled.positional


def _parameter(name: str, bind: BindParameter[Any], dialect: Dialect) -> _Parameter:
    return name, bind.required, bind.value, bind.type.dialect_impl(dialect).bind_processor(dialect)


def executed(connection: Connection, text: str, parameters: "list[Any] | dict[str, Any] | None" = None) -> DBAPICursor:
    """A cursor of the driver that has executed the text. Raises: what `Connection.exec_driver_sql` raises."""
    dialect = connection.dialect
    try:
        cursor = connection.connection.cursor()
        if parameters is None:
            cursor.execute(text)
        else:
            cursor.execute(text, parameters)
    except dialect.loaded_dbapi.Error as error:
        gone = dialect.is_disconnect(error, connection.connection.dbapi_connection, None)
        if gone:
            connection.invalidate(error)
        raise DBAPIError.instance(
            text,
            None,
            error,
            dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=gone,
            dialect=dialect,
        ) from error
    return cursor


def commits_by_itself(connection: Connection) -> bool:
    """Whether something is gained by `one_statement`, where BEGIN and COMMIT would take a round trip each, and nothing
    lost: a connection the server has closed meanwhile is better found out by a BEGIN, which can be said again."""
    if connection.dialect.name != "postgresql":
        return False
    driver: Any = connection.connection.driver_connection
    if driver.closed:
        return False
    heard = select.poll()
    heard.register(driver.fileno(), select.POLLIN)
    return not heard.poll(0)


@contextmanager
def one_statement(connection: Connection) -> Generator[None]:
    """Within it a statement commits itself. Outside of any transaction."""
    driver: Any = connection.connection.driver_connection
    if driver.autocommit:
        yield
        return
    driver.autocommit = True
    try:
        yield
    finally:
        if not driver.closed:
            driver.autocommit = False
