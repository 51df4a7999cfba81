"""Peers hand a request on until one answers it: by name, by what they can do, by bids; and never in circles."""

from typing import Any

import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, json_object
from gateway.core.labels import Labels
from gateway.core.limits import Budget
from gateway.core.model import Complete
from gateway.core.ports.orchestration import Gap
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.mesh.pattern import Mesh
from gateway.testing.agents import Agent, Asked, Reply, fails, hangs, in_turn, says, takes
from gateway.testing.rehearsal import Rehearsal, Stage, rehearse
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, World, answer, failing, told
from tests.fakes_orchestration import says as answers

pytestmark = pytest.mark.anyio


async def run(agents: dict[str, Agent], /, *, stage: dict[str, Any] | None = None, **settings: Any) -> Rehearsal:
    said: dict[str, Any] = {"pattern": "mesh", "agents": [*agents], **settings}
    mesh = Mesh(WorkflowSettings.model_validate(said).to_json())
    around: dict[str, Any] = {"agents": {f"agent:{slug}": agent for slug, agent in agents.items()}, **(stage or {})}
    return await rehearse(mesh, Stage(**around))


def hands(value: Json = None, *, confidence: float | None = None, **handoff: Json) -> Agent:
    reply = Reply(value=value, said={"handoff": handoff, "confidence": confidence})
    return lambda asked: reply


def bidding(score: float, then: Agent, **bid: Json) -> Agent:
    """Bids when it is asked to, and works when it is awarded."""

    def agent(asked: Asked) -> Reply:
        if json_object(asked.fields["mesh"]).get("bid"):
            return Reply(said={"bid": {"score": score, **bid}})
        return then(asked)

    return agent


def path(done: Rehearsal) -> Json:
    return done.outcome.why["path"]


async def test_a_request_is_handed_on_by_name_with_everything_found_out() -> None:
    done = await run(
        {
            "alerts": hands({"alert": "latency"}, to="database", input={"look": "locks"}, why="slow queries"),
            "database": says({"cause": "a lock"}, text="A lock on orders.", confidence=0.9),
        },
        mesh={"entry": "alerts", "peers": {"alerts": ["alerts"], "database": ["sql", "locks"]}},
        stage={"data": {"service": "orders"}},
    )
    alerts, database = done.asked
    assert alerts.fields == {
        "service": "orders",
        "mesh": {
            "peers": [{"agent": "database", "can": ["locks", "sql"]}],
            "hops_left": 5,
            "from": "",
            "why": "",
        },
    }
    assert database.fields["look"] == "locks"
    assert json_object(database.fields["mesh"])["from"] == "alerts"
    assert json_object(database.fields["mesh"])["why"] == "slow queries"
    assert json_object(database.fields["mesh"])["hops_left"] == 4
    assert database.results["1-alerts"].value == {"alert": "latency"}
    outcome = done.outcome
    assert (outcome.text, outcome.value, outcome.gaps) == ("A lock on orders.", {"cause": "a lock"}, ())
    assert outcome.confidence == 0.9
    assert path(done) == ["alerts", "database"]
    [handoff] = done.decisions("handoff")
    assert (handoff["chosen"], handoff["from"], handoff["why"]) == ("database", "alerts", "slow queries")


async def test_peers_are_found_by_the_skills_of_their_cards_unless_the_settings_say_what_they_can() -> None:
    done = await run(
        {"a": hands(capability="SQL"), "liar": says({"lied": True}), "b": says({"b": True})},
        mesh={"entry": "a", "peers": {"liar": ["poetry"]}},
        stage={"skills": {"agent:liar": frozenset({"sql"}), "agent:b": frozenset({"sql"})}},
    )
    assert done.outcome.value == {"b": True}
    assert [asked.target for asked in done.asked] == ["agent:a", "agent:b"]


async def test_a_request_goes_to_the_bid_that_is_worth_most_and_the_award_is_kept() -> None:
    done = await run(
        {
            "dear": bidding(0.9, says({"by": "dear"}), cost_usd=1.0, eta_s=10),
            "cheap": bidding(0.8, says({"by": "cheap"}), cost_usd=0.1, eta_s=10),
            "mute": says({"by": "mute"}),
            "down": fails(),
        },
    )
    assert done.outcome.value == {"by": "cheap"}
    [award] = done.decisions("award")
    assert award["chosen"] == "cheap"
    assert award["silent"] == ["mute", "down"]
    assert award["bids"] == [
        {"agent": "cheap", "score": 0.8, "cost_usd": 0.1, "eta_s": 10.0, "worth": 0.525},
        {"agent": "dear", "score": 0.9, "cost_usd": 1.0, "eta_s": 10.0, "worth": 0.4},
    ]
    assert {asked.phase for asked in done.asked if json_object(asked.fields["mesh"]).get("bid")} == {"propose"}


