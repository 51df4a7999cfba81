"""The PostgreSQL the tests run on is a real one, and theirs alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.postgres import PostgresServer

_HOLDER = """
import sys
from tests.postgres import running_postgres
with running_postgres() as server:
    print(server.url(), flush=True)
    sys.stdin.read()
"""


def test_each_database_is_empty_and_gone_after_its_block(postgres: PostgresServer) -> None:
    with postgres.database() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE there (n int)")
    with postgres.database() as other, psycopg.connect(other) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()

    assert found == (0,)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


def test_a_killed_test_process_leaves_no_server_behind() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert holder.stdout is not None
    url = holder.stdout.readline().decode().strip()
    with psycopg.connect(url, autocommit=True) as connection:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()

        with pytest.raises(psycopg.OperationalError):
            # Ends with the server; nothing else ends it sooner.
            connection.execute("SELECT pg_sleep(60)")
