"""Pytest's part of the example."""

import sys
from pathlib import Path

import pytest

# So that the tests run without the package being installed.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
