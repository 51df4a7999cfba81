"""One step, from its beginning to its result: within its budget, checked, tried, written down.

Everything here happens inside a slot of the journal: recorded at most once, and done again after a crash. So it may
look at clocks and ledgers; what it decides is part of what it records.
"""

import random
from dataclasses import replace
from functools import partial

import anyio
import structlog
from msgspec import structs

from gateway.core.content import Body
from gateway.core.contracts import violation
from gateway.core.errors import Conflict, GatewayError
from gateway.core.json import JsonObject, json_object
from gateway.core.labels import join_all
from gateway.core.limits import Usage
from gateway.core.model import Request
from gateway.core.ports.journal import RunInterrupted
from gateway.core.ports.orchestration import StepResult
from gateway.core.ports.scratchpad import Entry
from gateway.orchestration.messages.handed import handed
from gateway.orchestration.messages.said import said_to
from gateway.orchestration.records.events import part_body, progress_body, warning_body
from gateway.orchestration.records.orders import Order, described
from gateway.orchestration.records.promised import promised
from gateway.orchestration.records.results import cut, refused
from gateway.orchestration.running.context import RunContext
from gateway.orchestration.running.persistence import persistently
from gateway.orchestration.step.asking_back import given_up
from gateway.orchestration.step.deliveries import Delivery, cancel_nested, deliver
from gateway.orchestration.step.own_calls import spent_on_own_calls
from gateway.orchestration.step.remembering import with_memory
from gateway.orchestration.step.scratchpad_rules import refuse_reader, refuse_writer
from gateway.orchestration.step.summaries import fitted_for

log = structlog.get_logger(__name__)

FIRST_PAUSE_S = 0.2
CLAIM_PAUSE_S = 0.1
"""How often a step that waits for an outside resource asks again."""


