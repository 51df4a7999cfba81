"""What agents remember: searched and added to inside a step only, handed over where the workflow wants it."""

import sys
from pathlib import Path

import anyio
import pytest
from msgspec import structs

from adapters.durable.memory import MemoryJournal
from gateway.core.content import Content, Plain
from gateway.core.errors import Denied, InvalidRequest, UpstreamFailed
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.labels import Labels
from gateway.core.limits import Budget
from gateway.core.model import Complete, Request, ignore_event, principal
from gateway.core.ports.memory import Memo, MemoryPlace, MemoryType, Room
from gateway.core.ports.runs import Run
from gateway.orchestration.messages.memories import DAY_US, TEXT_CHARS, Memories, MemorySettings, Source
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.orchestration.step.run_server import MEMORY_TOOLS, RunServer
from gateway.patterns.sequential.pattern import Sequential
from gateway.plugins import load_memory
from gateway.testing.stores.around_runs import MemoryOpenSteps
from gateway.testing.stores.memory import MemoryInMemory
from gateway.testing.stores.runs import MemoryRuns
from gateway.testing.stores.scratch import MemoryScratch
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes import FakeClock
from tests.fakes_orchestration import ANA, World, no_engine, says, told

pytestmark = pytest.mark.anyio

WEB, PAGE = Labels(untrusted=frozenset({"server:web"})), Labels(untrusted=frozenset({"server:page"}))
BY = Source(run_id="run_0", step_id="run_0/1", agent="agent:old")


class Served:
    """The server `run` with a run on it whose workflow has a memory."""

    def __init__(self, **settings: Json) -> None:
        self.clock, self.runs = FakeClock(), MemoryRuns()
        self.memories = Memories(MemoryInMemory(), self.clock, no_engine)
        self.settings: JsonObject = {"memory": "desk", **settings}
        self.server = RunServer(
            scratch=MemoryScratch(),
            runs=self.runs,
            clock=self.clock,
            journal=MemoryJournal(),
            open_steps=MemoryOpenSteps(),
            memories=self.memories,
        )

    async def call(self, tool: str, given: JsonObject, **others: object) -> Complete:
        tenant = str(others.pop("tenant", "default"))
        run_id = "run_1" if tenant == "default" else f"run_{tenant}"
        run = Run(
            id=run_id,
            workflow="help",
            tenant=tenant,
            owner="ana",
            state="working",
            context_id="c",
            created_at_us=0,
            updated_at_us=0,
            spec={"settings": self.settings},
        )
        await self.runs.open(run)
        capability = next(each for each in MEMORY_TOOLS if each.local == tool)
        request = Request(
            id="req",
            principal=principal("agent:refunds", kind="agent", tenant=tenant, behind=ANA),
            capability=capability.name,
            operation="call",
            budget=Budget(deadline_s=1e9),
            body=Plain(Content(structured=given)),
            run_id=run_id,
            step_id=f"{run_id}/2",
        )
        result = await self.server.call(structs.replace(request, **others), capability, ignore_event)
        assert isinstance(result, Complete)
        return result

    async def found(self, query: str, **others: object) -> list[Json]:
        result = await self.call("memory_search", {"query": query}, **others)
        said = json_object(result.body.content().structured)
        return [json_object(each)["text"] for each in json_list(said["entries"])]


async def test_what_a_step_adds_is_found_with_the_labels_of_all_that_is_found() -> None:
    served = Served()
    first = await served.call("memory_add", {"text": "refunds take days", "tags": ["refunds"]}, labels=WEB)
    await served.call("memory_add", {"text": "refunds above 50 ask"}, labels=PAGE)
    await served.call("memory_add", {"text": "parcels get lost"}, labels=Labels(regions=frozenset({"eu"})))

    result = await served.call("memory_search", {"query": "refunds", "limit": 5})
    said = json_object(result.body.content().structured)
    assert {str(json_object(each)["text"]) for each in json_list(said["entries"])} == {
        "refunds take days",
        "refunds above 50 ask",
    }
    assert result.labels == WEB.join(PAGE)
    added = json_object(first.body.content().structured)
    assert (added["text"], added["tags"], added["by"]) == ("refunds take days", ["refunds"], "agent:refunds")
    assert await served.found("nothing") == []


async def test_a_step_that_says_the_same_again_adds_it_once() -> None:
    served = Served()
    for _ in range(3):
        await served.call("memory_add", {"text": "refunds take days"})
    assert await served.found("refunds") == ["refunds take days"]


async def test_workflows_share_a_memory_by_its_name_and_tenants_share_none() -> None:
    served = Served()
    await served.call("memory_add", {"text": "refunds take days"})
    assert await served.found("refunds", tenant="other") == []
    served.settings = {"memory": "other"}
    served.runs.runs.clear()
    assert await served.found("refunds") == []


