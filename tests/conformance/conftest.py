"""What the conformance tests share: the everything server of either era, and a gateway before both."""

import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import IO

import pytest

from tests.e2e.gateways import ROOT, Gateway, free_port, until

KEY_OF = "ana"


@contextmanager
def everything(*arguments: str) -> Generator[str]:
    """The URL of an everything server of its own."""
    port = free_port()
    command = [sys.executable, "-m", "tests.conformance.everything", str(port), *arguments]
    with (
        tempfile.TemporaryFile() as said,  # a pipe that nobody empties would stop it some day
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=said) as process,
    ):
        try:
            until(lambda: _answers(process, port, said), lambda: "the everything server does not answer")
            yield f"http://localhost:{port}/mcp"
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            process.kill()


@pytest.fixture(scope="session")
def everything_url() -> Generator[str]:
    with everything() as url:
        yield url


@pytest.fixture(scope="session")
def legacy_url() -> Generator[str]:
    with everything("--legacy") as url:
        yield url


@pytest.fixture(scope="session")
def gateway(everything_url: str, legacy_url: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    configuration = {
        "servers": {"everything": {"url": everything_url}, "legacy": {"url": legacy_url}},
        "roles": {"all": {"allow": ["tool:*/*", "prompt:*/*", "resource:*/**"]}},
        "principals": {KEY_OF: {"roles": ["all"], "key": f"env:{KEY_OF.upper()}_KEY"}},
    }
    with Gateway(tmp_path_factory.mktemp("conformance"), configuration, environment={}) as gateway:
        yield gateway


def _answers(process: "subprocess.Popen[bytes]", port: int, said: IO[bytes]) -> bool:
    if process.poll() is not None:
        said.seek(0)
        raise AssertionError(f"the everything server ended: {said.read().decode()[-2000:]}")
    try:
        urllib.request.urlopen(f"http://localhost:{port}/nowhere", timeout=5)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
