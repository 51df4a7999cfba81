"""One attempt at a step: written down, opened, sent down the path, waited for. Knows no retry and no budget."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256

import anyio
from msgspec import structs

from gateway.core.asked import ASKABLE
from gateway.core.content import Content, Plain, text_part
from gateway.core.errors import DeadlineExceeded, GatewayError
from gateway.core.json import Json, json_object, json_text
from gateway.core.labels import CLEAN
from gateway.core.limits import NOTHING_USED, Usage
from gateway.core.model import (
    Complete,
    Emit,
    Event,
    InputRequired,
    Request,
    Result,
    StatusChanged,
    TaskOpened,
    ignore_event,
    principal,
)
from gateway.core.ports.costs import WARNINGS
from gateway.core.ports.orchestration import StepResult
from gateway.core.ports.storage import Handed, OpenStep
from gateway.orchestration.records.events import warning_body
from gateway.orchestration.records.orders import Order
from gateway.orchestration.records.results import answered, refused
from gateway.orchestration.running.context import RunContext
from gateway.orchestration.running.relaying import Patience, Relay
from gateway.orchestration.step.asking_back import asked_back
from gateway.orchestration.step.forms import FORMS
from gateway.orchestration.step.tools_asking import Exchange

SAY_GOODBYE_S = 2.0
"""How long it may take to tell a nested run that nobody waits for it any longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What all attempts of an order have in common."""

    order: Order
    request: Request
    until_s: float
    resume: str | None
    """The remote task, perhaps empty, of a delivery that a crash interrupted; None where there was none."""


async def deliver(run: RunContext, delivery: Delivery, begun: StepResult) -> StepResult:
    """`begun` with what became of one attempt; its number is `begun.attempts`."""
    order, wiring = delivery.order, run.wiring
    opened = _open_step(run, delivery) if order.kind == "agent" else None
    relay = _relay(run, order) if order.kind == "workflow" else None

    async def on_event(event: Event) -> None:
        nonlocal begun
        if isinstance(event, TaskOpened) and event.task.id != begun.remote_task:
            begun = replace(begun, remote_task=event.task.id)
            run.remote_tasks[order.id] = event.task.id
            # Written before anything else happens: after a crash this is how the work is found again.
            await run.chronicle.step_at_once(order, begun, "running")
        elif isinstance(event, StatusChanged) and relay is not None:
            await relay.heard(event)

    try:
        if opened is not None:
            run.chronicle.reopens(order.id)
            # On disk before the step leaves: that it is open tells, after a crash, that it may have left.
            await wiring.open_steps.open(opened)
        await _at_work(run, order, begun)
        request = structs.replace(delivery.request, meta=_meta(run, delivery, opened))
        answer = await _conversed(run, delivery, request, on_event, lambda: begun.remote_task)
        if isinstance(answer, Complete) and WARNINGS in answer.meta:
            await _tell_of_budgets(run, answer)
        if answer is not None:
            run.chronicle.over(order, begun)
            return answered(begun, answer)
        late = replace(begun, error="timeout", reason=f"{order.node.target} did not answer in time")
    except GatewayError as error:
        late = refused(begun, error)
        if not isinstance(error, DeadlineExceeded):
            await _nothing_asked(run, order)
            return late
    await _given_up(run, order, late.remote_task)
    if max(delivery.until_s, wiring.clock.monotonic_s()) >= order.until_s:
        return replace(late, error="deadline", reason=f"{order.node.target} was still at work when time was up")
    return late


async def _at_work(run: RunContext, order: Order, begun: StepResult) -> None:
    """Tell that somebody is: of a further attempt before it leaves, as the step may be open from the one before."""
    if order.kind == "agent" and order.first_attempt > 1:
        await run.chronicle.step_at_once(order, begun, "running")
    else:
        run.chronicle.step(order, begun, "running")


async def _given_up(run: RunContext, order: Order, remote_task: str) -> None:
    """Agents are told by whoever speaks with them; a nested run goes on unless it is told."""
    if order.kind == "workflow" and remote_task:
        await cancel_nested(run, order.node.target, remote_task)
    await _nothing_asked(run, order)


async def _nothing_asked(run: RunContext, order: Order) -> None:
    """Whatever the nested run asked, nobody has to answer any more."""
    if relay := run.relays.get(order.id):
        await relay.over()


async def _conversed(
    run: RunContext, delivery: Delivery, request: Request, emit: Emit, task: Callable[[], str]
) -> Result | None:
    """What comes of a request once everything the agent asks back, if it does, is answered by the run's caller."""
    order, clock = delivery.order, run.wiring.clock
    if order.kind == "tool" and run.limits.ask_timeout_s:
        return await _conversed_with_tool(run, delivery, request, emit)
    labels, usage = CLEAN, NOTHING_USED
    answer = await _within_time(run, delivery, request, emit)
    while isinstance(answer, InputRequired) and order.kind == "agent" and task() and run.limits.ask_timeout_s:
        asked_s = clock.monotonic_s()
        reply = await asked_back(run, order, answer, min(order.until_s, asked_s + run.limits.ask_timeout_s))
        if isinstance(reply, str):
            return replace(answer, body=Plain(Content(parts=(text_part(reply),))), labels=labels.join(answer.labels))
        labels, usage = labels.join(answer.labels).join(reply.labels), usage + Usage(calls=1)
        until_s = min(order.until_s, delivery.until_s + clock.monotonic_s() - asked_s)
        budget = structs.replace(request.budget, deadline_s=until_s)
        said = Plain(reply.content)
        request = structs.replace(request, body=said, labels=request.labels.join(labels), budget=budget)
        delivery = replace(delivery, request=request, until_s=until_s, resume=None)
        opened = _open_step(run, delivery)
        await run.wiring.open_steps.open(opened)
        meta = {**_meta(run, delivery, opened), "message_id": reply.name, "task": task()}
        answer = await _within_time(run, delivery, structs.replace(request, meta=meta), emit)
    if isinstance(answer, Complete) and usage is not NOTHING_USED:
        return replace(answer, labels=labels.join(answer.labels), usage=usage + answer.usage)
    return answer


