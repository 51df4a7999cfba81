"""The one path, from its only door."""

from dataclasses import replace
from typing import Literal

import anyio
import pytest
from msgspec import structs

from gateway.core.content import Plain, content_of, plain
from gateway.core.errors import (
    ApprovalNeeded,
    Conflict,
    DeadlineExceeded,
    Denied,
    Exhausted,
    InDoubt,
    Internal,
    InvalidRequest,
    NotFound,
    Unavailable,
    UpstreamFailed,
)
from gateway.core.labels import Labels
from gateway.core.limits import Limits
from gateway.core.model import (
    Accepted,
    AgentClass,
    Capability,
    CapabilityKind,
    Complete,
    Emit,
    Event,
    InputRequired,
    Log,
    Progress,
    Request,
    Result,
    principal,
)
from gateway.core.plans import Policies, Snapshot
from gateway.core.task import Task, TaskState
from gateway.core.verdict import Allow, Ask, Deny, Rewrite, Verdict
from tests.fakes import ANA, GRANT, FakeUpstream, Path, Says, a_request, tool

pytestmark = pytest.mark.anyio

DENY = Deny(policy="access", rule="support.deny[0]", reason="refunds are for managers")
AGENT = principal("agent:refunds", kind="agent", behind=ANA)


class Raises(Says):
    def check_request(self, request: Request, capability: Capability) -> Verdict:
        raise RuntimeError("broken")


class RaisesPlanning(Says):
    def plan(self, agent: AgentClass, capability: Capability) -> Verdict:
        raise RuntimeError("broken")


class Skips(Says):
    def plan(self, agent: AgentClass, capability: Capability) -> Literal["skip"]:
        return "skip"


class OnResults:
    """A result policy with one answer."""

    name = "privacy"

    def __init__(self, verdict: Verdict | None) -> None:
        self.verdict = verdict
        self.wanted: Literal["read", "skip"] = "read"

    def plan_result(self, agent: AgentClass, capability: Capability) -> Literal["read", "skip"]:
        return self.wanted

    def check_result(self, request: Request, capability: Capability, result: Result) -> Verdict:
        if self.verdict is None:
            raise RuntimeError("broken")
        return self.verdict


class OnEvents:
    """An event policy that masks log lines and stops at progress."""

    name = "privacy"

    def check_event(self, request: Request, capability: Capability, event: Event) -> Event | Deny:
        if isinstance(event, Progress):
            if event.progress < 0:
                raise RuntimeError("broken")
            return DENY
        return Log(level="info", text="masked")


async def test_a_granted_call_reaches_the_upstream_and_its_answer_comes_back_untouched() -> None:
    answer = Complete(body=plain({"ok": True}), labels=Labels(untrusted=frozenset({"server:orders"})))

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        await emit(Progress(progress=1))
        return answer

    path = Path(FakeUpstream("orders", [tool(effect="read")], behave))
    assert await path.call(a_request()) is answer
    assert path.events == [Progress(progress=1)]
    (record,) = path.audit.records
    assert (record.phase, record.outcome, record.rule) == ("outcome", "ok", "support.allow[0]")
    assert record.labels == answer.labels
    assert record.result is answer.body


async def test_a_denied_call_never_reaches_the_upstream_and_names_rule_and_record() -> None:
    upstream = FakeUpstream("orders", [tool()])
    path = Path(upstream, policies=[Says(DENY)])
    with pytest.raises(Denied) as denied:
        await path.call(a_request())
    assert upstream.calls == []
    assert denied.value.detail["rule"] == "support.deny[0]"
    assert denied.value.detail["record"] == path.audit.records[0].id
    assert path.audit.phases() == [("outcome", "denied")]
    assert path.audit.durable == [True]


async def test_without_a_grant_a_call_is_denied() -> None:
    path = Path(FakeUpstream("orders", [tool()]), policies=[Says(Allow(policy="quota"), name="quota")])
    with pytest.raises(Denied) as denied:
        await path.call(a_request())
    assert denied.value.detail["rule"] == "no-grant"


async def test_a_policy_that_raises_stops_the_call() -> None:
    upstream = FakeUpstream("orders", [tool()])
    for broken in (Raises(GRANT, when_planned=False), RaisesPlanning(GRANT)):
        path = Path(upstream, policies=[Says(GRANT), broken])
        with pytest.raises(Denied) as denied:
            await path.call(a_request())
        assert denied.value.detail["rule"] == "policy-error"
    assert upstream.calls == []