async def test_whoever_proposes_remembers_nothing_yet() -> None:
    served = Served()
    with pytest.raises(Denied, match="commit phase"):
        await served.call("memory_add", {"text": "refunds were paid"}, phase="propose")
    assert await served.found("refunds", phase="propose") == []


async def test_without_a_memory_or_outside_a_step_there_is_nothing_to_ask() -> None:
    with pytest.raises(Denied, match="no memory"):
        await Served(memory="").found("refunds")
    with pytest.raises(Denied):
        await Served().found("refunds", run_id="", step_id="")


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("memory_search", {}),
        ("memory_search", {"query": ""}),
        ("memory_search", {"query": "x" * 1001}),
        ("memory_search", {"query": "x", "limit": 0}),
        ("memory_search", {"query": "x", "limit": "many"}),
        ("memory_add", {}),
        ("memory_add", {"text": "  "}),
        ("memory_add", {"text": "x" * (TEXT_CHARS + 1)}),
        ("memory_add", {"text": "x", "tags": ["t"] * 21}),
        ("memory_add", {"text": "x", "tags": ["t" * 65]}),
        ("memory_add", {"text": "x", "tags": [3]}),
    ],
)
async def test_arguments_that_make_no_sense_are_refused(tool: str, given: JsonObject) -> None:
    with pytest.raises(InvalidRequest):
        await Served().call(tool, given)


async def test_halves_of_characters_are_no_obstacle() -> None:
    served = Served()
    await served.call("memory_add", {"text": "refunds \ud800 take days", "tags": ["\udfff"]})
    assert await served.found("refunds \ud800") == ["refunds ? take days"]


# Recall


def world(**settings: Json) -> World:
    stages: Json = [{"agent": "a"}, {"tool": "shop/find"}]
    workflow = WorkflowSettings.model_validate(
        {"pattern": "sequential", "stages": stages, "memory": "desk", "recall": True, **settings}
    )
    around = World(patterns={"sequential": Sequential}, workflows={"help": workflow})
    around.agents.answers |= {"agent:a": says({"done": True}), "tool:shop/find": says({})}
    return around


async def remembered(around: World, *texts: str, labels: Labels = WEB, tenant: str = "default") -> None:
    memories = Memories(around.memory, around.clock, no_engine)
    for text in texts:
        await memories.add(tenant, "desk", text, [], BY, labels)


async def test_the_best_entries_reach_every_agent_with_their_labels() -> None:
    around = world()
    await remembered(around, *(f"refund number {number}" for number in range(9)), "parcel")
    await remembered(around, "refund of another tenant", tenant="other")
    async with around.up():
        result = told(await around.ask("about the refund"))
    agent, tool = around.agents.asked
    entries = [json_object(each) for each in json_list(agent.member["memory"])]
    assert len(entries) == 5
    assert all(str(each["text"]).startswith("refund number") and each["by"] == "agent:old" for each in entries)
    assert agent.request.labels == WEB
    assert agent.text.endswith("is this: about the refund")
    assert "memory" not in json_object(tool.input)
    assert result["gaps"] == []


@pytest.mark.parametrize("settings", [{"recall": False}, {"recall": False, "memory": ""}])
async def test_nothing_is_handed_over_where_the_workflow_does_not_want_it(settings: JsonObject) -> None:
    around = world(**settings)
    await remembered(around, "refund")
    async with around.up():
        await around.ask("refund")
    assert "memory" not in around.agents.asked[0].member


async def test_what_was_handed_over_stands_in_the_journal() -> None:
    around = world()
    await remembered(around, "refund")
    async with around.up():
        await around.ask("refund")
    [entry] = around.entries.values()
    recalled = [json_list(result.get("recalled")) for _, result in entry.slots.values()]
    assert [len(each) for each in recalled if each] == [1]


def test_to_recall_takes_a_memory() -> None:
    with pytest.raises(ValueError, match="recall needs a memory"):
        WorkflowSettings.model_validate({"pattern": "sequential", "recall": True})


@pytest.mark.parametrize("where", INSTANTS)
async def test_a_run_with_a_memory_outlives_crashes(where: Instant) -> None:
    settings: JsonObject = {"pattern": "sequential", "stages": [{"agent": "a"}], "memory": "desk", "recall": True}
    scene = Scene(settings=settings, patterns={"sequential": Sequential}, agents=lambda: {"agent:a": says({"n": 1})})
    await outlives_crashes(scene, where)


# Engines


class Vectors(MemoryInMemory):
    """An engine of somebody else's: near is whatever begins with the same letter."""

    def __init__(self, options: JsonObject) -> None:
        super().__init__()
        if "broken" in options:
            raise InvalidRequest("no such model")
        self.options = options

    async def search(self, place: MemoryPlace, query: str, *, after_us: int, limit: int) -> tuple[Memo, ...]:
        if query == "fail":
            raise RuntimeError("out of memory")
        if query == "hang":
            await anyio.sleep_forever()
        return tuple(each for each in await self.list(place, after_us=after_us, limit=99) if each.text[0] == query[0])


