"""The handle a pattern works with: it draws each step's place in the journal, and has the step done in it.

Places are drawn in the pattern's own task, before anything is awaited, so that the same pattern draws the same places
when it is replayed. Everything else may then happen side by side and in any order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import anyio

from gateway.core.errors import Internal, InvalidRequest
from gateway.core.json import Json, JsonObject, json_list
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Budget, Usage
from gateway.core.ports.journal import RunInterrupted, Slot
from gateway.core.ports.orchestration import Answer, Node, Note, Offer, Question, StepResult, TaskView, Whose
from gateway.core.ports.scratchpad import Scratchpad
from gateway.orchestration.records.events import part_body, progress_body
from gateway.orchestration.records.orders import Order, target_name
from gateway.orchestration.records.results import result_from_json, result_to_json
from gateway.orchestration.running.begun import Begun, BegunSteps
from gateway.orchestration.running.context import RunContext
from gateway.orchestration.running.pauses import prolonged
from gateway.orchestration.running.persistence import persistently
from gateway.orchestration.running.stopping import Stopping
from gateway.orchestration.running.undoing import CANCELED, COMPENSATES, Undone, may_undo, undone
from gateway.orchestration.step.calls import Caller
from gateway.orchestration.step.graphs import in_order, is_step_name, skipped, usable
from gateway.orchestration.step.notes import keep, kept
from gateway.orchestration.step.offers import offer_from_json, offer_of, offer_to_json
from gateway.orchestration.step.questions import Questions
from gateway.orchestration.step.scratchpad import RunScratchpad
from gateway.orchestration.step.taking_over import taken_over

_UNSURE = frozenset({"timeout", "in_doubt"})
"""How a tool's call ends of which nobody knows what it has done."""