async def test_an_ask_nobody_answered_stops_the_call() -> None:
    asking = Says(Ask(policy="approval", rule="big", reason="over 100", role="manager"), name="approval")
    path = Path(FakeUpstream("orders", [tool()]), policies=[Says(GRANT), asking])
    with pytest.raises(ApprovalNeeded):
        await path.call(a_request())
    assert path.audit.phases() == [("outcome", "denied")]


async def test_rewrites_compose_in_list_order_and_reach_the_upstream() -> None:
    upstream = FakeUpstream("orders", [tool(effect="read")])
    first = Rewrite(policy="a", rule="1", reason="", body=plain({"n": 1}), labels=Labels(regions=frozenset({"eu"})))
    second = Rewrite(policy="b", rule="2", reason="", labels=Labels(confidential=frozenset({"email"})))
    path = Path(upstream, policies=[Says(GRANT), Says(first, when_planned=False), Says(second, need="read")])
    await path.call(a_request(arguments={"n": 0}))
    (sent,) = upstream.calls
    assert sent.body is first.body
    assert sent.labels == Labels(regions=frozenset({"eu"}), confidential=frozenset({"email"}))


async def test_a_policy_that_only_sees_plans_is_never_asked_again() -> None:
    policy = Says(GRANT)
    path = Path(FakeUpstream("orders", [tool(effect="read")]), policies=[policy])
    await path.call(a_request())
    await path.call(a_request())
    assert policy.asked == 0


async def test_what_is_unknown_or_another_tenants_is_not_found() -> None:
    path = Path(FakeUpstream("orders", [tool()]))
    stranger = principal("eve", tenant="other", roles=frozenset({"support"}))
    for request in (a_request("tool:orders/nothing"), a_request("nonsense"), a_request(who=stranger)):
        with pytest.raises(NotFound):
            await path.call(request)
    assert path.audit.phases() == [("outcome", "error")] * 3


def supports(agent: AgentClass, owner: str) -> bool:
    return "support" in agent.roles


async def test_what_an_unreached_owner_may_have_is_unavailable_not_unknown() -> None:
    path = Path(FakeUpstream("orders", [tool()]))
    path.shelf.add(FakeUpstream("refunds"), "default")
    path.shelf.failed("refunds", "refused the connection")
    path.policies = replace(path.policies, may_reach=supports)
    path.pipeline.swap(path.snapshot("2"))
    with pytest.raises(Unavailable, match="refused the connection"):
        await path.call(a_request("agent:refunds"))
    for stranger in (principal("eve", tenant="other", roles=ANA.roles), principal("eve")):
        with pytest.raises(NotFound):
            await path.call(a_request("agent:refunds", who=stranger))


async def test_a_sink_is_recorded_durably_before_it_leaves() -> None:
    seen: list[list[tuple[str, str]]] = []

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        seen.append(path.audit.phases())
        return Complete(body=plain("done"))

    path = Path(FakeUpstream("orders", [tool()], behave))
    await path.call(a_request())
    assert seen == [[("intent", "")]]
    assert path.audit.phases() == [("intent", ""), ("outcome", "ok")]
    assert path.audit.durable == [True, False]
    assert path.audit.records[0].id == path.audit.records[1].id


async def test_a_sink_does_not_leave_when_its_intent_cannot_be_written() -> None:
    upstream = FakeUpstream("orders", [tool()])
    path = Path(upstream)
    path.audit.full = True
    with pytest.raises(Unavailable):
        await path.call(a_request())
    assert upstream.calls == []


async def test_reading_a_sinks_task_is_no_effect() -> None:
    path = Path(FakeUpstream("refunds", [tool("", owner="refunds", kind="agent")]))
    await path.call(a_request("agent:refunds/", operation="task.get"))
    assert path.audit.phases() == [("outcome", "ok")]


async def test_an_upstreams_failure_is_recorded_and_carries_the_record() -> None:
    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        raise UpstreamFailed("it answered HTML")

    path = Path(FakeUpstream("orders", [tool(effect="read")], behave))
    with pytest.raises(UpstreamFailed) as failed:
        await path.call(a_request())
    assert failed.value.detail["record"] == path.audit.records[0].id
    assert path.audit.records[0].code == 1502