async def test_an_engine_of_a_plug_in_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution = tmp_path / "vectors-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: vectors\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text(f"[gateway.memory]\nvectors = {__name__}:Vectors\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    memories = Memories(MemoryInMemory(), FakeClock(), load_memory)
    memories.apply(memories.made({"deep": MemorySettings(engine="vectors", options={"model": "m"})}))

    await memories.add("default", "deep", "blender", [], BY, WEB)
    await memories.add("default", "plain", "blender", [], BY, WEB)
    assert [memo.text for memo in await memories.search("default", "deep", "broken things", limit=3)] == ["blender"]
    assert await memories.search("default", "plain", "broken things", limit=3) == ()
    assert await memories.names("default") == {"deep": 1, "plain": 1}


def test_an_engine_nobody_offers_is_refused_and_one_that_is_as_it_was_is_kept() -> None:
    made: list[Vectors] = []

    def vectors(options: JsonObject) -> Vectors:
        made.append(Vectors(options))
        return made[-1]

    def load(name: str) -> MemoryType:
        return vectors if name == "vectors" else load_memory(name)

    memories = Memories(MemoryInMemory(), FakeClock(), load)
    with pytest.raises(InvalidRequest, match="there is no engine ghost"):
        memories.made({"deep": MemorySettings(engine="ghost")})
    with pytest.raises(InvalidRequest, match="no such model"):
        memories.made({"deep": MemorySettings(engine="vectors", options={"broken": True})})
    memories.apply(memories.made({"deep": MemorySettings(engine="vectors")}))
    memories.apply(memories.made({"deep": MemorySettings(engine="vectors", days=3)}))
    assert len(made) == 1
    memories.apply(memories.made({"deep": MemorySettings(engine="vectors", options={"model": "n"})}))
    assert len(made) == 2


async def test_an_engine_that_fails_is_named_and_no_run_stops_for_it() -> None:
    memories = Memories(MemoryInMemory(), FakeClock(), lambda _: Vectors)
    memories.apply(memories.made({"desk": MemorySettings(engine="vectors")}))
    with pytest.raises(UpstreamFailed, match="the memory desk failed"):
        await memories.search("default", "desk", "fail", limit=3)

    around = world()
    around.memory = Vectors({})
    async with around.up():
        result = told(await around.ask("fail"))
    assert result["gaps"] == []
    assert "memory" not in around.agents.asked[0].member


class Watched(MemoryInMemory):
    """Tells how much room it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.rooms: list[Room] = []

    async def add(self, place: MemoryPlace, memo: Memo, room: Room) -> None:
        self.rooms.append(room)
        await super().add(place, memo, room)


async def test_a_memory_has_the_room_and_the_time_its_section_gives_it() -> None:
    clock, engine = FakeClock(), Watched()
    memories = Memories(engine, clock, no_engine)
    sections = {"desk": MemorySettings(days=2, entries=3, bytes=70_000)}
    memories.apply(memories.made(sections), ["desk", "plain"])
    for name in ("desk", "plain"):
        await memories.add("default", name, "same", [], BY, WEB)
    now_us = clock.now_us()
    assert engine.rooms == [
        Room(entries=3, bytes=70_000, after_us=now_us - 2 * DAY_US),
        Room(entries=1000, bytes=1_000_000, after_us=now_us - 90 * DAY_US),
    ]
    clock.advance(3 * 86_400)
    assert await memories.search("default", "desk", "same", limit=3) == ()
    assert await memories.list("default", "desk", limit=3) == ()
    assert len(await memories.search("default", "plain", "same", limit=3)) == 1
    assert await memories.lapse() == 1
    assert await memories.names("default") == {"desk": 0, "plain": 1}


class Broken(MemoryInMemory):
    """An engine that cannot forget."""

    async def lapse(self, name: str, before_us: int, *, tenant: str = "") -> int:
        raise UpstreamFailed("it does not forget")


async def test_what_a_memory_holds_that_nothing_names_any_more_lapses_too() -> None:
    clock, engine = FakeClock(), MemoryInMemory()
    memories = Memories(engine, clock, lambda _: lambda _: Broken())
    memories.apply(memories.made({"gone": MemorySettings(days=365)}), ["gone", "desk"])
    for tenant, name in (("default", "gone"), ("acme", "gone"), ("default", "desk")):
        await memories.add(tenant, name, "same", [], BY, WEB)
    memories.apply(memories.made({"desk": MemorySettings(days=365), "other": MemorySettings(engine="broken")}))
    clock.advance(100 * 86_400)
    with pytest.raises(UpstreamFailed):
        await memories.lapse()
    assert await engine.names() == {"desk": 1}