async def test_several_who_can_do_it_bid_and_whoever_is_late_does_not() -> None:
    late = takes(3, bidding(1.0, says({"by": "late"})))
    done = await run(
        {"a": hands(capability="sql"), "late": late, "b": bidding(0.2, says({"by": "b"})), "c": says({"by": "c"})},
        mesh={"entry": "a", "bid_timeout_s": 2, "peers": {"late": ["sql"], "b": ["sql"], "c": ["tea"]}},
    )
    assert done.outcome.value == {"by": "b"}
    assert done.took_s == 2
    assert "agent:c" not in {asked.target for asked in done.asked}


async def test_where_nobody_bids_the_first_in_order_gets_it() -> None:
    done = await run({"a": says({"by": "a"}), "b": says({"by": "b"})})
    assert done.outcome.value == {"by": "a"}
    assert done.decisions("award")[0]["because"] == "nobody bid, and it stands first"


async def test_a_request_may_be_broadcast_by_whoever_has_it() -> None:
    done = await run(
        {"a": hands(broadcast=True), "b": bidding(0.4, says({"by": "b"})), "c": bidding(0.6, says({"by": "c"}))},
        mesh={"entry": "a"},
    )
    assert done.outcome.value == {"by": "c"}
    assert path(done) == ["a", "c"]


async def test_after_five_hand_offs_the_best_answer_so_far_is_the_answer() -> None:
    agents = {
        f"p{number}": hands({"found": number}, confidence=0.8 if number == 3 else None, to=f"p{number + 1}")
        for number in range(7)
    }
    done = await run({**agents, "p7": says({"found": "never"})}, mesh={"entry": "p0"})
    assert path(done) == ["p0", "p1", "p2", "p3", "p4", "p5"]
    outcome = done.outcome
    assert outcome.value == {"found": 3}
    assert outcome.confidence == 0.8
    assert outcome.error == ""
    assert outcome.gaps == (
        Gap(step="hop-6", target="p6", error="skipped", reason="it was handed on 5 times, and may not again"),
    )
    assert outcome.why["stopped"] == "hops"
    assert outcome.text.endswith("This is the best answer so far: it was handed on 5 times, and may not again.")


@pytest.mark.parametrize("hops", [0, 1, 2])
async def test_the_hop_limit_is_the_settings(hops: int) -> None:
    agents = {f"p{number}": hands({"found": number}, to=f"p{number + 1}") for number in range(4)}
    done = await run({**agents, "p4": says({})}, mesh={"entry": "p0", "hops": hops})
    assert path(done) == [f"p{number}" for number in range(hops + 1)]
    assert done.outcome.why["hops"] == hops


async def test_a_request_that_comes_back_unchanged_is_not_asked_twice() -> None:
    done = await run(
        {"a": hands({"n": 1}, to="b"), "b": hands({"n": 2}, to="c"), "c": hands({"n": 3}, to="a")},
        mesh={"entry": "a"},
    )
    assert path(done) == ["a", "b", "c"]
    assert done.outcome.value == {"n": 3}
    assert done.outcome.why["stopped"] == "loop"
    [loop] = done.decisions("loop")
    assert (loop["chosen"], loop["because"]) == ("a", "a was asked the same before, as number 1")


async def test_a_circle_in_other_words_is_cut_too() -> None:
    def ping(asked: Asked) -> Reply:
        return Reply(value={}, said={"handoff": {"to": "b", "input": "Please check the locks in the database"}})

    def pong(asked: Asked) -> Reply:
        wordings = {
            "Please check the locks in the database": "who is blocking whom?",
            "check locks in the database, please": "something else",
        }
        return Reply(value={}, said={"handoff": {"to": "a", "input": wordings[str(asked.fields["instruction"])]}})

    def other(asked: Asked) -> Reply:
        first = "instruction" not in asked.fields
        wording = "Please check the locks in the database" if first else "check locks in the database, please"
        return Reply(value={"first": first}, said={"handoff": {"to": "b", "input": wording}})

    done = await run({"a": other, "b": pong}, mesh={"entry": "a"})
    assert path(done) == ["a", "b", "a"]
    assert done.decisions("loop")[0]["because"] == "b was asked the same before, as number 2" or str(
        done.decisions("loop")[0]["because"]
    ).startswith("b was asked nearly the same (")
    assert ping


async def test_ping_pong_about_something_new_each_time_is_cut_at_the_second_round_trip() -> None:
    words = iter(["apples", "bears", "clouds", "dunes", "eagles", "figs"])

    def asking(peer: str) -> Agent:
        return lambda asked: Reply(value={}, said={"handoff": {"to": peer, "input": {"about": next(words)}}})

    done = await run({"a": asking("b"), "b": asking("a")}, mesh={"entry": "a"})
    assert path(done) == ["a", "b", "a"]
    assert done.decisions("loop")[0]["because"] == "a and b have handed it to each other twice"


