"""A run goes on in a process whose sets are in another order, and its journal names the same steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio

from gateway.core.json import Json, JsonObject, json_list, json_object
from tests.crashes import Scene
from tests.fakes_orchestration import Answering, Asked, failing, says, told

ROOT = Path(__file__).resolve().parents[3]
WORKERS = ("red", "green", "blue", "white", "black")


async def fails(asked: Asked) -> Json:
    return failing("no")  # pyright: ignore[reportReturnType] - a result is an answer as well


def scenes() -> dict[str, Scene]:
    """Patterns that gather what several said, plan anew, or choose among many."""

    async def planner(asked: Asked) -> Json:
        if "failed" in asked.input:
            return {"steps": [{"id": "again", "agent": "white", "input": {"n": 1}}]}
        return {"steps": [{"id": each, "agent": each, "input": {"who": each}} for each in WORKERS]}

    async def critic(asked: Asked) -> Json:
        return {
            "reviews": [{"step": each, "verdict": "replan", "note": "no"} for each in json_list(asked.input["steps"])]
        }

    agents: dict[str, Answering] = {f"agent:{each}": says({"n": number}) for number, each in enumerate(WORKERS)}
    workers: list[Json] = [*WORKERS]
    settings: dict[str, JsonObject] = {
        "supervisor": {"planner": "chief", "agents": workers, "critic": "critic"},
        "concurrent": {"agents": workers, "concurrent": {"merge": "union"}, "synthesiser": "white"},
        "consensus": {"agents": workers, "consensus": {"rubric": {"near": {"rule": "near_median", "field": "n"}}}},
        "plan_execute": {"planner": "chief", "agents": workers, "plan_execute": {"tiers": [{"agent": "tier"}]}},
    }
    broken = {**agents, "agent:red": fails, "agent:blue": fails, "agent:chief": planner, "agent:critic": critic}
    limits: JsonObject = {"max_rounds": 3}
    return {
        name: Scene(settings={"pattern": name, **said, "limits": limits}, agents=lambda: broken)
        for name, said in settings.items()
    }


async def journals() -> dict[str, Json]:
    """What each run's journal has in its places: a digest of all that each step was asked."""
    found: dict[str, Json] = {}
    for name, scene in scenes().items():
        around = scene.world()
        async with around.up():
            answer = told(await around.ask("go"))
        [(run_id, entry)] = around.entries.items()
        said = sorted(json.dumps([each.target, each.input]).replace(run_id, "") for each in around.agents.asked)
        asked: list[Json] = [*said]
        # Names of steps carry a digest with the run's own id; what was asked is compared beside it.
        places: list[Json] = [entry.slots[number][0].partition("#")[0] for number in sorted(entry.slots)]
        found[name] = {"places": places, "asked": asked, "gaps": answer["gaps"]}
    return found


def test_what_a_run_asks_does_not_depend_on_the_order_of_sets() -> None:
    said: list[Json] = []
    for seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.gateway.patterns.test_patterns_seeds"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            timeout=120,
            check=True,
        )
        said.append(json.loads(done.stdout))
    assert said[0] == said[1]
    assert all(json_object(each)["places"] for each in json_object(said[0]).values())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(anyio.run(journals)))
