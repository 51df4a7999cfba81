"""What is answered from memory, to whom, and for how long."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import pytest
from msgspec import structs

from gateway.core.answers import Answers, question_of
from gateway.core.chaos import ChaosOrder
from gateway.core.content import Content, Plain, data_part, plain, text_part
from gateway.core.errors import Denied, GatewayError, Unavailable, UpstreamFailed
from gateway.core.faults import fault_from_text
from gateway.core.json import Json
from gateway.core.labels import Labels
from gateway.core.limits import NOTHING_USED, Limits, Usage
from gateway.core.model import (
    AgentClass,
    Capability,
    Complete,
    Emit,
    InputRequired,
    Principal,
    Remembering,
    Request,
    Result,
    principal,
)
from gateway.core.plans import Policies
from gateway.core.ports.orchestration import Node
from gateway.core.ports.scratchpad import Entry
from gateway.core.ports.upstream import Listing
from gateway.core.verdict import Deny, Verdict
from gateway.orchestration.messages.said import said_to
from gateway.orchestration.records.spec import RunSpec
from tests.fakes import ANA, GRANT, FakeClock, FakeUpstream, Path, Says, a_request, tool

pytestmark = pytest.mark.anyio

BEN = principal("ben", roles=frozenset({"support"}))
EVE = principal("eve", tenant="other", roles=frozenset({"support"}))
BOSS = principal("boss", roles=frozenset({"manager"}))
DAY_S = 86_400.0


def deterministic(
    *, ttl_s: float = DAY_S, stale: bool = False, personal: bool = False, fresh: bool = True
) -> Capability:
    rule = Remembering(ttl_s=ttl_s, fresh=fresh, stale=stale, personal=personal)
    return replace(tool("find", effect="read"), remembering=rule, digest="d1")


def an_agent(rule: Remembering) -> Capability:
    return replace(tool("", owner="triage", kind="agent"), name="agent:triage", local="triage", remembering=rule)


class Counting:
    """Answers with how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: GatewayError | None = None

    async def __call__(self, request: Request, capability: Capability, emit: Emit) -> Result:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        labels = request.labels.join(Labels(untrusted=frozenset({"server:orders"})))
        return Complete(body=plain({"asked": self.asked}), usage=Usage(tokens=7), labels=labels)


def find(order: str = "A-1", who: Principal = ANA, **more: Json) -> Request:
    return a_request("tool:orders/find", arguments={"order": order, **more}, who=who)


async def said(path: Path, request: Request) -> Json:
    result = await path.call(request)
    assert isinstance(result, Complete)
    return result.body.content().structured


def a_path(capability: Capability, limits: Limits | None = None) -> tuple[Path, Counting]:
    counting = Counting()
    return Path(FakeUpstream(capability.owner, [capability], counting), limits=limits), counting


async def test_the_same_question_is_answered_from_memory_with_its_labels_and_costs_nothing() -> None:
    path, counting = a_path(deterministic())
    first = await path.call(find())
    path.clock.advance(60)
    again = await path.call(find())
    assert isinstance(first, Complete)
    assert isinstance(again, Complete)
    assert counting.asked == 1
    assert again == replace(first, usage=NOTHING_USED, meta={"cached": True, "age_s": 60.0})
    assert [(each.outcome, each.detail) for each in path.audit.records] == [("ok", {}), ("ok", {"cached": True})]
    (_, answers), *_ = path.pipeline.load("default").owners
    assert (answers.hits, answers.misses, answers.stale) == (1, 1, 0)


async def test_it_is_asked_anew_when_its_time_is_over() -> None:
    path, counting = a_path(deterministic(ttl_s=60))
    await path.call(find())
    path.clock.advance(60)
    assert await said(path, find()) == {"asked": 2}
    assert counting.asked == 2


@pytest.mark.parametrize(
    "other",
    [
        find("A-2"),
        find("A-1", verbose=True),
        find(who=BOSS),
        find(who=principal("agent:x", kind="agent", roles=ANA.roles, behind=ANA)),
        structs.replace(find(), labels=Labels(untrusted=frozenset({"server:web"}))),
        structs.replace(find(), body=Plain(replace(find().body.content(), metadata={"locale": "de"}))),
    ],
)
async def test_another_question_is_another_question(other: Request) -> None:
    path, counting = a_path(deterministic())
    await path.call(find())
    await path.call(other)
    assert counting.asked == 2


async def test_callers_of_one_class_share_answers_unless_they_may_depend_on_the_person() -> None:
    for personal, asked in ((False, 1), (True, 2)):
        path, counting = a_path(deterministic(personal=personal))
        await path.call(find(who=ANA))
        await path.call(find(who=BEN))
        assert counting.asked == asked