async def test_handing_back_with_something_new_to_do_is_no_circle() -> None:
    a = in_turn(hands({"n": 1}, to="b", input={"find": "owner"}), says({"n": 2}))
    done = await run({"a": a, "b": hands({"owner": "Eve"}, to="a", input={"tell": "Eve"})}, mesh={"entry": "a"})
    assert path(done) == ["a", "b", "a"]
    assert done.outcome.value == {"n": 2}
    assert done.decisions("loop") == []


async def test_who_hands_on_to_nobody_is_told_once_who_there_is() -> None:
    a = in_turn(hands(to="ghost"), hands(capability="sql"))
    done = await run({"a": a, "b": says({"by": "b"})}, mesh={"entry": "a", "peers": {"b": ["sql"]}})
    assert done.outcome.value == {"by": "b"}
    assert done.asked[1].note == "there is no peer ghost to hand on to; there is b"
    assert done.asked[1].step_id == done.asked[0].step_id


@pytest.mark.parametrize(
    "handoff", ["b", {}, {"to": "b", "capability": "sql"}, {"to": "b", "input": 3}, {"capability": "x" * 101}]
)
async def test_a_hand_off_that_is_none_ends_with_what_there_is(handoff: Json) -> None:
    done = await run({"a": says({"n": 1}, handoff=handoff), "b": says({})}, mesh={"entry": "a"})
    assert done.outcome.value == {"n": 1}
    assert done.outcome.why["stopped"] == "handoff"
    assert len(done.asked) == 2


async def test_a_peer_that_fails_is_tried_again_and_then_the_others_bid() -> None:
    done = await run(
        {"a": hands({}, to="b"), "b": fails("no"), "c": bidding(0.5, says({"by": "c"}))}, mesh={"entry": "a"}
    )
    assert done.outcome.value == {"by": "c"}
    assert done.outcome.gaps == ()
    assert done.outcome.notices == ("b could not be had: no",)
    assert [asked.note for asked in done.asked_of("agent:b")] == [
        "",
        "The last attempt did not succeed: no. Try another way.",
    ]


async def test_a_stand_in_takes_over_and_the_answer_says_so() -> None:
    done = await run(
        {"a": fails(), "b": says({"by": "b"})}, mesh={"entry": "a"}, fallback={"a": {"agent": "b", "notice": "smaller"}}
    )
    assert done.outcome.value == {"by": "b"}
    assert done.outcome.notices == ("smaller",)


async def test_where_everybody_fails_the_run_does() -> None:
    done = await run({"a": fails("x"), "b": fails("y")}, mesh={"entry": "a"})
    assert done.outcome.error == "nobody answered"
    assert [(gap.target, gap.reason) for gap in done.outcome.gaps if gap.error == "failed"] == [
        ("agent:a", "x"),
        ("agent:b", "y"),
    ]


async def test_a_failure_fails_the_run_where_the_limits_say_so() -> None:
    done = await run(
        {"a": hands({"n": 1}, to="b"), "b": fails("no"), "c": says({})},
        mesh={"entry": "a"},
        limits={"on_failure": "fail"},
    )
    assert done.outcome.error == "b failed: no"
    assert done.outcome.value == {"n": 1}


@pytest.mark.parametrize(("said", "value"), [("retry", {"by": "b"}), ("skip", {"n": 1}), ("fail", {"n": 1})])
async def test_the_caller_may_be_asked_what_to_do(said: str, value: Json) -> None:
    done = await run(
        {"a": hands({"n": 1}, to="b"), "b": in_turn(fails("no"), says({"by": "b"}))},
        mesh={"entry": "a"},
        limits={"on_failure": "ask", "max_rounds": 1},
        stage={"answers": [said]},
    )
    assert done.outcome.value == value
    assert bool(done.outcome.error) is (said == "fail")
    [question] = done.questions
    assert question.prompt == "b failed (no). Answer retry, skip or fail."


async def test_at_the_deadline_the_best_answer_so_far_is_the_answer() -> None:
    done = await run(
        {"a": takes(4, hands({"n": 1}, to="b")), "b": hangs()},
        mesh={"entry": "a"},
        stage={"budget": Budget(deadline_s=10.0)},
    )
    assert done.took_s == 10
    assert done.outcome.value == {"n": 1}
    assert [(gap.step, gap.error) for gap in done.outcome.gaps] == [("2-b", "deadline")]
    assert done.outcome.why["stopped"] == "deadline"


