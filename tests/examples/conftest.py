"""Stories, told for real: a world is started once a module, and the gateway's log is shown when something fails."""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import Any

import pytest

from examples.stories.__main__ import story_called
from examples.stories.kit import World, telling

TOLD = pytest.StashKey[list[World]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = str(__file__).removesuffix("conftest.py")
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="module")
def tell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Callable[[str], World]]:
    """The world of the story of that name; it lives as long as the module's tests."""
    worlds = request.session.stash.setdefault(TOLD, [])
    with ExitStack() as stack:

        def start(name: str) -> World:
            worlds.append(stack.enter_context(telling(story_called(name), tmp_path_factory.mktemp(name))))
            return worlds[-1]

        yield start
        worlds.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        for world in item.session.stash.setdefault(TOLD, []):
            report.sections.append((f"end of the log of the gateway at {world.url}", world.log_tail()))
    return report