async def _conversed_with_tool(run: RunContext, delivery: Delivery, request: Request, emit: Emit) -> Result | None:
    """See `_conversed`; the step's time stands still while people are asked."""
    order = delivery.order

    async def call(asked: Request, waited_s: float) -> Result | None:
        until_s = min(order.until_s, delivery.until_s + waited_s)
        budget = structs.replace(asked.budget, deadline_s=until_s)
        return await _within_time(run, replace(delivery, until_s=until_s), structs.replace(asked, budget=budget), emit)

    return await Exchange(run=run, order=order, until_s=order.until_s).ended(request, call)


async def _within_time(run: RunContext, delivery: Delivery, request: Request, emit: Emit) -> Result | None:
    """The answer; None where time was up before there was one. It stands still while a nested run waits for people."""
    order = delivery.order
    if order.kind != "workflow":
        with anyio.CancelScope(deadline=delivery.until_s):
            return await run.gateway.call(request, emit)
        return None
    with anyio.CancelScope(deadline=order.until_s) as wait:
        run.remote_tasks.setdefault(order.id, delivery.resume or "")
        patience = Patience(wiring=run.wiring, until_s=delivery.until_s, at_most_s=order.until_s, wait=wait)
        run.group.start_soon(patience.kept, run.remote_tasks, order.id)
        try:
            return await run.gateway.call(request, emit)
        except anyio.get_cancelled_exc_class():
            await _canceled_elsewhere(run, order)
            raise
        finally:
            patience.watch.cancel()
    return None


async def _canceled_elsewhere(run: RunContext, order: Order) -> None:
    """Tell the nested run if another process has canceled this one: it knows of those that were there when it looked,
    and this one went on for a moment."""
    if run.wiring.alone or not (nested := run.remote_tasks.get(order.id)):
        return
    with anyio.move_on_after(SAY_GOODBYE_S, shield=True):
        try:
            canceled = await run.wiring.journal.state(run.spec.run_id) == "canceled"
        except GatewayError:
            return  # the engine is going down
        if canceled:
            await cancel_nested(run, order.node.target, nested)


