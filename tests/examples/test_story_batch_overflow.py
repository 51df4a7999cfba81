"""A batch with a slow stage: in each mode other documents give way, and each that does is named."""

from collections.abc import Callable

import pytest

from examples.stories.batch_overflow.story import DOCUMENTS, MODES, QUEUE, STORY, gave_way, read, table_of
from examples.stories.kit import Told, World

EVERY = [*range(1, len(DOCUMENTS) + 1)]


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("batch_overflow")


@pytest.fixture(scope="module")
def tolds(world: World) -> dict[str, Told]:
    return {ask.workflow: world.ask(ask) for ask in STORY.asks}


def test_a_stage_that_waits_loses_nothing(tolds: dict[str, Told]) -> None:
    told = tolds["block"]
    assert (read(told), gave_way(told)) == (EVERY, [])
    assert [each["value"]["said"] for each in told.answer["items"]][3:5] == [
        "Invoice 4 is small.",
        "Invoice 5 is large.",
    ]


@pytest.mark.parametrize("mode", ["drop-oldest", "drop-newest"])
def test_each_document_is_read_or_named_and_why_is_on_record(world: World, tolds: dict[str, Told], mode: str) -> None:
    told = tolds[mode]
    assert sorted([*read(told), *gave_way(told)]) == EVERY
    assert gave_way(told), "nothing gave way"
    overflow = mode.replace("-", "_")
    because = f"the queue before analyse was full: it holds {QUEUE} ({overflow})"
    assert {(gap["target"], gap["reason"]) for gap in told.gaps} == {("agent:analyse", because)}
    drops = [each for each in world.explained(told.run)["decisions"] if each["what"] == "drop"]
    assert sorted(each["chosen"] for each in drops) == gave_way(told)
    assert {(each["because"], each["detail"]["stage"]) for each in drops} == {(because, "analyse")}


def test_what_gave_way_was_never_given_to_the_slow_stage(world: World, tolds: dict[str, Told]) -> None:
    for mode, told in tolds.items():
        analysed = [each for each in world.asked["analyse"] if each.message_id.startswith(told.run)]
        assert [int(each.of("clean")["usd"]) // 10 for each in analysed] == read(told), mode


def test_the_oldest_give_way_to_the_newest_or_the_newest_to_those_that_wait(tolds: dict[str, Told]) -> None:
    assert read(tolds["drop-oldest"])[-QUEUE:] == EVERY[-QUEUE:]
    assert read(tolds["drop-newest"])[: QUEUE + 1] == EVERY[: QUEUE + 1]


def test_the_table_has_a_line_for_each_mode(tolds: dict[str, Told]) -> None:
    lines = table_of(MODES, [tolds[mode] for mode in MODES]).splitlines()
    assert [line.split()[0] for line in lines] == ["overflow", *MODES]
    assert lines[1].split() == ["block", *map(str, EVERY), "-"]