async def test_the_scratchpad_is_open_to_everybody_who_may_read_it() -> None:
    a = says({}, writes={"host": "db-1", "secret": "x"}, handoff={"to": "b"})
    done = await run(
        {"a": a, "b": says({}, writes={"host": "db-2"})},
        mesh={"entry": "a"},
        scratchpad={"secret": {"readers": ["a"]}},
    )
    assert {key: entry.value for key, entry in done.asked[1].scratchpad.items()} == {"host": "db-1"}
    assert done.scratchpad == {"host": "db-2", "secret": "x"}


async def test_a_synthesiser_words_the_answer() -> None:
    done = await run({"a": hands({"n": 1}, to="b"), "b": says({"n": 2})}, mesh={"entry": "a"}, synthesiser="b")
    assert done.asked[-1].results.keys() == {"1-a", "2-b"}


async def test_what_an_agent_hands_on_is_labelled_as_its_own() -> None:
    tainted = Labels(untrusted=frozenset({"agent:a"}))
    first = Reply(value={}, labels=tainted, said={"handoff": {"to": "b", "input": {"x": 1}}})
    workflow = WorkflowSettings.model_validate({"pattern": "mesh", "agents": ["a", "b"], "mesh": {"entry": "a"}})

    async def a(asked: object) -> Complete:
        return answer({"drawbridge": {"handoff": {"to": "b", "input": {"x": 1}}}}, labels=first.labels)

    around = World(patterns={"mesh": Mesh}, workflows={"help": workflow})
    around.agents.answers |= {"agent:a": a, "agent:b": answers({})}
    async with around.up():
        await around.ask()
    [asked] = around.agents.asked_of("agent:b")
    assert asked.request.labels == tainted


async def test_a_peer_may_be_another_workflow() -> None:
    inner = {"pattern": "sequential", "stages": [{"agent": "c"}]}
    outer = {
        "pattern": "mesh",
        "agents": ["a"],
        "workflows": ["inner"],
        "mesh": {"entry": "a", "peers": {"inner": ["x"]}},
        "limits": {"max_depth": 3},
    }
    scene = Scene(
        settings=outer,
        others={"inner": inner},
        agents=lambda: {"agent:a": answers({}, handoff={"capability": "x"}), "agent:c": answers({"c": 1})},
    )
    around = scene.world()
    async with around.up():
        result = told(await around.ask())
    assert json_object(result["answer"])["answer"] == {"c": 1}


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"agents": ["a"]}, "agents"),
        ({"mesh": {"entry": "ghost"}}, "mesh"),
        ({"mesh": {"peers": {"ghost": ["x"]}}}, "mesh"),
        ({"limits": {"calls": 2}}, "limits"),
        ({"limits": {"deadline_s": 10}}, "limits"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], setting: str) -> None:
    said: dict[str, Any] = {"pattern": "mesh", "agents": ["a", "b"], **settings}
    with pytest.raises(InvalidRequest) as caught:
        Mesh(WorkflowSettings.model_validate(said).to_json())
    assert caught.value.detail["setting"] == setting


def _works(value: Json, score: float, **said: Json) -> Answering:
    """Bids when it is asked to, and works when it is awarded."""

    async def agent(asked: Any) -> Json:
        if json_object(asked.input["mesh"]).get("bid"):
            return {"drawbridge": {"bid": {"score": score}}}
        return {**json_object(value), "drawbridge": {**said}}

    return agent


async def _failing(asked: Any) -> Complete:
    return failing("no")


SCENE = Scene(
    settings={
        "pattern": "mesh",
        "agents": ["alerts", "database", "network", "broken"],
        "mesh": {"peers": {"database": ["sql"], "network": ["dns"], "broken": ["dns"]}},
    },
    agents=lambda: {
        "agent:alerts": _works(
            {"a": 1}, 0.9, handoff={"capability": "sql", "input": {"look": "locks"}}, writes={"k": 1}
        ),
        "agent:database": _works({"d": 0}, 0.1, handoff={"to": "broken", "input": {"look": "names"}}),
        "agent:broken": _failing,
        "agent:network": _works(
            {"n": "slow"}, 0.6, handoff={"to": "alerts", "input": {"look": "name"}}, confidence=0.4
        ),
    },
)


async def test_the_scene_goes_through_bids_a_failure_and_a_circle() -> None:
    around = SCENE.world()
    async with around.up():
        result = told(await around.ask())
    assert json_object(result["why"])["path"] == ["alerts", "database", "broken", "alerts"]
    assert json_object(result["why"])["stopped"] == "loop"
    assert result["answer"] == {"a": 1}


@pytest.mark.parametrize("where", INSTANTS)
async def test_a_mesh_survives_every_crash(where: Instant) -> None:
    await outlives_crashes(SCENE, where)


async def test_a_confidence_beyond_all_numbers_is_certainty() -> None:
    done = await run({"a": says({"found": 1}, confidence=10**400), "b": fails()}, mesh={"entry": "a"})
    assert (done.outcome.value, done.outcome.confidence) == ({"found": 1}, 1.0)