class RunSteps:
    """See `Steps`."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._caller = Caller(run)
        self._scratchpad = RunScratchpad(run)
        self._task_id = anyio.get_current_task().id
        self._spent = Usage()
        self._held_s = 0.0
        self._attempts: dict[str, int] = {}
        self._tools: dict[str, tuple[str, bool]] = {}
        """Which tool was called first for a step, and whether nobody knows what it has done."""
        self._emitted = 0
        self._questions = Questions(run)
        self._begun = BegunSteps(run.group, run.gate, self._done)
        self._undo: list[Node] = []
        self._untold = False
        """Whether nobody but this process knows yet that something can be undone."""
        self._telling = anyio.Lock()
        self._stopping = Stopping(gate=run.gate, group=run.group, withdraw=self._questions.withdrawn)
        if may_undo(run.spec.settings):
            self._stopping.begin()
        self.notices: list[str] = []
        """Who stood in for whoever fills a role."""
        self.results: list[tuple[str, StepResult]] = []
        """Every step's name and result so far, in the order in which they were drawn."""

    @property
    def budget(self) -> Budget:
        return self._run.ledger.budget

    @property
    def asked(self) -> bool:
        """Whether anybody with a role was asked anything."""
        return self._questions.asked_a_role

    @property
    def answers_labels(self) -> Labels:
        """Of everything that was answered to the run's questions."""
        return self._questions.labels

    @property
    def spent(self) -> Usage:
        return self._spent

    @property
    def scratchpad(self) -> Scratchpad:
        return self._scratchpad

    async def call(self, node: Node) -> StepResult:
        slot = self._run.wiring.journal.draw()
        order = self._order(node, slot, target_name(node.target))
        result = await self._in_slot(slot, order)
        self._account(order, result)
        other = taken_over(node, result)
        if other is None:
            return result
        because = f"{node.target} failed: {result.because}"
        await self.decided("fallback", target_name(other.target), because=because)
        result = await self.call(other)
        self.notices += [node.notice] if result.ok and node.notice else []
        return result

    async def graph(
        self, nodes: Mapping[str, Node], *, limit: int, deadline_s: float | None = None
    ) -> Mapping[str, StepResult]:
        if not nodes:
            return {}
        names = in_order(nodes)
        until_s = self._run.ledger.budget.deadline_s
        if deadline_s is not None:
            until_s = min(until_s, await self._after(deadline_s))
        slots = {name: self._run.wiring.journal.draw() for name in names}
        first = slots[names[0]]
        orders = {
            name: replace(self._order(nodes[name], slots[name], name, first=first), until_s=until_s, side_by_side=True)
            for name in names
        }
        if len({order.id for order in orders.values()}) != len(orders):
            raise InvalidRequest("two nodes of one graph cannot be attempts at the same step")
        results = await self._side_by_side(names, orders, slots, limit)
        for name in names:
            self._account(orders[name], results[name])
        return {name: results[name] for name in nodes}

    async def run(self, workflow: str, input: Json) -> StepResult:
        return await self.call(Node(target=f"workflow:{workflow}", input=input))

    async def begin(self, name: str, node: Node) -> None:
        if not is_step_name(name):
            raise InvalidRequest(f"{name!r} is no name of a step: letters, digits, _ and -, at most 40")
        slot = self._run.wiring.journal.draw()
        order = self._order(node, slot, name)
        self._begun.start(name, Begun(order=replace(order, side_by_side=True), slot=slot))

    async def finished(self, *, timeout_s: float | None = None) -> tuple[str, StepResult] | None:
        if not self._begun.names:
            return None
        found = await self._begun.next(self._run.wiring.journal.draw(), timeout_s)
        if found is None:
            return None
        begun, result = found
        self._account(begun.order, result)
        return begun.order.name, result

    async def drop(self, name: str, *, reason: str) -> StepResult:
        self._check_own_task()
        begun, result = await self._begun.stopped(name, reason)
        self._account(begun.order, result)
        return result

    async def dropped_all(self) -> None:
        """Stop what the pattern began and did not wait for."""
        for name in self._begun.names:
            await self.drop(name, reason="the run had its answer")

    def abandon(self) -> None:
        """The run does not go on here: nothing of it may."""
        self._begun.abandon()
        self._stopping.end()

    async def offers(self, targets: Sequence[str]) -> Mapping[str, Offer]:
        run = self._run

        async def act() -> JsonObject:
            return {target: offer_to_json(offer_of(run, target)) for target in targets}

        kept = await run.wiring.journal.draw().run("offers", act)
        return {target: offer_from_json(target, kept.get(target)) for target in targets}

    async def ask(self, question: Question, *, timeout_s: float) -> Answer:
        if self._untold:
            await self._tell_undoable()
        return await self._questions.ask(question, timeout_s)

    async def emit(self, event: str, detail: Mapping[str, Json], *, text: str = "") -> None:
        self._check_own_task()
        self._emitted += 1
        body = progress_body(text or event, {"event": event, **detail})
        await self._run.chronicle.event(f"emitted {self._emitted}", body)

    async def decided(self, what: str, chosen: Json, *, because: str, detail: Mapping[str, Json] | None = None) -> None:
        told: JsonObject = {"what": what, "chosen": chosen, "because": because, **(detail or {})}
        await self.emit("decided", told, text=f"{what}: {because}")

    async def part(self, name: str, value: Json, *, text: str = "") -> None:
        self._check_own_task()
        await self._run.chronicle.event(f"part {name}", part_body(name, value, text))

    def compensate(
        self,
        target: str,
        input: Json,
        *,
        labels: Labels = CLEAN,
        because: str = "",
        task: TaskView | None = None,
        lacks: str = "",
    ) -> None:
        self.undoable()
        self._undo.append(Node(target=target, input=input, labels=labels, undoes=because, task=task, lacks=lacks))

    def undoable(self) -> None:
        self._check_own_task()
        if not self._run.gate.undoes and not may_undo(self._run.spec.settings):
            self._untold = True
        self._run.gate.undoes = True
        self._stopping.begin()

    async def note(self, note: Note) -> None:
        async def act() -> JsonObject:
            await keep(self._run, note)
            return {}

        await self._run.wiring.journal.draw().run(f"note {note.topic}", act)

    async def recall(self, topic: str, key: str, *, whose: Whose = "workflow", limit: int = 1) -> tuple[Json, ...]:
        async def act() -> JsonObject:
            return {"values": await kept(self._run, topic, key, whose, limit)}

        return tuple(json_list((await self._run.wiring.journal.draw().run(f"recall {topic}", act))["values"]))

    async def now(self) -> float:
        then_s, held_us = await self._moment()
        return then_s - held_us / 1e6

    async def undo(self, because: str) -> list[Undone]:
        """Call every registered compensation, last first; `because`: why the run is undone."""
        nodes, self._undo = self._undo, []
        return await undone(nodes, self, because)

    async def _side_by_side(
        self, names: list[str], orders: Mapping[str, Order], slots: Mapping[str, Slot], limit: int
    ) -> dict[str, StepResult]:
        results: dict[str, StepResult] = {}
        done = {name: anyio.Event() for name in names}
        room = anyio.Semaphore(max(1, limit))
        failures: list[Internal | RunInterrupted] = []

        async def one(name: str) -> None:
            order = orders[name]
            for needed in order.node.after:
                await done[needed].wait()
            given = {**order.node.given, **{needed: results[needed] for needed in order.node.after}}
            order = replace(order, results=given)
            lacking = [each for each in order.node.after if not usable(results[each], orders[each].node)]
            if lacking:
                results[name] = skipped(order, lacking)
                await self._caller.tell(order, results[name])
            else:
                async with room:
                    results[name] = await self._in_slot(slots[name], order)
            done[name].set()

        async def guarded(name: str) -> None:
            try:
                await one(name)
            except (Internal, RunInterrupted) as failure:
                failures.append(failure)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(guarded, name)
        if failures:
            raise failures[0]
        return results

    async def _in_slot(self, slot: Slot, order: Order, begun: Begun | None = None) -> StepResult:
        live = False

        async def act() -> JsonObject:
            nonlocal live
            live = True
            return {**result_to_json(await self._acted(order, begun)), "drawn": order.drawn()}

        result = result_from_json(await slot.run(order.journal_name, act))
        if order.home != order.run_id:
            result = replace(result, taken_over=True)
        if not live:
            self._run.ledger.add(result.usage, order.node.target)
        # On replay too: the crash may have cut off what was to be told.
        await self._caller.tell(order, result)
        return result

    async def _acted(self, order: Order, begun: Begun | None) -> StepResult:
        """What the step comes to, or was stopped as."""
        work = anyio.CancelScope() if begun is None else begun.work
        if order.node.undoes:
            with work:
                return await self._do(order)
        elif self._run.gate.canceled.is_set():
            return await self._caller.not_begun(order, CANCELED)
        else:
            with self._stopping.around(work):
                return await self._do(order)
        return await self._caller.dropped(order, (begun.dropped if begun else "") or CANCELED)

    async def _done(self, begun: Begun) -> StepResult:
        return await self._in_slot(begun.slot, begun.order, begun)

    async def _tell_undoable(self) -> None:
        """Whoever cancels the run in another process, or in this one after a crash, has to know before more is done."""
        async with self._telling:
            if self._untold:
                runs, run_id, at_us = self._run.wiring.runs, self._run.spec.run_id, self._run.wiring.clock.now_us()
                body = progress_body("it can be undone", {"event": COMPENSATES})
                await persistently(lambda: runs.append(run_id, COMPENSATES, body, at_us))
                self._untold = False

    async def _do(self, order: Order) -> StepResult:
        """Have a step done as soon as steps may begin."""
        if self._untold:
            await self._tell_undoable()
        gate, ledger = self._run.gate, self._run.ledger
        if not (order.node.undoes and gate.canceled.is_set()):
            await gate.passed()
        if gate.held_s > self._held_s:
            ledger.budget = prolonged(ledger.budget, gate.held_s - self._held_s)
            self._held_s = gate.held_s
        if gate.held_s != order.held_s:
            until_s = order.until_s + gate.held_s - order.held_s
            order = replace(order, until_s=until_s, held_s=gate.held_s)
        return await self._caller.do(order)

    def _order(self, node: Node, slot: Slot, name: str, *, first: Slot | None = None) -> Order:
        home, named = self._run.spec.home(slot.number), self._run.spec.name_of(slot.number)
        step_id = node.again or (f"{named}/{slot.number}" if first is None else f"{named}/{first.number}/{name}")
        if node.again and node.again not in self._attempts:
            raise InvalidRequest(f"there is no step {node.again} to try again")
        outer = self._run.spec.phase
        # A run that is itself only proposed must not let its own steps commit.
        phase = outer if outer == "propose" else node.phase or outer
        node = node if phase == node.phase else replace(node, phase=phase)
        tool, unsure = self._tools.get(step_id, (node.target, False))
        return Order(
            run_id=self._run.spec.run_id,
            id=step_id,
            name=name,
            node=node,
            first_attempt=self._attempts.get(step_id, 0) + 1,
            results=node.given,
            until_s=self._run.ledger.budget.deadline_s,
            held_s=self._held_s,
            home=home,
            group=(first or slot).number,
            stands_in=tool != node.target and not unsure,
        )

    def _account(self, order: Order, result: StepResult) -> None:
        self._attempts[order.id] = result.attempts
        if order.kind == "tool":
            tool, unsure = self._tools.get(order.id, (order.node.target, False))
            self._tools[order.id] = (tool, unsure or result.error in _UNSURE)
        self._spent = self._spent + result.usage
        self.results.append((order.name, result))

    async def _after(self, seconds: float) -> float:
        """The monotonic time that is `seconds` after now, the same moment after a crash, but for the time in which the
        run's clock stood still."""
        clock = self._run.wiring.clock
        then_s, held_us = await self._moment()
        until_us = (then_s + seconds) * 1e6 + self._run.gate.held_us - held_us
        return clock.monotonic_s() + (until_us - clock.now_us()) / 1e6

    async def _moment(self) -> tuple[float, int]:
        """UTC seconds, and for how long the run's clock had stood still by then, microseconds."""

        async def act() -> JsonObject:
            await self._run.gate.passed()
            return {"now": self._run.wiring.clock.now_us() / 1e6, "held_us": self._run.gate.held_us}

        said = await self._run.wiring.journal.draw().run("now", act)
        now, held_us = said["now"], said.get("held_us")
        return (float(now) if isinstance(now, int | float) else 0.0, held_us if isinstance(held_us, int) else 0)

    def _check_own_task(self) -> None:
        if anyio.get_current_task().id != self._task_id:
            raise Internal("steps are used from the pattern's own task only: from another their order would be chance")
