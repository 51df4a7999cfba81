"""A batch: every item goes through the stages, and the stages overlap, each at work on another item.

Between two stages there is a queue that holds no more than it may. When it is full, either the stage before it waits
(`block`), or an item gives way; which one did is named. An item that does not come through is undone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject, json_text
from gateway.core.ports.orchestration import Gap, Node, Outcome, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.sequential.crew import Crew
from gateway.patterns.sequential.handover import (
    Before,
    cannot_be_undone,
    node_of,
    undos_after,
)
from gateway.patterns.sequential.item_work import effects_on, staged_for
from gateway.patterns.sequential.lost_told import LostReferences
from gateway.patterns.sequential.pieces import Piece, Station, outcome_of
from gateway.patterns.sequential.queues import BoundedQueue, Overflow
from gateway.patterns.sequential.stage_work import StageEnd, StageWays
from gateway.patterns.sequential.stages import Stage
from gateway.patterns.shared.effects import Effect, effects_of
from gateway.patterns.shared.failures import STOPPED
from gateway.patterns.shared.gaps import gap_from
from gateway.patterns.shared.references import TASK, is_reference, named_in, paths_in, resolved
from gateway.patterns.shared.settings import whole
from gateway.patterns.shared.undoing import Undoing, is_stuck, undone

DEFAULT_QUEUE = 8
DEFAULT_LIST_SIZE = 8
DEFAULT_ITEMS = 1000
BatchCrew: TypeAlias = "Crew[list[StageEnd] | list[Gap]]"
"""Of an item's stage it is told the end, of an undoing what could not be undone."""
_OVERFLOWS: dict[str, Overflow] = {"block": "block", "drop_oldest": "drop_oldest", "drop_newest": "drop_newest"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRules:
    """How items come, and how they go on."""

    items: str
    queue: int
    overflow: Overflow
    list_size: int
    max_items: int

    @property
    def left_out(self) -> tuple[str, ...]:
        """The member of the task's data that holds the items."""
        return next(iter(paths_in(self.items)))[1:2]


def batch_in(block: JsonObject) -> BatchRules | None:
    """Raises: InvalidRequest: the items are no reference to the task."""
    said = block.get("batch")
    if not isinstance(said, dict):
        return None
    items = json_text(said.get("items"))
    if not is_reference(items) or [*named_in(items)] != [TASK] or len(next(iter(paths_in(items)))) < 2:
        raise InvalidRequest(f"{items!r} names no list of the task: write `items: $task.items`")
    return BatchRules(
        items=items,
        queue=whole(said, "queue", DEFAULT_QUEUE),
        overflow=_OVERFLOWS.get(json_text(said.get("overflow")), "block"),
        list_size=whole(said, "list_size", DEFAULT_LIST_SIZE),
        max_items=whole(said, "max_items", DEFAULT_ITEMS),
    )


class Batch:
    """One run's items on their way."""

    def __init__(self, rules: BatchRules, stages: tuple[Stage, ...], ways: StageWays, task: Task, steps: Steps) -> None:
        self._rules = rules
        self._ways = ways
        self._task = task
        self._steps = steps
        self._line = [
            Station(stage=stage, queue=BoundedQueue(size=rules.queue, overflow=rules.overflow), share=stage.share)
            for stage in stages
        ]
        self._pieces: list[Piece] = []
        self._at_work: dict[str, tuple[Station, list[Piece]]] = {}
        self._undoing: dict[str, Piece] = {}
        self._undone = 0
        self._lost = LostReferences()
        self._stopped: StepResult | None = None
        """What ended the budget or the time of the run."""

    async def run(self, concurrency: int) -> Outcome:
        """Raises: InvalidRequest: there is no list of items, or it is too long."""
        items = resolved(self._rules.items, Before(task=self._task).known)
        if not isinstance(items, list):
            raise InvalidRequest(f"{self._rules.items} is no list of items")
        if len(items) > self._rules.max_items:
            raise InvalidRequest(f"there are {len(items)} items, and at most {self._rules.max_items} are taken at once")
        self._pieces = [Piece(number=number, item=item) for number, item in enumerate(items, 1)]
        # What comes first is at hand as a whole, and waits without a limit of its own.
        self._line[0].queue = BoundedQueue(size=max(1, len(items)), overflow="block")
        for piece in self._pieces:
            self._line[0].queue.put(piece)
        crew: BatchCrew = Crew(self._steps, limit=concurrency)
        failed = await self._to_the_end(crew)
        if failed:
            await self._given_up(crew)
            self._compensate_all()
        return outcome_of(self._pieces, self._line, failed)

    async def _to_the_end(self, crew: BatchCrew) -> str:
        """Why the run fails; empty where it does not."""
        while True:
            while any([await self._moved(number, crew) for number in reversed(range(len(self._line)))]):
                pass
            ended = await crew.next()
            if ended is None:
                return ""
            failed = await self._ended(*ended, crew)
            if failed and self._ways.on_failure == "fail":
                return failed

    async def _ended(self, name: str, said: list[StageEnd] | list[Gap], crew: BatchCrew) -> str:
        """Keep how a work ended; which item failed by it, empty for none."""
        if name in self._undoing:
            piece = self._undoing.pop(name)
            piece.gaps += [each for each in said if isinstance(each, Gap)]
            return ""
        station, pieces = self._at_work.pop(name)
        station.busy = False
        failed = ""
        for piece, end in zip(pieces, (each for each in said if isinstance(each, StageEnd)), strict=True):
            await self._noted(piece, station, end, crew)
            if not end.result.ok:
                failed = failed or f"item {piece.number} failed in {station.stage.name}: {end.result.reason}"
        return failed

    async def _given_up(self, crew: BatchCrew) -> None:
        """Stop what is under way. What was done by then, or may have been, is kept, to be undone; what is being undone
        goes on."""
        because = "an item failed, and with it the run"
        for name, results in await crew.stop(because, but=self._undoing):
            station, pieces = self._at_work[name]
            effects = [effect for each in results for effect in effects_of(each, each)]
            for number, piece in enumerate(pieces):
                of_piece = effects_on(number, effects, len(pieces)) if station.stage.takes_lists else tuple(effects)
                # Whatever there is of it was not looked at to its end.
                last = replace(results[-1], ok=False, error="canceled", reason=because)
                await self._noted(piece, station, StageEnd(result=last, share=station.share, effects=of_piece), crew)
        while (ended := await crew.next()) is not None:
            await self._ended(*ended, crew)

    async def _moved(self, number: int, crew: BatchCrew) -> bool:
        """Whether anything went on at one station: to the next, or to work."""
        station = self._line[number]
        following = self._line[number + 1] if number + 1 < len(self._line) else None
        moved = False
        while station.held and not (following is not None and following.queue.blocks):
            await self._passed_on(station.held.popleft(), following, crew)
            moved = True
        if station.busy or station.held:
            return moved
        most = self._rules.list_size if station.stage.takes_lists else 1
        taken = station.taken(most, self._before)
        moved = moved or bool(taken or station.held)
        for piece in (*taken, *station.held):
            await self._lost.tell_of_condition(station.stage, self._before(piece), self._steps)
        if self._stopped is not None:
            for piece in taken:
                _lost(piece, station.stage, self._stopped)
                await self._undo_all(piece, crew)
        elif taken:
            await self._put_to_work(station, taken, crew)
        return moved

    async def _put_to_work(self, station: Station, pieces: list[Piece], crew: BatchCrew) -> None:
        name = f"{pieces[0].number}-{station.stage.name}"
        station.busy = True
        self._at_work[name] = (station, pieces)
        nodes = [node_of(station.stage, self._before(piece)) for piece in pieces]
        for piece in pieces:
            await self._lost.tell(station.stage, self._before(piece), self._steps)
        undoing = self._undone_with(station.stage, pieces)
        await crew.start(name, staged_for(station.stage, nodes, self._ways, station.share, undoing))

    async def _passed_on(self, piece: Piece, following: Station | None, crew: BatchCrew) -> None:
        if following is None:
            piece.state = "done"
            if piece.done:
                last = piece.done[[*piece.done][-1]]
                await self._steps.part(f"item-{piece.number}", last.value, text=last.text)
            return
        dropped = following.queue.put(piece)
        if dropped is not None:
            name, queue = following.stage.name, following.queue
            because = f"the queue before {name} was full: it holds {queue.size} ({queue.overflow})"
            await self._steps.decided("drop", dropped.number, because=because, detail={"stage": name})
            gone = StepResult(id="", target=following.stage.target, ok=False, error="skipped", reason=because)
            _lost(dropped, following.stage, gone)
            await self._undo_all(dropped, crew)

    async def _noted(self, piece: Piece, station: Station, end: StageEnd, crew: BatchCrew) -> None:
        """Keep how an item's stage ended."""
        stage = station.stage
        station.share = end.share
        piece.notices += end.notices
        piece.gaps += [
            gap if is_stuck(gap) else replace(gap, step=f"{_named(stage, piece)}{gap.step[len(stage.name) :]}")
            for gap in end.gaps
        ]
        undos = [(_named(stage, piece), node) for node in undos_after(stage, end.effects, self._before(piece))]
        piece.notices += [f"item {piece.number}: {said}" for said in cannot_be_undone(stage, end.effects)]
        if end.result.ok:
            piece.done[stage.name] = end.result
            await self._lost.tell_of_undo(stage, self._before(piece), self._steps)
            piece.undo += undos
        elif stage.optional or end.skip:
            piece.gaps.append(_gap(stage, piece, end.result))
            if self._ways.on_failure == "fail":
                piece.undo += undos
            else:
                await self._undo(piece, undos, crew)
        else:
            piece.undo += undos
            if end.result.error in STOPPED and not (end.share.exceeded or end.share.exhausted):
                self._stopped = end.result
            _lost(piece, stage, end.result)
            if self._ways.on_failure != "fail":
                await self._undo_all(piece, crew)
            return
        station.held.append(piece)

    async def _undo_all(self, piece: Piece, crew: BatchCrew) -> None:
        """Make undone what was done for an item that does not come through."""
        undo, piece.undo = piece.undo, []
        await self._undo(piece, undo, crew)

    async def _undo(self, piece: Piece, undo: list[tuple[str, Node]], crew: BatchCrew) -> None:
        if undo:
            # Of one item several things may be undone side by side.
            self._undone += 1
            name = f"undo {piece.number}-{self._undone}"
            self._undoing[name] = piece
            await crew.start(name, undone(undo, f"{piece.gaps[-1].step} failed"))

    def _undone_with(self, stage: Stage, pieces: list[Piece]) -> Undoing:
        """How the stage is made undone for these items, as things stand."""
        befores = [(_named(stage, piece), self._before(piece)) for piece in pieces]

        def undoing(effects: Sequence[Effect]) -> list[tuple[str, Node]]:
            found: list[tuple[str, Node]] = []
            for number, (name, before) in enumerate(befores):
                of_item = effects_on(number, effects, len(befores)) if stage.takes_lists else effects
                found += [(name, node) for node in undos_after(stage, of_item, before)]
            return found

        return undoing

    def _compensate_all(self) -> None:
        for piece in self._pieces:
            for _, node in piece.undo:
                self._steps.compensate(
                    node.target, node.input, labels=node.labels, because=node.undoes, lacks=node.lacks
                )

    def _before(self, piece: Piece) -> Before:
        return Before(task=self._task, done=piece.done, item=piece.item, left_out=self._rules.left_out)


def _lost(piece: Piece, stage: Stage, result: StepResult) -> None:
    piece.state = "lost"
    piece.gaps.append(_gap(stage, piece, result))


def _named(stage: Stage, piece: Piece) -> str:
    return f"{stage.name}[{piece.number}]"


def _gap(stage: Stage, piece: Piece, result: StepResult) -> Gap:
    return gap_from(_named(stage, piece), result)
