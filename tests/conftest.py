"""What every test may use."""

import gc
from collections.abc import Generator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]


def pytest_configure() -> None:
    """Have property tests take their time, and try the same examples whenever they are run.

    As in Hypothesis's own profile for continuous integration: an example that takes 200 ms on a busy machine says
    nothing of the product, and what failed can be tried again. `--hypothesis-profile=roaming` looks for others, and for
    twenty times as many.
    """
    patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("steady", patient, derandomize=True, database=None, max_examples=50)
    settings.register_profile("roaming", patient, derandomize=False, max_examples=1000)
    settings.load_profile("steady")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while all is imported, a third of that time, nor later among what stays to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_runtest_teardown() -> None:
    """A command that was run in a test has its log written to what stood for stderr then, and is closed by now."""
    structlog.reset_defaults()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables that tests made, whether they passed or not."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, table in getattr(report, "user_properties", ()):
                if name == "table" and report.when == "call":
                    terminalreporter.write_line(f"\n{table}")


_FIRST = ("e2e", "conformance", "examples", "contracts", "gateway/orchestration", ".")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that start processes come first: the longest must not be left for one worker alone at the end."""
    rank = {config.rootpath / "tests" / folder: number for number, folder in enumerate(_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.parent, len(rank)))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
