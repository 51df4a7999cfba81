"""What became of a fault on purpose, read off records and runs."""

from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.spread import SHOWN_AT_MOST, Spread

LIE: JsonObject = {"untrusted": ["chaos:c1", "server:web"]}


def record(
    seq: int, capability: str, *, fault: str = "", labels: "JsonObject | None" = None, **more: Json
) -> JsonObject:
    struck: list[Json] = [{"id": "c0", "fault": "kill"}, {"id": "c1", "fault": fault}]
    said_too: JsonObject = {"chaos": struck} if fault else {}
    detail: JsonObject = {**json_object(more.pop("detail", {})), **said_too}
    said: JsonObject = {"seq": seq, "id": f"r{seq}", "phase": "outcome", "capability": capability, "outcome": "ok"}
    return {**said, "labels": labels or {}, "detail": detail, **more}


def run(*steps: JsonObject, labels: "JsonObject | None" = None, decisions: "list[Json] | None" = None) -> JsonObject:
    about: JsonObject = {"id": "run_1", "workflow": "desk", "state": "completed", "labels": labels or {}}
    return {"run": about, "steps": [*steps], "decisions": decisions or []}


def step(name: str, state: str = "ok", **more: Json) -> JsonObject:
    return {"step": f"run_1/2/{name}", "target": f"agent:{name}", "state": state, "reason": "", "labels": {}, **more}


def report(*records: JsonObject, runs: "list[JsonObject] | None" = None) -> JsonObject:
    spread = Spread(injection="c1")
    spread.add(records)
    return spread.to_json(runs or [])


def rows(said: JsonObject, name: str, *fields: str) -> list[tuple[Json, ...]]:
    return [tuple(json_object(each).get(field) for field in fields) for each in json_list(said[name])]


def test_calls_it_struck_and_calls_it_reached_are_told_apart_each_once_and_in_order() -> None:
    lie = record(1, "agent:a", fault="empty", labels=LIE, run_id="run_1", step_id="run_1/2/a")
    told = record(2, "agent:b", labels=LIE, run_id="run_1", step_id="run_1/3/b", subject="workflow:desk")
    intent: JsonObject = {**told, "phase": "intent"}
    other = record(3, "agent:c", labels={"untrusted": ["chaos:c12"]})
    said = report(lie, lie, intent, told, other)
    assert rows(said, "struck", "record", "call") == [("r1", "agent:a")]
    assert rows(said, "reached", "record", "call", "by") == [("r2", "agent:b", "workflow:desk")]
    assert said["faults"] == ["empty"]
    assert json_object(said["far"])["targets"] == ["agent:b"]
    assert json_object(said["far"])["runs"] == 1


def test_a_policy_a_breaker_and_an_earlier_answer_stop_it() -> None:
    said = report(
        record(1, "tool:pay/out", labels=LIE, outcome="denied", policy="access", rule="no-untrusted", reason="tainted"),
        record(2, "agent:a", fault="kill", outcome="error", detail={"breaker": "opened"}),
        record(3, "agent:a", fault="kill", detail={"cached": True, "reason": "it died"}),
    )
    assert rows(said, "stopped", "how", "by", "because", "record") == [
        ("denied", "access no-untrusted", "tainted", "r1"),
        ("breaker", "the breaker", "it failed again and again, and is left alone for a while", "r2"),
        ("cached", "an earlier answer", "it died", "r3"),
    ]


def test_a_contract_and_decisions_about_the_step_stop_it_in_a_run() -> None:
    lie = record(1, "agent:a", fault="wrong_schema", run_id="run_1", step_id="run_1/2/a")
    decisions: list[Json] = [
        {"what": "retry", "chosen": ["a"], "because": "no id"},
        {"what": "unresolved", "chosen": "fail", "because": "nobody knows B9", "detail": {"step": "b"}},
        {"what": "retry", "chosen": ["c"], "because": "of something else"},
        {"what": "plan", "chosen": ["a", "b"], "because": "planned"},
    ]
    steps = (step("a", "schema", reason="no id"), step("b", labels=LIE), step("c", "failed"))
    said = report(lie, runs=[run(*steps, decisions=decisions)])
    assert rows(said, "stopped", "how", "by", "step") == [
        ("schema", "the contract of its answer", "run_1/2/a"),
        ("retry", "a decision of the run", None),
        ("unresolved", "a decision of the run", None),
    ]


def test_where_it_came_out_is_said_of_runs_and_of_callers() -> None:
    free = run(step("a"))
    carrying = run(step("a"), labels=LIE)
    alone = record(4, "agent:a", fault="falsehood=a=>b", labels=LIE, subject="ana")
    said = report(alone, runs=[free, carrying])
    assert rows(said, "runs", "workflow", "carries") == [("desk", False), ("desk", True)]
    assert rows(said, "callers", "call", "by") == [("agent:a", "ana")]
    assert json_object(said["far"])["struck"] == 1


def test_all_is_counted_and_no_more_is_shown_than_can_be_kept() -> None:
    spread = Spread(injection="c1")
    more = SHOWN_AT_MOST + 7
    for first in range(0, 2 * more, 100):
        numbers = range(first, min(first + 100, 2 * more))
        spread.add(
            record(seq, "agent:a", fault="kill" if seq < more else "", labels=LIE, run_id=f"run_{seq % 30}")
            for seq in numbers
        )
    said = spread.to_json([run(step("a"))])
    assert json_object(said["far"]) == {
        "struck": more,
        "calls": more,
        "targets": ["agent:a"],
        "runs": 30,
        "runs_left_out": 29,
        "left_out": 14,
    }
    assert [len(json_list(said[name])) for name in ("struck", "reached")] == [SHOWN_AT_MOST, SHOWN_AT_MOST]


def test_of_what_struck_nothing_there_is_nothing_to_say() -> None:
    said = report(record(1, "agent:a"), record(2, "chaos.add", detail={"id": "c1"}))
    assert [said[name] for name in ("faults", "struck", "reached", "stopped", "runs", "callers")] == [[]] * 6
