"""The server `run`: an agent's way to the scratchpad of its run, and nobody else's."""

from dataclasses import replace

import pytest

from adapters.durable.memory import Entry, MemoryJournal
from gateway.core.content import Content, Plain
from gateway.core.errors import Denied, InvalidRequest
from gateway.core.fields import TakenOut
from gateway.core.json import JsonObject, json_object
from gateway.core.labels import Labels
from gateway.core.limits import Budget
from gateway.core.model import Complete, Request, ignore_event, principal
from gateway.core.ports.runs import Run
from gateway.core.ports.storage import Handed, OpenStep
from gateway.orchestration.messages.memories import Memories
from gateway.orchestration.step.run_server import TOOLS, RunServer
from gateway.testing.stores.memory import MemoryInMemory
from tests.fakes import FakeClock
from tests.fakes_orchestration import ANA, MemoryOpenSteps, MemoryRuns, MemoryScratch, no_engine

pytestmark = pytest.mark.anyio

REFUNDS = principal("agent:refunds", kind="agent", behind=ANA)
QUOTE = Handed(name="quote", step_id="run_1/1")
RULES: JsonObject = {
    "scratchpad": {
        "price": {"schema": {"type": "number"}, "writers": ["refunds"]},
        "secret": {"readers": ["scheduling"], "writers": ["scheduling"]},
    }
}


class Served:
    """The server with one run on it, and a clock that stands still."""

    def __init__(self) -> None:
        self.runs, self.scratch, self.clock = MemoryRuns(), MemoryScratch(), FakeClock()
        self.journal, self.open_steps = MemoryJournal(), MemoryOpenSteps()
        self.server = RunServer(
            scratch=self.scratch,
            runs=self.runs,
            clock=self.clock,
            journal=self.journal,
            open_steps=self.open_steps,
            memories=Memories(MemoryInMemory(), self.clock, no_engine),
        )

    async def opened(self, run_id: str = "run_1") -> "Served":
        run = Run(
            id=run_id,
            workflow="help",
            tenant="default",
            owner="ana",
            state="working",
            context_id="c",
            created_at_us=0,
            updated_at_us=0,
            spec={"settings": RULES},
        )
        await self.runs.open(run)
        return self

    async def call(
        self,
        tool: str,
        given: JsonObject,
        *,
        run_id: str = "run_1",
        step_id: str = "run_1/2",
        labels: Labels | None = None,
    ) -> Complete:
        capability = next(each for each in TOOLS if each.local == tool)
        request = Request(
            id="req",
            principal=REFUNDS,
            capability=capability.name,
            operation="call",
            budget=Budget(deadline_s=1e9),
            body=Plain(Content(structured=given)),
            labels=labels or Labels(),
            run_id=run_id,
            step_id=step_id,
        )
        result = await self.server.call(request, capability, ignore_event)
        assert isinstance(result, Complete)
        return result

    async def said(self, tool: str, given: JsonObject, **others: str) -> JsonObject:
        result = await self.call(tool, given, **others)  # pyright: ignore[reportArgumentType]
        return json_object(result.body.content().structured)


async def test_its_tools_belong_to_every_tenant_and_change_nothing_outside() -> None:
    listing = await Served().server.capabilities()
    assert [each.name for each in listing.capabilities] == [
        "tool:run/scratchpad_get",
        "tool:run/scratchpad_put",
        "tool:run/claim",
        "tool:run/fetch_result",
        "tool:run/fetch_turn",
        "tool:run/release",
        "tool:run/memory_search",
        "tool:run/memory_add",
    ]
    assert {each.tenant for each in listing.capabilities} == {"*"}
    assert {each.effect for each in listing.capabilities} == {"read"}
    assert len({each.digest for each in listing.capabilities}) == 8


async def test_a_key_is_read_and_written_by_version() -> None:
    served = await Served().opened()
    assert await served.said("scratchpad_get", {"key": "price"}) == {"key": "price", "version": 0}
    written = await served.said("scratchpad_put", {"key": "price", "value": 3, "expected_version": 0})
    assert (written["version"], written["writer"]) == (1, "run_1/2")
    assert await served.said("scratchpad_get", {"key": "price"}) == written


async def test_a_conflict_is_an_answer_with_both_versions() -> None:
    served = await Served().opened()
    await served.said("scratchpad_put", {"key": "price", "value": 3, "expected_version": 0})
    result = await served.call("scratchpad_put", {"key": "price", "value": 4, "expected_version": 0})
    assert result.is_error
    said = json_object(result.body.content().structured)
    assert (said["expected"], said["actual"]) == (0, 1)


