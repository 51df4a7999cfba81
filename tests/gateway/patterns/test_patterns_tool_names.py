"""Tools whose names say more than a step's may, `pages.search`, are workers like any others."""

from typing import Any

import pytest

from gateway.core.json import json_object
from gateway.core.model import Complete
from tests.crashes import Scene
from tests.fakes_orchestration import says, told

pytestmark = pytest.mark.anyio

TOOLS = ("wiki/pages.search", "wiki/pages_search", "wiki/pages search/2")
WORDS = ("one", "two", "three")
SETTINGS: dict[str, dict[str, Any]] = {
    "concurrent": {},
    "event_driven": {
        "event_driven": {"to_each": ["request"], "workers": {each: {"topics": ["request"]} for each in TOOLS}}
    },
    "router": {
        "router": {"rules": [{"tool": each, "keywords": [word]} for each, word in zip(TOOLS, WORDS, strict=True)]}
    },
    "supervisor": {"planner": {"rule": "each"}},
}


@pytest.mark.parametrize("pattern", SETTINGS)
async def test_a_tool_with_any_name_is_given_work(pattern: str) -> None:
    settings = {"pattern": pattern, "tools": [*TOOLS], **SETTINGS[pattern]}
    around = Scene(settings=settings, agents=lambda: {f"tool:{each}": says({"found": 1}) for each in TOOLS}).world()
    async with around.up():
        result = await around.ask("one, two and three")
    assert isinstance(result, Complete)
    assert not result.is_error, told(result)
    assert {asked.target for asked in around.agents.asked} == {f"tool:{each}" for each in TOOLS}
    assert json_object(told(result))["gaps"] == []