async def test_an_unexpected_exception_becomes_internal_without_its_text() -> None:
    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        raise RuntimeError("/secret/path")

    path = Path(FakeUpstream("orders", [tool(effect="read")], behave))
    with pytest.raises(Internal) as failed:
        await path.call(a_request())
    assert "/secret/path" not in str(failed.value.describe())
    assert path.audit.records[0].reason == "RuntimeError"


async def test_an_errors_answer_and_tasks_and_questions_are_recorded_as_what_they_are() -> None:
    task = Task(id="t", context_id="c", state=TaskState.WORKING, updated_at_us=1)
    answers: list[tuple[Result, str]] = [
        (Complete(body=plain("no"), is_error=True), "error"),
        (InputRequired(body=plain("who?"), state="s"), "input_required"),
        (Accepted(task=task), "accepted"),
    ]
    for answer, outcome in answers:

        async def behave(request: Request, capability: Capability, emit: Emit, answer: Result = answer) -> Result:
            return answer

        path = Path(FakeUpstream("orders", [tool()], behave))
        assert await path.call(a_request(key="k1")) is answer
        assert path.audit.phases()[-1] == ("outcome", outcome)


async def test_a_canceled_call_is_recorded_and_cancels_the_upstream() -> None:
    stopped = anyio.Event()
    started = anyio.Event()

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()
        raise AssertionError

    path = Path(FakeUpstream("orders", [tool()], behave))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(path.call, a_request(key="k1"))
            await started.wait()
            tasks.cancel_scope.cancel()
    assert stopped.is_set()
    assert path.audit.phases()[-1] == ("outcome", "canceled")


async def test_the_same_key_runs_once_and_gives_the_recorded_answer() -> None:
    upstream = FakeUpstream("orders", [tool()])
    path = Path(upstream)
    first = await path.call(a_request(arguments={"n": 1}, key="k1"))
    again = await path.call(a_request(arguments={"n": 1}, key="k1"))
    assert len(upstream.calls) == 1
    assert isinstance(first, Complete)
    assert isinstance(again, Complete)
    assert again.body.content() == first.body.content()
    assert again.meta == {"replayed": True}


async def test_inside_a_step_the_key_follows_from_the_step_and_the_arguments() -> None:
    upstream = FakeUpstream("orders", [tool()])
    path = Path(upstream)
    for step, amount in (("1", 5), ("1", 5), ("1", 6), ("2", 5)):
        await path.call(a_request(who=AGENT, arguments={"amount": amount}, run=("run_1", step)))
    assert [call.body.content().structured for call in upstream.calls] == [{"amount": 5}, {"amount": 6}, {"amount": 5}]


async def test_an_effect_that_was_never_sent_may_be_repeated() -> None:
    attempts = 0

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise Unavailable("not reachable")
        return Complete(body=plain("done"))

    path = Path(FakeUpstream("orders", [tool()], behave))
    with pytest.raises(Unavailable):
        await path.call(a_request(key="k1"))
    assert isinstance(await path.call(a_request(key="k1")), Complete)


async def test_an_effect_with_unknown_outcome_is_in_doubt_unless_the_tool_knows_the_key() -> None:
    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        raise UpstreamFailed("the connection broke")

    for idempotency, expected in (("", InDoubt), ("meta", UpstreamFailed)):
        path = Path(FakeUpstream("orders", [tool(idempotency=idempotency)], behave))
        with pytest.raises(UpstreamFailed):
            await path.call(a_request(key="k1"))
        with pytest.raises(expected):
            await path.call(a_request(key="k1"))
        assert path.ledger.tried_again == (["default/ana:k1"] if idempotency else [])


async def test_a_repeat_that_was_never_sent_says_nothing_of_the_attempt_before() -> None:
    failures = [UpstreamFailed("the connection broke"), Unavailable("not reachable")]

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        raise failures.pop(0)

    path = Path(FakeUpstream("orders", [tool(idempotency="meta")], behave))
    for expected in (UpstreamFailed, Unavailable):
        with pytest.raises(expected):
            await path.call(a_request(key="k1"))
    assert ("default", "default/ana:k1") in path.ledger.effects


async def test_a_second_call_under_the_same_key_is_told_that_the_first_is_under_way() -> None:
    started, go_on = anyio.Event(), anyio.Event()

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        started.set()
        await go_on.wait()
        return Complete(body=plain("done"))

    path = Path(FakeUpstream("orders", [tool()], behave))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(path.call, a_request(key="k1"))
            await started.wait()
            with pytest.raises(Conflict):
                await path.call(a_request(key="k1"))
            go_on.set()