async def test_the_same_write_by_an_agent_that_was_restarted_is_the_same_write() -> None:
    served = await Served().opened()
    given: JsonObject = {"key": "price", "value": 3, "expected_version": 0}
    assert await served.said("scratchpad_put", given) == await served.said("scratchpad_put", given)


async def test_labels_of_the_writer_reach_the_reader() -> None:
    served = await Served().opened()
    tainted = Labels(untrusted=frozenset({"server:web"}))
    await served.call("scratchpad_put", {"key": "price", "value": 3, "expected_version": 0}, labels=tainted)
    assert (await served.call("scratchpad_get", {"key": "price"})).labels == tainted


async def test_claims_exclude_other_runs_until_they_lapse_or_are_given_back() -> None:
    served = await (await Served().opened()).opened("run_2")
    given: JsonObject = {"resource": "account:4711", "seconds": 10}
    assert (await served.said("claim", given))["claimed"] is True
    assert (await served.said("claim", given, run_id="run_2"))["claimed"] is False
    served.clock.advance(11)
    assert (await served.said("claim", given, run_id="run_2"))["claimed"] is True
    await served.said("release", {"resource": "account:4711"}, run_id="run_2")
    assert (await served.said("claim", given))["claimed"] is True


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("scratchpad_get", {"key": "secret"}),
        ("scratchpad_put", {"key": "secret", "value": 1, "expected_version": 0}),
    ],
)
async def test_keys_of_others_are_refused(tool: str, given: JsonObject) -> None:
    served = await Served().opened()
    with pytest.raises(Denied):
        await served.call(tool, given)


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("scratchpad_get", {}),
        ("scratchpad_get", {"key": 3}),
        ("scratchpad_put", {"key": "a", "value": 1}),
        ("scratchpad_put", {"key": "a", "expected_version": 0}),
        ("scratchpad_put", {"key": "price", "value": "much", "expected_version": 0}),
        ("claim", {"resource": "a", "seconds": 0}),
        ("claim", {"resource": "a", "seconds": "long"}),
        ("claim", {"resource": "x" * 201}),
        ("release", {}),
    ],
)
async def test_arguments_that_make_no_sense_are_refused(tool: str, given: JsonObject) -> None:
    served = await Served().opened()
    with pytest.raises(InvalidRequest):
        await served.call(tool, given)


@pytest.mark.parametrize(("run_id", "step_id"), [("", ""), ("run_1", ""), ("run_9", "run_9/1")])
async def test_whoever_works_on_no_step_has_no_scratchpad(run_id: str, step_id: str) -> None:
    served = await Served().opened()
    with pytest.raises(Denied):
        await served.call("scratchpad_get", {"key": "price"}, run_id=run_id, step_id=step_id)


async def test_what_it_does_not_have_it_refuses() -> None:
    served = await Served().opened()
    capability = TOOLS[0]
    request = Request(
        id="req",
        principal=REFUNDS,
        capability=capability.name,
        operation="read",
        budget=Budget(deadline_s=1e9),
        run_id="run_1",
        step_id="run_1/2",
    )
    with pytest.raises(InvalidRequest):
        await served.server.call(request, capability, ignore_event)


async def test_a_step_fetches_what_it_was_handed_and_nothing_else() -> None:
    served = await Served().opened()
    labels: JsonObject = Labels(untrusted=frozenset({"agent:quotes"})).to_json()
    quote: JsonObject = {"id": "run_1/1", "value": {"lines": [{"price": 5}], "note": "n"}, "labels": labels}
    secret: JsonObject = {"id": "run_1/0", "value": "not for everybody"}
    served.journal.entries["run_1"] = Entry(spec={}, slots={0: ("a", secret), 1: ("b", {}), 2: ("c", quote)})
    step = OpenStep(run_id="run_1", step_id="run_1/2", agent="refunds", actor=REFUNDS, phase="", given=(QUOTE,))
    await served.open_steps.open(step)
    answer = await served.call("fetch_result", {"step": "quote", "pointer": "/lines/0"})
    assert json_object(answer.body.content().structured)["value"] == {"price": 5}
    assert answer.labels.untrusted == {"agent:quotes"}
    assert (await served.said("fetch_result", {"step": "quote"}))["value"] == quote["value"]
    for other in ("run_1/0", "run_1/1", "else"):
        with pytest.raises(Denied, match="was not handed"):
            await served.call("fetch_result", {"step": other})
    with pytest.raises(Denied):
        await served.call("fetch_result", {"step": "quote"}, step_id="run_1/3")
    with pytest.raises(InvalidRequest):
        await served.call("fetch_result", {"step": "quote", "pointer": "lines"})
    with pytest.raises(InvalidRequest, match="nothing at"):
        await served.call("fetch_result", {"step": "quote", "pointer": "/lines/0000000001"})