def _relay(run: RunContext, order: Order) -> Relay:
    relay = run.relays[order.id] = Relay(wiring=run.wiring, floor=run.floor, order=order, tenant=run.spec.tenant)
    return relay


async def _tell_of_budgets(run: RunContext, answer: Complete) -> None:
    for key, text in json_object(answer.meta[WARNINGS]).items():
        await run.chronicle.event(key, warning_body(json_text(text)))


def _open_step(run: RunContext, delivery: Delivery) -> OpenStep:
    """What the agent's token stands for while it works on the step."""
    order, spec, wiring = delivery.order, run.spec, run.wiring
    left_open = wiring.open_steps.find(spec.run_id, order.id)
    # Opened again after a crash, it still knows what it was told before.
    labels = delivery.request.labels if left_open is None else delivery.request.labels.join(left_open.labels)
    # What it writes and calls meanwhile is in its words as its answer is.
    labels = labels.join(wiring.agent_labels(spec.tenant, order.slug))
    now_us, now_s = wiring.clock.now_us(), wiring.clock.monotonic_s()
    budget = delivery.request.budget
    if left_open is not None:
        # What its agent may spend was said as it was opened first, of all it would have spent.
        budget = structs.replace(
            budget, calls=left_open.calls_left, tokens=left_open.tokens_left, cost_usd=left_open.cost_left_usd
        )
    return OpenStep(
        run_id=spec.run_id,
        step_id=order.id,
        agent=order.slug,
        actor=principal(
            order.node.target,
            kind="agent",
            tenant=spec.tenant,
            roles=wiring.agent_roles(spec.tenant, order.slug),
            behind=run.acting,
        ),
        phase=delivery.request.phase,
        labels=labels,
        deadline_at_us=now_us + int((delivery.until_s - now_s) * 1e6),
        calls_left=budget.calls,
        tokens_left=budget.tokens,
        cost_left_usd=budget.cost_usd,
        spent=NOTHING_USED if left_open is None else left_open.spent,
        traceparent=spec.traceparent,
        given=() if order.node.sealed else tuple(_handed(name, each) for name, each in order.results.items()),
        depth=budget.depth,
    )


def _handed(name: str, result: StepResult) -> Handed:
    return Handed(name=name, step_id=result.id, within=result.within, taken_out=result.taken_out)


def _context_within(context_id: str, target: str) -> str:
    """The context of a nested workflow's runs: the same for all of one conversation with whatever calls it."""
    return "ctx_" + sha256(f"{context_id}\n{target}".encode()).hexdigest()[:26]


def _meta(run: RunContext, delivery: Delivery, opened: OpenStep | None) -> dict[str, Json]:
    order, message_id = delivery.order, delivery.order.message_id
    # An agent's context is how its work is found again; a nested workflow's is the conversation it belongs to.
    context_id = _context_within(run.spec.context_id, order.node.target) if order.kind == "workflow" else message_id
    meta: dict[str, Json] = {"message_id": message_id, "context_id": context_id}
    if delivery.resume is not None:
        meta["resume"] = {"task": delivery.resume}
    if delivery.order.kind == "tool" and run.limits.ask_timeout_s:
        meta[ASKABLE] = FORMS
    if opened is not None and (token := run.wiring.mint(opened)):
        meta["delegation"] = token
    return meta


async def cancel_nested(run: RunContext, target: str, remote_task: str) -> None:
    """Cancel a run that is a step of this one; that it has ended meanwhile is no failure."""
    clock = run.wiring.clock
    request = Request(
        id=run.wiring.ids.new("req"),
        principal=run.acting,
        capability=target,
        operation="task.cancel",
        # Time of its own: mostly it is said because the run's is over.
        budget=structs.replace(run.ledger.budget, deadline_s=clock.monotonic_s() + SAY_GOODBYE_S),
        protocol="run",
        run_id=run.spec.run_id,
        meta={"task": remote_task},
    )
    with anyio.move_on_after(SAY_GOODBYE_S, shield=True):
        try:
            await run.gateway.call(request, ignore_event)
        except GatewayError:
            return