class Caller:
    """Does the steps of one run."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._clock = run.wiring.clock
        self._began: dict[tuple[str, int], tuple[int, float]] = {}
        """When steps under way began, by id and first attempt: on the wall clock, microseconds, and monotonic."""
        self._used: dict[tuple[str, int], Usage] = {}
        """What steps have used that are not told yet."""
        self._settled: set[str] = set()
        """Steps of which an attempt has ended; what is still open of the others was left open by a crash."""

    async def do(self, order: Order) -> StepResult:
        """The step's result, failed or not. Raises: RunInterrupted."""
        started_us, started_s = self._clock.now_us(), self._clock.monotonic_s()
        if order.node.undoes:
            # Its own time, although the run's may be over: what that broke off would stay as it is.
            order = replace(order, until_s=max(order.until_s, started_s + self._timeout_s(order)))
        seen = self._run.last_seen(order.id, order.first_attempt)
        if seen is not None and seen.state == "running" and seen.started_at_us:
            # It began before the crash that interrupted it.
            earlier_s = max(0, started_us - seen.started_at_us) / 1e6
            started_us, began_s = seen.started_at_us, started_s - earlier_s
        else:
            began_s = started_s
        self._began[order.id, order.first_attempt] = (started_us, began_s)
        begun = StepResult(
            id=order.id,
            target=order.node.target,
            ok=False,
            phase=order.node.phase,
            attempts=order.first_attempt - 1,
            started_at_us=started_us,
        )
        try:
            result = await self._within_budget(order, begun, started_s)
        except RunInterrupted:
            raise
        except GatewayError as error:
            result = refused(begun, error)
        except Exception:
            log.exception("a step failed in the gateway itself", run=order.run_id, step=order.id)
            result = replace(begun, error="failed", reason="the gateway failed; its log has the rest")
        if result.attempts < order.first_attempt and self._interrupted(order):
            result = await self._not_gone_on(order, result)
        if not result.ok and self._run.leaving.is_set():
            # Whatever failed now may have failed because the gateway goes down: the next process does it again.
            await anyio.sleep_forever()
        return replace(result, duration_us=int((self._clock.monotonic_s() - began_s) * 1e6))

    async def dropped(self, order: Order, reason: str) -> StepResult:
        """The result of a step that was stopped. A nested run is told, and an agent that waits for an answer; whoever
        speaks with one that is at work has told it."""
        remote_task = self._run.remote_tasks.get(order.id, "")
        waited = await given_up(self._run, order)
        if remote_task and (order.kind == "workflow" or waited):
            await cancel_nested(self._run, order.node.target, remote_task)
            if relay := self._run.relays.pop(order.id, None):
                await relay.over()
        now_us, now_s = self._clock.now_us(), self._clock.monotonic_s()
        began_us, began_s = self._began.get((order.id, order.first_attempt), (now_us, now_s))
        return StepResult(
            id=order.id,
            target=order.node.target,
            ok=False,
            phase=order.node.phase,
            error="canceled",
            reason=reason,
            usage=self._used.get((order.id, order.first_attempt), Usage()),
            attempts=order.first_attempt,
            remote_task=remote_task,
            started_at_us=began_us,
            duration_us=int((now_s - began_s) * 1e6),
        )

    async def not_begun(self, order: Order, reason: str) -> StepResult:
        """The result of a step that nobody begins any more."""
        result = StepResult(
            id=order.id,
            target=order.node.target,
            ok=False,
            phase=order.node.phase,
            error="canceled",
            reason=reason,
            attempts=order.first_attempt - 1,
            started_at_us=self._clock.now_us(),
        )
        return await self._not_gone_on(order, result)

    async def _not_gone_on(self, order: Order, result: StepResult) -> StepResult:
        """`result`, of a step that is not done here. An earlier process may have begun it: then whoever was at work on
        it is told, and it counts as tried."""
        run = self._run
        seen = run.last_seen(order.id, order.first_attempt)
        if seen is None:
            opened = run.wiring.open_steps.find(order.run_id, order.id) is not None
            return replace(result, attempts=order.first_attempt) if opened else result
        if seen.remote_task:
            await cancel_nested(run, order.node.target, seen.remote_task)
        return replace(result, attempts=seen.attempt, remote_task=seen.remote_task, started_at_us=seen.started_at_us)

    async def tell(self, order: Order, result: StepResult) -> None:
        """Have the end of a step written down. What was told before a crash counts once."""
        chronicle = self._run.chronicle
        self._settled.add(order.id)
        self._began.pop((order.id, order.first_attempt), None)
        self._used.pop((order.id, order.first_attempt), None)
        chronicle.step(order, result)
        if order.kind == "agent" and result.attempts >= order.first_attempt:
            chronicle.closed(order.id)
        text = result.summary or "done" if result.ok else f"{result.error}: {result.reason}"
        detail = described(order, result, self._handed(order, result))
        body = progress_body(cut(f"{order.known_as}: {text}", 200), detail)
        await chronicle.event(f"{order.message_id}:ended", body)
        if order.node.part and result.ok:
            await chronicle.event(f"part {order.node.part}", part_body(order.node.part, result.value, result.text))
        for part, warning in self._run.ledger.warnings().items():
            await chronicle.event(f"budget:warning:{part}", warning_body(warning))

    async def _within_budget(self, order: Order, begun: StepResult, started_s: float) -> StepResult:
        if order.until_s <= started_s:
            return replace(begun, error="deadline", reason="time was up before this step began")
        ledger, node = self._run.ledger, order.node
        if node.undoes:
            reservation = ledger.reserve_undo(order.id)
        elif self._interrupted(order):
            # There was room for it when it began; its answer may be there.
            reservation = ledger.reserve_begun(node.target, order.id)
        else:
            reservation = ledger.reserve(node.target, order.id, last=node.last)
        if reservation is None:
            return replace(begun, error="budget", reason="the run's budget has no room for another step")
        used: Usage | None = None
        try:
            result = await self._checked(order, begun, started_s)
            used = result.usage
        except GatewayError:
            used = begun.usage
            raise
        finally:
            if used is None:
                # One that is stopped was called, whatever came of it.
                used = Usage(calls=1) + spent_on_own_calls(self._run.wiring.open_steps, order.run_id, order.id)
            used = self._used[order.id, order.first_attempt] = ledger.settle(reservation, used, node.target)
        return replace(result, usage=used)

    def _timeout_s(self, order: Order) -> float:
        return self._run.limits.timeout_s if order.node.timeout_s is None else order.node.timeout_s

    async def _checked(self, order: Order, begun: StepResult, started_s: float) -> StepResult:
        node = order.node
        if node.lacks:
            return replace(begun, error="schema", reason=f"it was not called: {node.lacks}")
        if node.input_schema and (broken := violation(node.input_schema, node.input)):
            return replace(begun, error="schema", reason=f"what it would be given breaks its contract: {broken}")
        await self._claim(order)
        read = await self._read(order)
        begun = self._with_labels(order, begun, read)
        told = self._arguments(order)
        said = said_to(self._run.spec, node, order.results, read, told, self._run.recap.text)
        said, begun = await with_memory(self._run, order, said, begun)
        if order.kind == "agent":
            said, begun = await fitted_for(self._run, order, said, begun)
        result = await self._tried(self._delivery(order, said.body(), started_s), begun)
        if result.ok and node.output_schema:
            result = promised(node.output_schema, result)
        if not result.ok:
            return result
        try:
            for key, value in result.writes.items():
                refuse_writer(self._run.keys, key, order.slug, value)
            if node.publishes:
                await self._publish(order, result)
        except GatewayError as error:
            return replace(refused(result, error), ok=False)
        return result

    async def _publish(self, order: Order, result: StepResult) -> None:
        """Write what the agent returned. Raises: Conflict: another step wrote the key since this one was handed it."""
        scratch = self._run.wiring.scratch
        for key, value in result.writes.items():
            expected: int | None = result.reads.get(key)
            if order.node.phase == "commit":
                # What it says has been done: its word stands, whatever was written meanwhile.
                expected = None
            elif expected is None and order.side_by_side:
                known = await persistently(partial(scratch.get, order.run_id, key))
                expected = known.version if known is not None and known.writer == order.id else 0
            entry = Entry(key=key, value=value, version=0, writer=order.id, labels=result.labels)
            once = f"{order.message_id} {key}"
            await persistently(partial(scratch.put, order.run_id, entry, expected_version=expected, once=once))

    async def _claim(self, order: Order) -> None:
        """Wait for every outside resource the step needs. Raises: Conflict: another run holds one until time was up."""
        run, spec = self._run, self._run.spec
        for resource in order.node.claims:
            until_us = spec.deadline_at_us + run.gate.held_us
            claim = partial(run.wiring.scratch.claim, spec.tenant, spec.run_id, resource, until_us=until_us)
            while not await persistently(partial(claim, now_us=self._clock.now_us())):
                if order.until_s - self._clock.monotonic_s() <= CLAIM_PAUSE_S:
                    raise Conflict(f"{resource} is claimed by another run, and was until time was up")
                await anyio.sleep(CLAIM_PAUSE_S)

    async def _read(self, order: Order) -> dict[str, Entry]:
        run = self._run
        read: dict[str, Entry] = {}
        for key in order.node.reads:
            refuse_reader(run.keys, key, order.slug)
            entry = await persistently(partial(run.wiring.scratch.get, run.spec.run_id, key))
            if entry is not None:
                read[key] = entry
        return read

    def _with_labels(self, order: Order, begun: StepResult, read: dict[str, Entry]) -> StepResult:
        given = (result.labels for result in order.results.values())
        seen = (entry.labels for entry in read.values())
        versions = {key: read[key].version if key in read else 0 for key in order.node.reads}
        labels = join_all((self._run.spec.labels, self._run.recap.labels, order.node.labels, *given, *seen))
        return replace(begun, labels=labels, reads=versions)

    async def _with_what_it_heard(self, order: Order, result: StepResult) -> StepResult:
        """The result with the labels of everything its agent was told while it worked on it, and what it spent."""
        if order.kind != "agent":
            return result
        open_steps = self._run.wiring.open_steps
        # Another process may have told it.
        await persistently(lambda: open_steps.look_at_run(order.run_id))
        step = open_steps.find(order.run_id, order.id)
        if step is None:
            return result
        return replace(result, labels=result.labels.join(step.labels), usage=result.usage + step.spent)

    def _handed(self, order: Order, result: StepResult) -> JsonObject:
        return handed(self._run.spec, order, result, self._arguments(order), self._run.recap.text)

    def _arguments(self, order: Order) -> frozenset[str] | None:
        """Names of all that a tool takes; None for one that takes more than it says."""
        if order.kind != "tool" or not order.node.tells:
            return None
        found = self._run.gateway.find(self._run.acting, order.node.target)
        schema = {} if found is None else found.input_schema or {}
        closed = schema.get("additionalProperties") is False
        return frozenset(json_object(schema.get("properties"))) if closed else None

    def _delivery(self, order: Order, body: Body, started_s: float) -> Delivery:
        """Raises: Exhausted: no depth is left for a further level."""
        run, node = self._run, order.node
        until_s = min(order.until_s, started_s + self._timeout_s(order))
        # A nested run may have to wait for people: whoever waits for it reckons its time, and the outer run bounds it.
        deadline_s = order.until_s if order.kind == "workflow" else until_s
        budget = run.ledger.left()
        if node.undoes:
            budget = structs.replace(run.ledger.allowance(), deadline_s=max(budget.deadline_s, deadline_s))
        # A tool is no level: it hands nothing on.
        part = budget.share if order.kind == "tool" else budget.child
        request = Request(
            id=run.wiring.ids.new("req"),
            principal=run.acting,
            capability=node.target,
            operation="call",
            budget=part(deadline_s=deadline_s, tokens=node.tokens, cost_usd=node.cost_usd),
            body=body,
            protocol="run",
            traceparent=run.spec.traceparent,
            run_id=run.spec.run_id,
            step_id=order.id,
            phase=node.phase,
            # The same for every attempt at the step: what one of them brought about, another does not repeat.
            idempotency_key=order.key if order.kind == "tool" else "",
        )
        return Delivery(order=order, request=request, until_s=until_s, resume=None)

    def _taken_up(self, delivery: Delivery) -> Delivery:
        """The delivery as an earlier process left it, if it did."""
        order = delivery.order
        if canceled := self._run.last_canceled(order.id, order.first_attempt):
            # Who worked on it was told to stop; it was, or is, begun anew, under a message id nobody had seen.
            order = replace(order, first_attempt=canceled + 1)
            delivery = replace(delivery, order=order)
        if not self._interrupted(order):
            return delivery
        seen = self._run.last_seen(order.id, order.first_attempt)
        return replace(delivery, resume="" if seen is None else seen.remote_task)

    def _interrupted(self, order: Order) -> bool:
        """Whether an earlier process was at work on the step when it died."""
        seen = self._run.last_seen(order.id, order.first_attempt)
        if seen is not None:
            return seen.state == "running"
        left_open = self._run.wiring.open_steps.find(order.run_id, order.id) is not None
        return left_open and order.id not in self._settled

    async def _tried(self, delivery: Delivery, begun: StepResult) -> StepResult:
        """Attempts until one reaches the target, at most as many as are allowed."""
        delivery = self._taken_up(replace(delivery, request=structs.replace(delivery.request, labels=begun.labels)))
        order, attempt = delivery.order, delivery.order.first_attempt
        pause_s = FIRST_PAUSE_S
        for tries_left in range(self._run.limits.retries, -1, -1):
            used = begun.usage + Usage(calls=1)
            begun = replace(begun, attempts=attempt, usage=used, remote_task=delivery.resume or "")
            result = await self._with_what_it_heard(order, await deliver(self._run, delivery, begun))
            left_s = delivery.until_s - self._clock.monotonic_s()
            # Unavailable: either the target was never reached, or its task is known and is asked for instead.
            if result.error != "unavailable" or not tries_left or left_s <= pause_s or self._run.leaving.is_set():
                return result
            self._run.chronicle.step(order, result)
            # Half of it by chance, so that steps that failed together do not come back together.
            await anyio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            if result.remote_task:
                delivery = replace(delivery, resume=result.remote_task)
            attempt, pause_s = attempt + 1, pause_s * 2
        raise AssertionError("unreachable: the last try returns")