async def test_what_one_token_of_a_person_was_good_for_is_not_given_to_another_of_theirs() -> None:
    path, counting = a_path(deterministic(personal=True))
    for credential in ("wide", "narrow", "wide"):
        await path.call(structs.replace(find(), credential=credential))
    assert counting.asked == 2


async def test_tenants_share_nothing() -> None:
    counting = Counting()
    path = Path(FakeUpstream("orders", [replace(deterministic(), tenant="*")], counting), tenant="*")
    await path.call(find(who=ANA))
    await path.call(find(who=EVE))
    assert counting.asked == 2


async def test_a_new_version_or_a_new_upstream_is_asked_anew() -> None:
    path, counting = a_path(deterministic())
    await path.call(find())
    path.shelf.arrived("orders", Listing(capabilities=(replace(deterministic(), digest="d2"),)))
    path.pipeline.swap(path.snapshot("2"))
    await path.call(find())
    assert counting.asked == 2
    other = FakeUpstream("orders", [deterministic()])
    path.shelf.add(other, "default")
    path.shelf.arrived("orders", Listing(capabilities=other.offered))
    path.pipeline.swap(path.snapshot("3"))
    await path.call(find())
    assert len(other.calls) == 1


class Nobody:
    """A result policy that one role's answers do not pass."""

    name = "privacy"

    def plan_result(self, agent: AgentClass, capability: Capability) -> Literal["read"]:
        return "read"

    def check_result(self, request: Request, capability: Capability, result: Result) -> Verdict:
        return Deny(policy="privacy", rule="1", reason="not yours") if request.principal.subject == "ben" else GRANT


async def test_a_hit_is_judged_before_and_after_like_any_call() -> None:
    path, counting = a_path(deterministic())
    await path.call(find())
    denying = Says(Deny(policy="access", rule="support.deny[0]", reason="no"))
    for policies in (Policies(requests=[denying]), Policies(requests=[Says(GRANT)], results=[Nobody()])):
        path.policies = policies
        path.pipeline.swap(path.snapshot("2"))
        with pytest.raises(Denied):
            await path.call(find(who=BEN))
    assert counting.asked == 1


async def test_a_failed_answer_a_question_and_what_chaos_said_are_not_remembered() -> None:
    answers: list[Result] = [
        Complete(body=plain("no"), is_error=True),
        InputRequired(body=plain("which?"), state="s"),
        Complete(body=plain("yes")),
    ]

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        return answers.pop(0)

    path = Path(FakeUpstream("orders", [deterministic()], behave))
    for _ in range(2):
        await path.call(find())
    active = path.chaos.add(
        ChaosOrder(tenant="default", by="olga", target="*", fault=fault_from_text("falsehood=yes=>no"))
    )
    await path.call(find())
    assert path.chaos.remove("default", active.injection.id)
    answers.append(Complete(body=plain("really")))
    result = await path.call(find())
    assert isinstance(result, Complete)
    assert result.body.content().text == "really"


async def test_when_the_target_fails_its_last_answer_is_given_and_marked() -> None:
    path, counting = a_path(deterministic(ttl_s=60, stale=True))
    await path.call(find())
    path.clock.advance(600)
    counting.failure = UpstreamFailed("it died")
    for _ in range(3):
        await path.call(find())
    result = await path.call(find())
    assert isinstance(result, Complete)
    assert counting.asked == 4
    assert result.body.content().structured == {"asked": 1}
    assert result.meta["stale"] == {"age_s": 600.0, "reason": "UNAVAILABLE"}
    assert result.meta["quality"] == [
        "tool:orders/find failed (UNAVAILABLE); this is its answer of 600 s ago",
    ]
    detail = path.audit.records[-1].detail
    assert (detail["cached"], detail["breaker"], detail["stale"]) == (True, "open", result.meta["stale"])
    with pytest.raises(Unavailable):
        await path.call(find("A-2"))


async def test_one_that_is_not_deterministic_is_asked_each_time_and_may_still_answer_stale() -> None:
    path, counting = a_path(deterministic(fresh=False, stale=True))
    await path.call(find())
    assert await said(path, find()) == {"asked": 2}
    counting.failure = Unavailable("gone")
    assert await said(path, find()) == {"asked": 2}
    (_, answers), *_ = path.pipeline.load("default").owners
    assert (answers.hits, answers.misses, answers.stale) == (0, 0, 1)


async def test_without_stale_on_error_an_old_answer_is_no_answer() -> None:
    path, counting = a_path(deterministic(ttl_s=60))
    await path.call(find())
    path.clock.advance(60)
    counting.failure = UpstreamFailed("it died")
    with pytest.raises(UpstreamFailed):
        await path.call(find())


async def test_a_log_that_takes_no_more_stops_an_agents_call_and_is_no_reason_for_an_old_answer() -> None:
    agent = an_agent(Remembering(ttl_s=60, fresh=True, stale=True))
    path, counting = a_path(agent)
    await path.call(a_request("agent:triage", arguments={"message": "hello"}))
    path.clock.advance(60)
    path.audit.full = True
    with pytest.raises(Unavailable, match="audit log"):
        await path.call(a_request("agent:triage", arguments={"message": "hello"}))
    assert counting.asked == 1


