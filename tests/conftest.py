"""What every test may use."""

import pytest

from tests.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables that tests made, whether they passed or not."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, table in getattr(report, "user_properties", ()):
                if name == "table" and report.when == "call":
                    terminalreporter.write_line(f"\n{table}")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