async def test_a_full_bulkhead_refuses_and_a_waiting_call_gets_the_next_place() -> None:
    started, go_on = anyio.Event(), anyio.Event()

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        started.set()
        await go_on.wait()
        return Complete(body=plain("done"))

    path = Path(
        FakeUpstream("orders", [tool(effect="read")], behave), limits=Limits(upstream_concurrency=1, upstream_queue=1)
    )
    path_call = path.call
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(path_call, a_request(deadline_s=path.clock.monotonic_s() + 5))
            await started.wait()
            tasks.start_soon(path_call, a_request(deadline_s=path.clock.monotonic_s() + 5))
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(Exhausted):
                await path_call(a_request())
            go_on.set()
    assert [outcome for _, outcome in path.audit.phases()] == ["error", "ok", "ok"]


async def test_a_call_that_never_left_the_line_leaves_its_key_free() -> None:
    started, go_on = anyio.Event(), anyio.Event()

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        started.set()
        await go_on.wait()
        return Complete(body=plain("done"))

    path = Path(FakeUpstream("orders", [tool()], behave), limits=Limits(upstream_concurrency=1, upstream_queue=1))
    in_time = path.clock.monotonic_s() + 5
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(path.call, a_request(deadline_s=in_time))
            await started.wait()
            with pytest.raises(DeadlineExceeded):
                await path.call(a_request(key="late", deadline_s=path.clock.monotonic_s()))
            async with anyio.create_task_group() as leaving:
                leaving.start_soon(path.call, a_request(key="canceled", deadline_s=in_time))
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(Exhausted):
                    await path.call(a_request(key="refused"))
                leaving.cancel_scope.cancel()
            assert path.ledger.effects == {}
            go_on.set()
        assert isinstance(await path.call(a_request(key="canceled")), Complete)


async def test_a_tools_own_timeout_shortens_the_budget() -> None:
    upstream = FakeUpstream("orders", [replace(tool(effect="read"), timeout_s=2.0)])
    path = Path(upstream)
    await path.call(a_request(deadline_s=1060.0))
    await path.call(a_request(deadline_s=1001.0))
    assert [call.budget.deadline_s for call in upstream.calls] == [1002.0, 1001.0]


async def test_a_workflow_takes_no_place_from_its_own_steps() -> None:
    inner = a_request("tool:orders/refund")

    async def run(request: Request, capability: Capability, emit: Emit) -> Result:
        return await path.call(inner)

    workflow = replace(tool(kind="workflow"), name="workflow:help", owner="workflows")
    path = Path(
        FakeUpstream("orders", [tool()]),
        FakeUpstream("workflows", [workflow], run),
        limits=Limits(upstream_concurrency=1, upstream_queue=0),
    )
    assert isinstance(await path.call(a_request("workflow:help")), Complete)


async def test_an_answer_may_be_refused_or_rewritten_before_it_goes_back() -> None:
    masked = Rewrite(
        policy="privacy", rule="mask", reason="", body=plain("***"), labels=Labels(regions=frozenset({"eu"}))
    )
    path = Path(FakeUpstream("orders", [tool(effect="read")]))
    path.policies = Policies(requests=[Says(GRANT)], results=[OnResults(Allow(policy="privacy")), OnResults(masked)])
    path.pipeline.swap(path.snapshot("2"))
    result = await path.call(a_request(arguments={"a": 1}))
    assert isinstance(result, Complete)
    assert result.body is masked.body
    asked = Ask(policy="privacy", rule="ask", reason="", role="manager")
    for verdict in (DENY, asked, None):
        path.policies = Policies(requests=[Says(GRANT)], results=[OnResults(verdict)])
        path.pipeline.swap(path.snapshot("3"))
        with pytest.raises(Denied):
            await path.call(a_request())


async def test_events_are_judged_before_the_caller_sees_them() -> None:
    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        await emit(Log(level="info", text="4111 1111 1111 1111"))
        await emit(Progress(progress=float(request.body.content().text or "1")))
        return Complete(body=plain("never"))

    path = Path(FakeUpstream("orders", [tool(effect="read")], behave))
    path.policies = Policies(requests=[Says(GRANT)], events=[OnEvents()])
    path.pipeline.swap(path.snapshot("2"))
    for progress in ("1", "-1"):
        with pytest.raises(Denied):
            await path.call(structs.replace(a_request(), body=Plain(content_of(progress))))
    assert path.events == [Log(level="info", text="masked")] * 2