async def test_an_agents_hit_leaves_no_intent_and_none_of_the_first_callers_task() -> None:
    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        return Complete(body=plain("refund"), meta={"task": "t1", "context": "c1", "state": "completed"})

    path = Path(FakeUpstream("triage", [an_agent(Remembering(ttl_s=60, fresh=True, stale=False))], behave))
    await path.call(a_request("agent:triage", arguments={"message": "hello"}))
    result = await path.call(a_request("agent:triage", arguments={"message": "hello"}))
    assert isinstance(result, Complete)
    assert result.meta == {"cached": True, "age_s": 0.0}
    assert path.audit.phases() == [("intent", ""), ("outcome", "ok"), ("outcome", "ok")]


def spec(message: str) -> RunSpec:
    return RunSpec(
        run_id="run_1",
        workflow="help",
        pattern="sequential",
        settings={},
        caller=ANA,
        message=message,
        deadline_at_us=0,
        depth=2,
    )


def a_step(version: int, value: Json, *, message: str = "Refund me", **more: object) -> Request:
    node = Node(target="agent:triage", input={"order": "A-1"}, reads=("quote",))
    read = {"quote": Entry(key="quote", value=value, version=version, writer="run_1/1")}
    body = said_to(spec(message), node, {}, read).body()
    meta: Mapping[str, Json] = {"message_id": f"run_{version}/1", "context_id": f"run_{version}/1", "delegation": "t"}
    request = structs.replace(a_request("agent:triage"), body=body, meta=meta)
    return structs.replace(request, **more)


AGENT = an_agent(Remembering(ttl_s=60, fresh=True, stale=False))


def test_of_a_step_everything_the_agent_may_go_by_is_asked_and_no_id_token_or_version() -> None:
    asked = question_of(a_step(1, 5), AGENT)
    assert asked is not None
    assert question_of(a_step(2, 5), AGENT) == asked
    for other in (a_step(1, 6), a_step(1, 5, message="Refund all"), a_step(1, 5, phase="propose")):
        assert question_of(other, AGENT) not in (None, asked)


@pytest.mark.parametrize(
    "more",
    [
        {"phase": "commit"},
        {"protocol": "a2a"},
        {"continuation": "s"},
        {"operation": "task.get"},
        {"meta": {"resume": {"task": "t"}}},
        {"meta": {"task": "t"}},
        {"meta": {"return_immediately": True}},
        {"meta": {"message_id": "m", "context_id": "an older conversation"}},
        {"body": Plain(Content(structured={"n": 2**60}))},
    ],
)
def test_what_is_about_a_task_or_an_effect_or_uncertain_is_never_answered_from_memory(more: dict[str, object]) -> None:
    assert question_of(structs.replace(a_step(1, 5), **more), AGENT) is None


def test_every_part_of_what_is_said_counts() -> None:
    bodies = [
        Content(parts=(text_part("a"),)),
        Content(parts=(text_part("b"),)),
        Content(parts=(data_part("a"),)),
        Content(parts=(replace(text_part("a"), metadata={"k": 1}),)),
        Content(structured="a"),
        Content(structured="a", metadata={"k": 1}),
    ]
    asked = {question_of(structs.replace(a_request("agent:triage"), body=Plain(each)), AGENT) for each in bodies}
    assert len(asked) == len(bodies)
    assert None not in asked


def test_memory_is_bounded_in_entries_and_bytes_and_the_least_recently_given_goes_first() -> None:
    capability = deterministic()
    answers = Answers(FakeClock(), entries=2, size_bytes=16 * 1024)
    small = Complete(body=plain("x" * 100))
    for key in (b"a", b"b"):
        answers.keep(key, capability, small)
    assert answers.fresh(b"a", capability) is not None
    answers.keep(b"c", capability, small)
    assert [answers.fresh(key, capability) is not None for key in (b"a", b"b", b"c")] == [True, False, True]
    answers.keep(b"d", capability, Complete(body=plain("x" * 1024)))
    assert answers.fresh(b"d", capability) is None
    many = Answers(FakeClock(), entries=1000, size_bytes=16 * 1024)
    for number in range(100):
        many.keep(b"%d" % number, capability, Complete(body=plain("x" * 500)))
    assert 0 < many.size_bytes <= 16 * 1024
    many.forget(frozenset({"orders"}))
    assert (many.entries, many.size_bytes) == (0, 0)


def test_no_entries_means_no_memory() -> None:
    answers = Answers(FakeClock(), entries=0, size_bytes=1024)
    answers.keep(b"a", deterministic(), Complete(body=plain("x")))
    assert answers.entries == 0
