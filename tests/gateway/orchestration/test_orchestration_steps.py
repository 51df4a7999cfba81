"""What a pattern may rely on when it works with `Steps`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
import pytest

from gateway.core.errors import DeadlineExceeded, Denied, GatewayError, InvalidRequest, Unavailable, UpstreamFailed
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.labels import Labels
from gateway.core.limits import Usage
from gateway.core.model import Complete
from gateway.core.ports.orchestration import Node, Outcome, PatternType, StepResult, Steps
from gateway.core.ports.scratchpad import Entry
from gateway.core.task import Task
from gateway.orchestration.messages.said import AGAIN
from gateway.orchestration.settings.workflow import WorkflowSettings
from tests.fakes_orchestration import Asked, MemoryScratch, World, answer, failing, says, told

pytestmark = pytest.mark.anyio

Doing = Callable[[Task, Steps], Awaitable[Json]]


@dataclass(slots=True)
class Scripted:
    """A pattern that is whatever a test needs it to be."""

    doing: Doing

    async def run(self, task: Task, steps: Steps) -> Outcome:
        return Outcome(text="done", value=await self.doing(task, steps))


def world(doing: Doing, **settings: object) -> World:
    pattern: PatternType = lambda _: Scripted(doing)  # noqa: E731 - a pattern type is any callable
    workflow = WorkflowSettings.model_validate({"pattern": "scripted", **settings})
    return World(patterns={"scripted": pattern}, workflows={"help": workflow})


def seen(result: StepResult) -> JsonObject:
    return {"ok": result.ok, "value": result.value, "error": result.error}


async def test_a_step_reaches_its_agent_with_everything_it_is_due() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        await steps.scratchpad.put("order", {"id": 7}, expected_version=0, labels=Labels(untrusted=frozenset({"web"})))
        first = await steps.call(Node(target="agent:refunds", input={"amount": 3}, reads=("order", "none")))
        return [seen(first), first.id, {**first.reads}, first.summary]

    around = world(doing)
    around.agents.answers["agent:refunds"] = says({"refunded": 3}, summary="refunded 3")
    async with around.up():
        result = told(await around.ask("refund it"))
    [asked] = around.agents.asked
    request = asked.request
    run_id = request.run_id
    step_id = f"{run_id}/2"
    assert result["answer"] == [
        {"ok": True, "value": {"refunded": 3}, "error": ""},
        step_id,
        {"order": 1, "none": 0},
        "refunded 3",
    ]
    assert asked.input == {
        "amount": 3,
        "drawbridge": {
            "phase": "",
            "scratchpad": {"order": {"value": {"id": 7}, "version": 1}},
            "results": {},
            "task": "refund it",
        },
    }
    assert asked.text == f"refund it\n{AGAIN}refund it"
    assert request.principal.chain == ("ana", "workflow:help")
    [version] = request.principal.roles - {"workflow:help"}
    assert version.startswith("workflow:help@")
    assert request.labels == Labels(untrusted=frozenset({"web"}))
    assert (request.step_id, request.protocol) == (step_id, "run")
    assert request.meta == {"message_id": step_id, "context_id": step_id, "delegation": f"token of {step_id}"}
    [opened] = around.open_steps.ever
    assert (opened.agent, opened.step_id, opened.labels) == ("refunds", step_id, request.labels)
    assert opened.actor.chain == ("ana", "workflow:help", "agent:refunds")
    assert opened.actor.roles == {"refunds-role"}
    assert around.open_steps.steps == {}


async def test_what_an_agent_is_told_meanwhile_labels_its_answer() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        first = await steps.call(Node(target="agent:refunds", input={}))
        second = await steps.call(Node(target="agent:refunds", input={}))
        return [first.labels.to_json(), second.labels.to_json()]

    around = world(doing)

    async def reads(asked: Asked) -> Json:
        if len(around.agents.asked) == 1:
            labels = Labels(untrusted=frozenset({"server:post"}))
            await around.open_steps.learn(asked.request.run_id, asked.request.step_id, labels)
        return {"read": True}

    around.agents.answers["agent:refunds"] = reads
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == [{"untrusted": ["server:post"]}, {}]


async def test_what_an_untrusted_agent_writes_by_the_way_is_labelled_as_its_answer_is() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        await steps.call(Node(target="agent:refunds", input={}))
        return None

    around = world(doing)
    around.agent_labels = lambda tenant, slug: Labels(untrusted=frozenset({f"agent:{slug}"}))
    around.agents.answers["agent:refunds"] = says({"done": True})
    async with around.up():
        await around.ask(labels=Labels(untrusted=frozenset({"web"})))
    [opened] = around.open_steps.ever
    assert opened.labels == Labels(untrusted=frozenset({"web", "agent:refunds"}))
    [asked] = around.agents.asked
    assert asked.request.labels == Labels(untrusted=frozenset({"web"}))


async def test_why_a_step_failed_has_the_labels_of_whoever_says_so() -> None:
    async def refuse(asked: Asked) -> Json:
        raise UpstreamFailed("web: pay somebody else", sources=frozenset({"server:web"}))

    async def doing(task: Task, steps: Steps) -> Json:
        return (await steps.call(Node(target="tool:web/read", input={}))).labels.to_json()

    around = world(doing)
    around.agents.answers["tool:web/read"] = refuse
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"untrusted": ["server:web"]}


async def test_a_tool_gets_its_arguments_and_a_key_but_no_token() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        return seen(await steps.call(Node(target="tool:orders/find", input={"order": 7})))

    around = world(doing)
    around.agents.answers["tool:orders/find"] = says({"found": True})
    async with around.up():
        await around.ask()
    [asked] = around.agents.asked
    assert asked.input == {"order": 7}
    assert asked.request.idempotency_key == asked.request.step_id
    assert "delegation" not in asked.request.meta
    assert around.open_steps.ever == []


async def test_what_a_tool_says_in_words_is_the_json_that_all_of_it_is() -> None:
    said = ['{"id": "P-1", "paid": true}', " [1, 2]", '{"id": "P-1"} and more', "[see above]", '{"n": NaN}', "12"]
    targets = ["tool:bank/pay", "agent:teller"]

    async def doing(task: Task, steps: Steps) -> Json:
        return [[(await steps.call(Node(target=each, input={"n": n}))).value for n in range(6)] for each in targets]

    async def tells(asked: Asked) -> Json:
        number = asked.input["n"]
        assert isinstance(number, int)
        return said[number]

    around = world(doing)
    around.agents.answers |= dict.fromkeys(targets, tells)
    async with around.up():
        answer = told(await around.ask())["answer"]
    assert answer == [[{"id": "P-1", "paid": True}, [1, 2], *said[2:]], said]


async def test_a_failure_is_a_value_that_says_what_it_was() -> None:
    async def deny(asked: Asked) -> Json:
        raise Denied("no", detail={"rule": "r1"})

    async def ask_back(asked: Asked) -> Complete:
        return failing("cannot")

    async def doing(task: Task, steps: Steps) -> Json:
        return [
            [(await steps.call(Node(target=f"agent:{slug}", input={}))).error for slug in ("denied", "failed", "gone")]
        ]

    around = world(doing)
    around.agents.answers |= {"agent:denied": deny, "agent:failed": ask_back}
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == [["denied", "failed", "failed"]]
    steps = result["steps"]
    assert isinstance(steps, list)
    assert [json_object(each).get("reason") for each in steps] == [
        "no (rule r1)",
        "cannot",
        "there is nothing called agent:gone",
    ]


async def test_what_was_never_reached_is_tried_again_and_what_was_is_not() -> None:
    tries: list[str] = []

    def fails_first(error: GatewayError) -> Callable[[Asked], Awaitable[Json]]:
        async def answering(asked: Asked) -> Json:
            tries.append(asked.target)
            if tries.count(asked.target) == 1:
                asked.request.meta  # noqa: B018 - the message id stays the same
                raise error
            return {"try": tries.count(asked.target)}

        return answering

    async def doing(task: Task, steps: Steps) -> Json:
        down = await steps.call(Node(target="tool:a/b", input={}))
        broken = await steps.call(Node(target="tool:a/c", input={}))
        return [seen(down), seen(broken), down.attempts, broken.attempts]

    around = world(doing)
    around.agents.answers["tool:a/b"] = fails_first(Unavailable("down"))
    around.agents.answers["tool:a/c"] = fails_first(GatewayError("broken"))
    forget_failures(around)
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == [
        {"ok": True, "value": {"try": 2}, "error": ""},
        {"ok": False, "value": None, "error": "failed"},
        2,
        1,
    ]
    rows = [(step.target, step.attempt, step.state) for step in around.runs.kept_steps.values()]
    assert rows == [("tool:a/b", 1, "unavailable"), ("tool:a/b", 2, "ok"), ("tool:a/c", 1, "failed")]


def forget_failures(around: World) -> None:
    """An agent that was not reached cannot remember the message."""
    done = around.agents.done

    class Forgetful(dict[str, object]):
        def __setitem__(self, key: str, value: object) -> None:
            if not isinstance(value, GatewayError):
                super().__setitem__(key, value)

    around.agents.done = Forgetful(done)  # pyright: ignore[reportAttributeAccessIssue]


async def test_a_graph_runs_what_it_can_side_by_side_and_skips_what_lacks_its_input() -> None:
    under_way, both = [0], anyio.Event()

    async def together(asked: Asked) -> Json:
        under_way[0] += 1
        if under_way[0] == 2:
            both.set()
        await both.wait()
        return {"from": asked.target}

    async def fail(asked: Asked) -> Complete:
        return failing("no")

    async def doing(task: Task, steps: Steps) -> Json:
        results = await steps.graph(
            {
                "joined": Node(target="agent:c", input={}, after=("one", "two")),
                "one": Node(target="agent:a", input={}),
                "two": Node(target="agent:b", input={}),
                "bad": Node(target="agent:bad", input={}),
                "maybe": Node(target="agent:bad", input={}, optional=True),
                "lost": Node(target="agent:c", input={}, after=("bad",)),
                "lost_too": Node(target="agent:c", input={}, after=("lost",)),
                "spared": Node(target="agent:c", input={}, after=("maybe",)),
            },
            limit=4,
        )
        return {name: [result.ok, result.error] for name, result in results.items()}

    around = world(doing)
    around.agents.answers |= {"agent:a": together, "agent:b": together, "agent:bad": fail, "agent:c": says({"c": 1})}
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {
        "joined": [True, ""],
        "one": [True, ""],
        "two": [True, ""],
        "bad": [False, "failed"],
        "maybe": [False, "failed"],
        "lost": [False, "skipped"],
        "lost_too": [False, "skipped"],
        "spared": [True, ""],
    }
    joined, spared = around.agents.asked_of("agent:c")
    if "one" not in json_object(joined.member["results"]):
        joined, spared = spared, joined
    assert json_object(joined.member["results"])["one"] == {"summary": "", "value": {"from": "agent:a"}}
    assert json_object(json_object(spared.member["results"])["maybe"])["error"] == "failed"


async def test_no_more_steps_of_a_graph_are_under_way_than_allowed() -> None:
    under_way, most = [0], [0]

    async def counted(asked: Asked) -> Json:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        await anyio.wait_all_tasks_blocked()
        under_way[0] -= 1
        return {}

    async def doing(task: Task, steps: Steps) -> Json:
        await steps.graph({f"n{n}": Node(target="agent:a", input={"n": n}) for n in range(7)}, limit=3)
        return most[0]

    around = world(doing)
    around.agents.answers["agent:a"] = counted
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == 3


@pytest.mark.parametrize(
    "nodes",
    [
        {"a": Node(target="agent:a", input={}, after=("b",)), "b": Node(target="agent:a", input={}, after=("a",))},
        {"a": Node(target="agent:a", input={}, after=("ghost",))},
        {"a b": Node(target="agent:a", input={})},
        {"a": Node(target="agent:a", input={}, again="ghost")},
    ],
    ids=["circle", "unknown dependency", "illegal id", "again of nothing"],
)
async def test_a_graph_that_cannot_be_run_is_refused(nodes: dict[str, Node]) -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        with pytest.raises(InvalidRequest):
            await steps.graph(nodes, limit=4)
        return "refused"

    around = world(doing)
    async with around.up():
        assert told(await around.ask())["answer"] == "refused"


async def test_steps_used_from_another_task_end_the_run() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        async def chain() -> None:
            await steps.call(Node(target="agent:a", input={}))

        async with anyio.create_task_group() as group:
            group.start_soon(chain)
            group.start_soon(chain)
        return "not reached"

    around = world(doing)
    around.agents.answers["agent:a"] = says({})
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.is_error
    assert around.agents.asked == []


async def test_time_up_is_a_result_and_the_nested_run_is_told() -> None:
    async def never(asked: Asked) -> Json:
        await anyio.sleep_forever()
        return {}

    async def doing(task: Task, steps: Steps) -> Json:
        if task.message is not None and task.message.text == "inner":
            return seen(await steps.call(Node(target="agent:never", input={})))
        late = await steps.call(Node(target="agent:never", input={}, timeout_s=0.01))
        nested = await steps.call(Node(target="workflow:help", input="inner", timeout_s=2))
        partial = await steps.graph(
            {"a": Node(target="agent:never", input={}), "b": Node(target="agent:quick", input={})},
            limit=1,
            deadline_s=0.05,
        )
        return [late.error, nested.error, partial["a"].error, partial["b"].error]

    around = world(doing, limits={"max_depth": 3})
    around.agents.answers |= {"agent:never": never, "agent:quick": says({})}
    async with around.up():
        result = told(await around.ask("outer"))
    assert result["answer"] == ["timeout", "timeout", "deadline", "deadline"]
    assert sorted(run.state for run in around.runs.runs.values()) == ["canceled", "completed"]


async def test_contracts_are_checked_on_both_sides_of_a_step() -> None:
    contract: JsonObject = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}}

    async def doing(task: Task, steps: Steps) -> Json:
        wrong_in = await steps.call(Node(target="agent:a", input={"amount": "3"}, input_schema=contract))
        wrong_out = await steps.call(Node(target="agent:a", input={"amount": 3}, output_schema=contract))
        return [wrong_in.error, wrong_out.error, wrong_out.reason, wrong_out.value]

    around = world(doing)
    around.agents.answers["agent:a"] = says({"sum": 1})
    async with around.up():
        answered = told(await around.ask())["answer"]
    assert isinstance(answered, list)
    assert answered[:2] == ["schema", "schema"]
    assert "amount" in str(answered[2])
    assert answered[3] == {"sum": 1}
    assert len(around.agents.asked) == 1


async def test_labels_of_what_a_step_was_given_travel_with_it_and_with_its_result() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        web = await steps.call(Node(target="agent:web", input={}))
        clean = await steps.call(Node(target="agent:clean", input={}))
        both = await steps.call(Node(target="agent:clean", input={}, given={"web": web, "clean": clean}))
        marked = await steps.call(Node(target="agent:clean", input={}, labels=Labels(regions=frozenset({"eu"}))))
        return [[*sorted(each.labels.untrusted | each.labels.regions)] for each in (web, clean, both, marked)]

    async def tainted(asked: Asked) -> Complete:
        return answer({"found": 1}, labels=Labels(untrusted=frozenset({"server:web"})))

    around = world(doing)
    around.agents.answers |= {"agent:web": tainted, "agent:clean": says({"ok": 1})}
    async with around.up():
        result = await around.ask(labels=Labels(untrusted=frozenset({"client"})))
    assert told(result)["answer"] == [["client", "server:web"], ["client"], ["client", "server:web"], ["client", "eu"]]
    assert isinstance(result, Complete)
    assert result.labels == Labels(untrusted=frozenset({"client", "server:web"}), regions=frozenset({"eu"}))


async def test_the_budget_warns_stops_and_leaves_something_for_the_last_word() -> None:
    async def costly(asked: Asked) -> Complete:
        return answer({"n": len(around.agents.asked)}, usage=Usage(tokens=30))

    async def doing(task: Task, steps: Steps) -> Json:
        results = [await steps.call(Node(target="agent:a", input={"n": n})) for n in range(5)]
        last = await steps.call(Node(target="agent:word", input={}, last=True))
        return {"errors": [each.error for each in results], "last": last.error, "spent": steps.spent.tokens}

    around = world(doing, limits={"tokens": 120})
    around.agents.answers |= {"agent:a": costly, "agent:word": says({"text": "partial"})}
    async with around.up():
        answered = told(await around.ask())["answer"]
    assert answered == {"errors": ["", "", "", "budget", "budget"], "last": "", "spent": 90}
    [run_id] = around.runs.runs
    warnings = [event.body for event in await around.runs.events(run_id) if event.body["kind"] == "log"]
    assert warnings == [{"kind": "log", "level": "warning", "text": "75 % of the run's tokens are used"}]


async def test_depth_left_decides_whether_a_run_may_nest() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        inner = await steps.run("help", {"message": "deeper"})
        return [inner.error, inner.value if inner.ok else inner.reason]

    around = world(doing, limits={"max_depth": 3})
    async with around.up():
        answered = told(await around.ask())["answer"]
    assert len(around.runs.runs) == 3 - 1
    assert isinstance(answered, list)
    assert answered[0] == ""
    inner = json_object(answered[1])["answer"]
    assert isinstance(inner, list)
    assert inner[0] == "budget"
    outer, nested = around.runs.runs.values()
    assert (outer.owner, nested.owner) == ("ana", "ana")
    assert nested.spec["parent_run"] == outer.id


async def test_a_failed_run_undoes_its_work_backwards_and_tries_hard() -> None:
    tries: list[str] = []

    async def reluctant(asked: Asked) -> "Json | Complete":
        tries.append(str(asked.input["n"]))
        return {} if tries.count("1") != 1 or asked.input["n"] != 1 else failing("not yet")

    async def doing(task: Task, steps: Steps) -> Json:
        for n in range(3):
            steps.compensate("tool:undo/it", {"n": n})
        raise GatewayError("nothing works")

    around = world(doing)
    around.agents.answers["tool:undo/it"] = reluctant
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.is_error
    assert tries == ["2", "1", "1", "0"]
    undone = told(result)["undone"]
    assert undone == [{"target": "tool:undo/it", "ok": True, "reason": ""}] * 3


async def test_another_attempt_at_a_step_is_the_same_step_with_a_message_of_its_own() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        first = await steps.call(Node(target="agent:a", input={"n": 1}))
        again = await steps.call(Node(target="agent:b", input={"n": 2}, again=first.id))
        return [first.id == again.id, first.attempts, again.attempts]

    around = world(doing)
    around.agents.answers |= {"agent:a": says({}), "agent:b": says({})}
    async with around.up():
        assert told(await around.ask())["answer"] == [True, 1, 2]
    first, again = around.agents.deliveries
    assert first.step_id == again.step_id
    assert again.meta["message_id"] == f"{first.meta['message_id']}.2"
    assert [(step.target, step.attempt) for step in around.runs.kept_steps.values()] == [("agent:a", 1), ("agent:b", 2)]


async def test_a_run_that_is_only_proposed_lets_none_of_its_steps_commit() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        if task.message is not None and task.message.text == "inner":
            await steps.call(Node(target="agent:a", input={}, phase="commit"))
            return None
        await steps.call(Node(target="workflow:help", input="inner", phase="propose"))
        await steps.call(Node(target="workflow:help", input="inner", phase="commit"))
        return None

    around = world(doing, limits={"max_depth": 3})
    around.agents.answers["agent:a"] = says({})
    async with around.up():
        await around.ask("outer")
    assert [asked.request.phase for asked in around.agents.asked] == ["propose", "commit"]
    assert [step.phase for step in around.open_steps.ever] == ["propose", "commit"]


async def test_a_scratchpad_out_of_reach_stops_the_run_where_it_stands_and_no_further() -> None:
    reachable = [False]

    async def doing(task: Task, steps: Steps) -> Json:
        await steps.call(Node(target="agent:a", input={}))
        entry = await steps.scratchpad.put("key", 1, expected_version=0)
        return entry.version

    class Unreachable(MemoryScratch):
        async def put(self, run_id: str, entry: Entry, *, expected_version: int | None, once: str) -> Entry:
            if not reachable[0]:
                raise Unavailable("the disk is full")
            return await super().put(run_id, entry, expected_version=expected_version, once=once)

    around = world(doing)
    around.scratch = Unreachable()
    around.agents.answers["agent:a"] = says({})
    async with around.up() as (_, journal):
        with pytest.raises(DeadlineExceeded):
            await around.ask("go", seconds=2.5, idempotency_key="k")
        assert [await journal.state(run_id) for run_id in around.runs.runs] == ["pending"]
    reachable[0] = True
    async with around.up():
        assert told(await around.ask("go", idempotency_key="k"))["answer"] == 1
    assert len(around.agents.asked) == 1


async def test_a_pattern_learns_what_targets_are_good_for_and_what_else_they_said() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        offers = await steps.offers(["agent:a", "tool:t/one", "agent:ghost"])
        result = await steps.call(Node(target="agent:a", input={}))
        told: JsonObject = {name: [each.found, [*sorted(each.skills)]] for name, each in offers.items()}
        return [told, dict(result.said), result.value]

    around = world(doing)
    around.agents.skills["a"] = ("SQL", "locks")
    around.agents.answers |= {"agent:a": says({"x": 1}, summary="s", bid={"score": 1}), "tool:t/one": says({})}
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == [
        {"agent:a": [True, ["a-skill", "locks", "sql"]], "tool:t/one": [True, []], "agent:ghost": [False, []]},
        {"bid": {"score": 1}},
        {"x": 1},
    ]
