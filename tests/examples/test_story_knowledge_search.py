"""A search whose goal checker names what is lacking: that becomes a task, and a new worker takes what nobody could."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from examples.stories.kit import Asked, Told, World
from examples.stories.knowledge_search.story import STORY


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("knowledge_search")


@pytest.fixture(scope="module")
def narrow(world: World) -> Told:
    return world.ask(STORY.asks[0])


@pytest.fixture(scope="module")
def wide(world: World, narrow: Told) -> Told:
    return world.ask(STORY.asks[1])


def received(world: World, agent: str, told: Told) -> list[Asked]:
    return [each for each in world.asked[agent] if each.message_id.startswith(told.run)]


def test_what_the_goal_checker_misses_becomes_a_task_for_whoever_takes_it(world: World, narrow: Told) -> None:
    decided = world.explained(narrow.run)["decisions"]
    assert [(each["what"], each["chosen"]) for each in decided] == [
        ("goal", "not reached"),
        ("reflection", ["owner", "history"]),
        ("goal", "not reached"),
    ]
    [asked] = received(world, "people", narrow)
    assert (asked.input["event"]["topic"], asked.input["table"]) == ("owner", "warehouse.sales")
    assert narrow.answer["findings"]["owner"] == {"table": "warehouse.sales", "name": "Mira"}


def test_what_a_worker_publishes_is_done_with_the_findings_of_all_at_hand(world: World, narrow: Told) -> None:
    first, second = received(world, "wiki", narrow)
    assert (first.input["event"]["topic"], second.input["event"]["topic"]) == ("request", "lineage")
    assert second.input["event"]["published_by"] == first.message_id
    assert second.known["finding.page"] == {"title": "Nightly report", "made_of": "warehouse.sales"}


def test_what_nobody_takes_is_named_and_the_rest_of_the_answer_stands(narrow: Told) -> None:
    assert not narrow.failed
    assert {*narrow.answer["findings"]} == {"page", "ticket", "source", "owner"}
    assert {gap["step"]: gap["reason"] for gap in narrow.gaps} == {
        "history": "nobody subscribes to history",
        "goal": "nobody said since when it is there",
    }


def test_one_worker_more_reaches_the_goal_and_the_others_notice_nothing(world: World, narrow: Told, wide: Told) -> None:
    assert (wide.gaps, wide.why["ended"]) == ([], "goal")
    assert wide.answer["findings"]["history"] == {"table": "warehouse.sales", "since": "2021-03"}
    for agent in ("wiki", "tickets", "people"):
        before, after = received(world, agent, narrow), received(world, agent, wide)
        assert [without_ids(each.input) for each in after] == [without_ids(each.input) for each in before]


def test_the_configurations_differ_by_the_worker_alone() -> None:
    workflows: dict[str, dict[str, Any]] = yaml.safe_load((STORY.folder / "gateway.yaml").read_text())["workflows"]
    narrow, wide = workflows["search"], workflows["wider-search"]
    assert {name for name in narrow if narrow[name] != wide[name]} == {"description", "agents"}
    assert wide["agents"] == [*narrow["agents"], "archive"]


def without_ids(input: Mapping[str, Any]) -> dict[str, Any]:
    """A step's input without what names the run."""
    return {**input, "event": {**input["event"], "published_by": ""}}
