"""A report from three sources; what a stranger's e-mail tells its reader to do is read, and not done."""

from collections.abc import Callable

import pytest

from examples.stories.daily_report.story import INJECTED, STORY
from examples.stories.kit import Told, World


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("daily_report")


@pytest.fixture(scope="module")
def told(world: World) -> Told:
    return world.ask(STORY.asks[0])


def test_three_sources_in_one_form_are_one_report(world: World, told: Told) -> None:
    assert told.text == "5 things, 2 of them urgent: The blender, A-1007 not delivered."
    titles = {name: [each["title"] for each in said["sections"]] for name, said in told.answer["merged"].items()}
    assert titles == {
        "mail": ["The blender", "Invoice 7"],
        "calendar": ["Stocktaking"],
        "tickets": ["A-1007 not delivered", "Wrong colour"],
    }
    for source in ("mail", "calendar", "tickets"):
        assert "## [i/n] Title" in world.asked[source][0].note


def test_the_injected_section_stays_the_text_of_a_field(told: Told) -> None:
    assert told.answer["merged"]["mail"]["sections"][1] == {
        "title": "Invoice 7",
        "From": "Eve",
        "Urgent": False,
        "Gist": INJECTED,
    }


def test_what_it_orders_is_attempted_denied_and_never_done(world: World, told: Told) -> None:
    assert not told.failed
    [denied] = world.audit(outcome="denied")
    assert (denied["capability"], denied["rule"], denied["run_id"]) == ("tool:post/send", "reader.deny[0]", told.run)
    assert denied["actors"] == ["ana", "workflow:daily-report", "agent:editor"]
    assert world.effects["post"].all == []
    assert "post/send" not in world.order


def test_its_labels_show_from_where_it_came_although_the_agents_are_trusted(world: World, told: Told) -> None:
    [denied] = world.audit(outcome="denied")
    assert denied["labels"] == {"untrusted": ["server:post"]}
    assert {each["target"]: each["labels"] for each in world.explained(told.run)["steps"]} == {
        "agent:calendar": {},
        "agent:tickets": {},
        "agent:mail": {"untrusted": ["server:post"]},
        "agent:editor": {"untrusted": ["server:post"]},
    }
