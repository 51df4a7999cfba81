"""The story of `make demo`, for real: told as it should be, with the gateway killed in it, with an agent missing."""

import json
import shutil
import sqlite3
import urllib.request
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from examples.support import demo
from examples.support.world import World, make_world

EFFECTS = {
    "refunds": [("A-1007", 69.9), ("A-1008", 69.9)],
    "shipments": [("A-1007", "BL-300", "overnight"), ("A-1008", "BL-300", "overnight")],
    "call-backs": [
        ("2026-11-22", "09:00", "A-1007 arrived broken; Blender 300 sent instead; 69.90 refunded"),
        ("2026-11-22", "10:30", "A-1008 arrived broken; Blender 300 sent instead; 69.90 refunded"),
    ],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How the story ended."""

    answers: dict[str, str]
    ended_well: bool
    effects: dict[str, list[tuple[object, ...]]]
    runs: list[dict[str, Any]]
    denied: list[dict[str, Any]]
    printed: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    """Servers and agents, which live through all the stories; each story has a gateway of its own."""
    with ExitStack() as stack:
        world = make_world(tmp_path_factory.mktemp("world"), stack)
        # A run's time goes on while its gateway is away, which a busy machine takes long to bring back.
        said = world.config.read_text()
        assert "deadline_s: 60," in said
        world.config.write_text(said.replace("deadline_s: 60,", "deadline_s: 170,"))
        world.start_neighbours()
        yield world


def told(world: World, *, crash: bool = False, failing: str = "") -> Told:
    """Tell it on a new gateway, in a world where nothing has happened yet."""
    _forget(world)
    world.start_gateway()
    try:
        with demo.console.capture() as printed:
            answers = anyio.run(demo.story, world, crash)
            ended_well = demo.epilogue(world, failing=failing)
        runs = reversed(_asked(world, "/runs")["runs"])
        return Told(
            answers=answers,
            ended_well=ended_well,
            effects=world.effects(),
            runs=[_asked(world, f"/runs/{run['id']}")["run"] for run in runs],
            denied=_asked(world, "/audit?outcome=denied")["records"],
            printed=printed.get(),
        )
    except Exception as error:
        error.add_note((world.folder / "gateway.log").read_text(errors="replace")[-4000:])
        raise
    finally:
        world.stop("gateway")


def _forget(world: World) -> None:
    shutil.rmtree(world.folder / ".drawbridge", ignore_errors=True)
    for file, tables in (("shop.db", ("refunds", "shipments")), ("calendar.db", ("callbacks",))):
        if (world.folder / file).exists():
            with closing(sqlite3.connect(world.folder / file)) as connection, connection:
                for table in tables:
                    connection.execute(f"DELETE FROM {table}")


def _asked(world: World, path: str) -> dict[str, Any]:
    key = (world.folder / ".drawbridge" / "keys" / "operator.key").read_text().strip()
    request = urllib.request.Request(f"{world.url}/api/v1{path}", headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        said: dict[str, Any] = json.load(answer)
    return said


@pytest.fixture(scope="module")
def plain(world: World) -> Told:
    return told(world)


def test_both_customers_get_an_answer_and_every_effect_happens_once(plain: Told) -> None:
    assert plain.effects == EFFECTS
    assert plain.ended_well
    for order, answer in plain.answers.items():
        assert f"refund: Refunded 69.90 for {order}." in answer
        assert "replace: Shipped Blender 300 overnight." in answer
        assert f"{order} arrived broken; Blender 300 sent instead; 69.90 refunded." in answer
    assert "every effect happened exactly once" in plain.printed


def test_conflicts_are_found_while_agents_only_propose(plain: Told) -> None:
    assert [run["state"] for run in plain.runs] == ["completed", "completed"]
    for run in plain.runs:
        tried = {(step["target"], step["phase"]): step["attempt"] for step in run["steps"] if step["attempt"] > 1}
        assert ("agent:refunds", "propose") in tried, run["steps"]
        assert not [key for key in tried if key[1] == "commit"]


def test_the_overeager_agent_is_refused_by_its_rule_on_whose_behalf_it_acted(plain: Told) -> None:
    seen = [(each["capability"], each["rule"], each["actors"]) for each in plain.denied]
    chain = ["ana", "workflow:help", "agent:scheduling"]
    assert seen == [("tool:orders/refund", "scheduling.deny[0]", chain)] * 2
    assert [each["run_id"] for each in plain.denied] == [run["id"] for run in plain.runs]


def test_a_gateway_killed_in_the_middle_of_each_run_changes_no_effect_and_no_answer(world: World, plain: Told) -> None:
    crashed = told(world, crash=True)
    assert crashed.printed.count("kill -9") == 2
    assert crashed.effects == EFFECTS
    assert crashed.answers == plain.answers
    assert crashed.ended_well
    assert [run["state"] for run in crashed.runs] == ["completed", "completed"]
    assert {each["rule"] for each in crashed.denied} == {"scheduling.deny[0]"}


@pytest.fixture(scope="module")
def partial(world: World, plain: Told) -> Told:
    world.stop("scheduling")
    return told(world, failing="scheduling")


def test_without_an_agent_the_answer_is_a_partial_success_that_names_the_gap(partial: Told) -> None:
    assert partial.effects == {**EFFECTS, "call-backs": []}
    for order, answer in partial.answers.items():
        assert f"refund: Refunded 69.90 for {order}." in answer
        assert "callback" in answer
        assert "scheduling" in answer
    assert [run["state"] for run in partial.runs] == ["completed", "completed"]