async def test_an_effect_whose_stream_was_stopped_is_in_doubt() -> None:
    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        await emit(Progress(progress=1))
        return Complete(body=plain("done"))

    path = Path(FakeUpstream("orders", [tool()], behave))
    path.pipeline.swap(
        Snapshot(
            version="2",
            catalog=path.shelf.catalog(),
            policies=Policies(requests=path.policies.requests, events=[OnEvents()]),
        )
    )
    for expected in (Denied, InDoubt):
        with pytest.raises(expected):
            await path.call(a_request(key="k1"))


async def test_arguments_that_cannot_be_told_apart_get_no_key() -> None:
    path = Path(FakeUpstream("orders", [tool()]))
    with pytest.raises(InvalidRequest):
        await path.call(a_request(arguments={"n": 2**60}, key="k1"))


async def test_a_result_policy_that_has_nothing_to_say_is_not_asked() -> None:
    path = Path(FakeUpstream("orders", [tool(effect="read")]))
    silent = OnResults(None)
    silent.wanted = "skip"
    path.policies = Policies(requests=[Says(GRANT), Skips(GRANT, name="quota")], results=[silent])
    path.pipeline.swap(path.snapshot("2"))
    assert isinstance(await path.call(a_request()), Complete)


async def test_a_rewritten_question_or_task_keeps_what_it_is() -> None:
    task = Accepted(task=Task(id="t", context_id="c", state=TaskState.WORKING, updated_at_us=1))

    async def behave(request: Request, capability: Capability, emit: Emit) -> Result:
        return task

    path = Path(FakeUpstream("orders", [tool(effect="read")], behave))
    masked = Rewrite(policy="privacy", rule="mask", reason="", body=plain("***"))
    path.policies = Policies(requests=[Says(GRANT)], results=[OnResults(masked)])
    path.pipeline.swap(path.snapshot("2"))
    assert await path.call(a_request()) == task


async def test_plans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.core.plans.MOST_PLANS", 1)
    path = Path(FakeUpstream("orders", [tool("a", effect="read"), tool("b", effect="read")]))
    for name in ("a", "b", "a"):
        assert isinstance(await path.call(a_request(f"tool:orders/{name}")), Complete)


async def test_what_is_denied_for_every_call_is_not_listed() -> None:
    upstream = FakeUpstream("orders", [tool("find"), tool("refund"), tool("page", kind="resource")])
    path = Path(upstream)
    kinds: frozenset[CapabilityKind] = frozenset({"tool"})
    assert [each.local for each in path.pipeline.visible(ANA, kinds)] == ["find", "refund"]
    assert path.pipeline.visible(ANA, kinds, "nobody") == ()
    conditional = Path(upstream, policies=[Says(DENY, when_planned=False)])
    assert len(conditional.pipeline.visible(ANA, kinds, "orders")) == 2
    denied = Path(upstream, policies=[Says(DENY)])
    assert denied.pipeline.visible(ANA, kinds) == ()
    assert denied.pipeline.find(ANA, "tool:orders/find") is not None
    assert denied.pipeline.find(ANA, "tool:orders/none") is None


async def test_a_swap_wakes_whoever_waits_for_a_change() -> None:
    path = Path(FakeUpstream("orders", [tool()]))
    path.shelf.add(FakeUpstream("slow"), "default")
    path.pipeline.swap(path.snapshot("2"))
    assert path.pipeline.gaps("default") == {"slow": "has not answered yet"}
    assert path.pipeline.about("slow") == {}
    assert path.pipeline.catalog.sources.keys() == {"orders", "slow"}
    await path.pipeline.settled(0.0)
    seen: list[str] = []

    async def watch() -> None:
        seen.append(await path.pipeline.changed("2"))
        await path.pipeline.settled(5)
        seen.append("settled")

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            path.pipeline.swap(path.snapshot("2"))
            await anyio.wait_all_tasks_blocked()
            path.shelf.failed("slow", "refused")
            path.pipeline.swap(path.snapshot("3"))
    assert seen == ["3", "settled"]
    assert path.pipeline.version == "3"
    assert path.pipeline.policies is path.policies