async def test_what_was_handed_on_is_fetched_although_a_later_attempt_at_it_failed() -> None:
    served = await Served().opened()
    quote: JsonObject = {"id": "run_1/1", "ok": True, "value": {"price": 5}}
    broken: JsonObject = {"id": "run_1/1", "ok": False, "error": "schema", "value": {"note": "not for others"}}
    served.journal.entries["run_1"] = Entry(spec={}, slots={1: ("quote", quote), 2: ("quote", broken)})
    step = OpenStep(run_id="run_1", step_id="run_1/2", agent="refunds", actor=REFUNDS, phase="", given=(QUOTE,))
    await served.open_steps.open(step)
    assert (await served.said("fetch_result", {"step": "quote"}))["value"] == {"price": 5}


async def test_what_was_taken_out_of_a_result_is_not_fetched_nor_what_answers_for_others() -> None:
    served = await Served().opened()
    brief: JsonObject = {"pages": [1, 99], "cites": [{"page": 99, "why": "no such page"}, {"page": 1}], "id": 99}
    answers: JsonObject = {"id": "run_1/1", "ok": True, "value": {"items": [{"other": "item"}, brief]}}
    served.journal.entries["run_1"] = Entry(spec={}, slots={1: ("read", answers)})
    taken_out = (TakenOut(field="pages[]", values=("99",)), TakenOut(field="cites[].page", values=("99",)))
    handed = Handed(name="brief", step_id="run_1/1", within="/items/1", taken_out=taken_out)
    step = OpenStep(run_id="run_1", step_id="run_1/2", agent="refunds", actor=REFUNDS, phase="", given=(handed,))
    await served.open_steps.open(step)
    assert (await served.said("fetch_result", {"step": "brief"}))["value"] == {
        "pages": [1],
        "cites": [{"page": 1}],
        "id": 99,
    }
    with pytest.raises(InvalidRequest):
        await served.call("fetch_result", {"step": "brief", "pointer": "/pages/1"})


def earlier(run_id: str, *, owner: str = "ana") -> Run:
    """A run that was asked and answered much."""
    content: JsonObject = {"parts": [{"kind": "text", "text": "a" * 30_000 + "z"}], "structured": None}
    return Run(
        id=run_id,
        workflow="help",
        tenant="default",
        owner=owner,
        state="completed",
        context_id="c",
        created_at_us=0,
        updated_at_us=0,
        input={"parts": [{"kind": "text", "text": "q" * 20_000}], "structured": None},
        output={"content": content, "labels": Labels(untrusted=frozenset({"server:web"})).to_json()},
    )


async def test_all_of_an_earlier_turn_is_fetched_in_pieces_with_its_labels() -> None:
    served = await Served().opened()
    served.runs.runs["run_1"] = replace(
        served.runs.runs["run_1"], spec={"settings": RULES, "history": [{"run": "run_0", "request": "q…"}]}
    )
    await served.runs.open(earlier("run_0"))
    text, offset = "", 0
    while True:
        answer = await served.call("fetch_turn", {"run": "run_0", "part": "answer", "offset": offset})
        said = json_object(answer.body.content().structured)
        assert answer.labels == Labels(untrusted=frozenset({"server:web"}))
        text += str(said["value"])
        if "next_offset" not in said:
            break
        offset = int(str(said["next_offset"]))
    assert text == "a" * 30_000 + "z"
    assert str((await served.said("fetch_turn", {"run": "run_0", "part": "request"}))["value"]).startswith("qqq")


async def test_turns_the_step_was_not_told_of_are_none_of_its_business() -> None:
    served = await Served().opened()
    told: JsonObject = {"history": [{"run": "run_0"}, {"run": "run_bens"}, {"run": "run_gone"}]}
    served.runs.runs["run_1"] = replace(served.runs.runs["run_1"], spec={"settings": RULES, **told})
    for each in (earlier("run_0"), earlier("run_other"), earlier("run_bens", owner="ben")):
        await served.runs.open(each)
    for named in ("run_other", "run_bens", "run_gone", "run_1"):
        with pytest.raises(Denied):
            await served.call("fetch_turn", {"run": named, "part": "answer"})
    for wrong in ({"part": "all"}, {"part": "answer", "offset": -1}, {"part": "answer", "offset": True}):
        with pytest.raises(InvalidRequest):
            await served.call("fetch_turn", {"run": "run_0", **wrong})
