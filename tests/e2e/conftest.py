"""Real gateways for end-to-end tests: started once a module, stopped within a bound, their log shown on a failure."""

from collections.abc import Generator, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.e2e.gateways import Gateway

STARTED = pytest.StashKey[list[Gateway]]()


class Serve(Protocol):
    """Starts a gateway with this configuration; its port, and the keys of principals and agents, are seen to."""

    def __call__(self, configuration: Mapping[str, Any], **environment: str) -> Gateway: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = str(__file__).removesuffix("conftest.py")
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="module")
def serve(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Serve]:
    """Gateways that live as long as the module's tests."""
    started: list[Gateway] = request.session.stash.setdefault(STARTED, [])
    # Several may be started at the same moment, and the first to ask for a folder makes the one they are all in.
    tmp_path_factory.getbasetemp()
    with ExitStack() as stack:

        def start(configuration: Mapping[str, Any], **environment: str) -> Gateway:
            gateway = Gateway(tmp_path_factory.mktemp("gateway"), configuration, environment=environment)
            started.append(gateway)
            return stack.enter_context(gateway)

        yield start
    started.clear()


@pytest.fixture(scope="module")
def portal() -> Generator[BlockingPortal]:
    """An event loop of its own, for upstreams that outlive one test."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        for gateway in item.session.stash.setdefault(STARTED, []):
            report.sections.append((f"end of the log of the gateway at {gateway.url}", gateway.log_tail()))
    return report
