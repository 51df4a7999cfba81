"""What a stage is given: the task, what its contract names of the earlier results, the rest in summary; and of all
that only what it may see. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gateway.core.json import Json, JsonObject, json_object
from gateway.core.labels import join_all
from gateway.core.ports.orchestration import Node, StepResult
from gateway.core.task import Task
from gateway.patterns.sequential.stages import ITEM, Stage
from gateway.patterns.shared.effects import Effect
from gateway.patterns.shared.lost_references import lacking_in, lost_in
from gateway.patterns.shared.references import TASK, filled, named_in, references_within, resolved, without_nothing
from gateway.patterns.shared.views import in_summary, result_seen, seen, task_view


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """All there is when a stage begins."""

    task: Task
    done: Mapping[str, StepResult] = field(default_factory=dict[str, StepResult])
    """Results of the stages before it, in their order."""
    item: Json = None
    """Of a batch."""
    left_out: tuple[str, ...] = ()
    """Members of the task's data that no stage is told: a batch's items, of which each gets its own."""

    @property
    def known(self) -> dict[str, Json]:
        """What references stand for."""
        message = self.task.message
        given: Json = None if message is None else message.structured
        said = {} if message is None else {"message": message.text}
        item = {} if self.item is None else {ITEM: self.item}
        done = {name: result.value for name, result in self.done.items()}
        return {TASK: {**said, **json_object(given)}, **item, **done}


def node_of(stage: Stage, before: Before) -> Node:
    """The step that a stage is."""
    known = {name: seen(value, name, stage.sight) for name, value in before.known.items()}
    return Node(
        target=stage.target,
        input=_input(stage, before, known),
        name=stage.name,
        # Fields of any earlier result may be among the arguments.
        labels=join_all(result.labels for result in before.done.values()),
        given={} if stage.is_tool else _handed_over(stage, before.done),
        sealed=stage.sight.limited,
        # What its contract names, or it is passed, it is given.
        handing="whole" if stage.fields or stage.sight.passed else stage.handing,
        timeout_s=stage.timeout_s,
        task=task_view(stage.sight, before.task, before.left_out),
        reads=stage.reads,
        # What is looked up first is written when it stands.
        publishes=not stage.verify,
        input_schema=stage.input_schema,
        output_schema=stage.output_schema,
        claims=tuple(filled(each, before.known) for each in stage.claims),
    )


def lost_by(stage: Stage, before: Before) -> dict[str, str]:
    """References that the stage begins with and that find nothing, each with what there is in its place."""
    known = {name: seen(value, name, stage.sight) for name, value in before.known.items()}
    return {**lost_in(references_within(stage.claims), before.known), **lost_in(stage.input, known)}


def node_of_list(stage: Stage, nodes: list[Node]) -> Node:
    """One step for several items: their inputs as a list under `items`, their answers likewise."""
    first = nodes[0]
    items: list[Json] = [node.input for node in nodes]
    return replace(
        first,
        input={"items": items},
        labels=join_all(node.labels for node in nodes),
        given={f"{number}-{name}": each for number, node in enumerate(nodes, 1) for name, each in node.given.items()},
        input_schema=_list_of(stage.input_schema, len(nodes)),
        output_schema=_list_of(stage.output_schema or {}, len(nodes)),
        claims=tuple(dict.fromkeys(claim for node in nodes for claim in node.claims)),
    )


def _undo_of(undo: tuple[str, JsonObject], before: Before) -> Node:
    """The step that makes undone what a stage has done; `before`: all there is by then, the stage itself included."""
    target, given = undo
    labels = join_all(before.done[name].labels for name in named_in(given) if name in before.done)
    answers = {name: result.value for name, result in before.done.items()}
    # Told less than it says it needs, it might undo something else.
    return Node(target=target, input=resolved(given, before.known), labels=labels, lacks=lacking_in(given, answers))


def undos_after(stage: Stage, effects: Iterable[Effect], before: Before) -> tuple[Node, ...]:
    """The steps that make undone what the stage has done, or may have, in the order in which it was done. Attempts that
    are undone by the same call are undone by one. None where there is no such step, or where it would have to be told
    what only the stage's own answer says, and there is none."""
    if stage.undo is None:
        return ()
    nodes: dict[str, Node] = {}
    for effect in effects:
        result = effect.result
        if result.value is None and stage.name in named_in(stage.undo[1]):
            continue
        node = _undo_of(stage.undo, replace(before, done={**before.done, stage.name: result}))
        said = json.dumps(node.input, sort_keys=True)
        earlier = nodes.pop(said, node)
        nodes[said] = replace(node, labels=node.labels.join(earlier.labels), undoes=effect.because)
    return tuple(nodes.values())


def cannot_be_undone(stage: Stage, effects: Iterable[Effect]) -> list[str]:
    """What to say of attempts at a stage that may have been done and cannot be undone, for want of an answer."""
    if stage.undo is None or stage.name not in named_in(stage.undo[1]):
        return []
    blind = (each.result for each in effects if each.result.value is None and not each.result.ok)
    errors = dict.fromkeys(each.error for each in blind)
    return [f"{stage.name} may have been done ({each}), and cannot be undone without its answer" for each in errors]


def answers_of_list(result: StepResult, count: int) -> list[StepResult]:
    """The answer to a list of items, for each of them."""
    answers = json_object(result.value).get("items")
    values = answers if isinstance(answers, list) else []
    return [
        replace(result, value=value, text="", summary="", within=f"/items/{number}")
        for number, value in enumerate(values[:count])
    ]


def _list_of(schema: "JsonObject | None", count: int) -> "JsonObject | None":
    if schema is None:
        return None
    items: JsonObject = {"type": "array", "minItems": count, "maxItems": count, "items": schema}
    return {"type": "object", "required": ["items"], "properties": {"items": items}}


def _input(stage: Stage, before: Before, known: Mapping[str, Json]) -> JsonObject:
    """What the stage's settings say, and every field its contract names that anything before it has, latest first."""
    found: JsonObject = {}
    for name in stage.fields:
        holders = (json_object(value) for value in reversed(list(known.values())))
        holder = next((value for value in holders if name in value), None)
        if holder is not None:
            found[name] = holder[name]
    said = without_nothing(json_object(resolved(stage.input, known)))
    item = {} if stage.is_tool or before.item is None or stage.fields else {ITEM: known[ITEM]}
    return {**found, **without_nothing(item), **said}


def _handed_over(stage: Stage, done: Mapping[str, StepResult]) -> dict[str, StepResult]:
    """Earlier results: of the fields the contract names all; without a contract all of the last; else the summary."""
    fields = stage.fields
    last = [*done][-1] if done else ""
    handed: dict[str, StepResult] = {}
    for name, result in done.items():
        shown = result_seen(result, name, stage.sight)
        value: Json = shown.value if name == last and not fields else None
        if fields:
            value = {field: each for field, each in json_object(shown.value).items() if field in fields} or None
        elif stage.sight.passed:
            # What it names it is given, from wherever it is.
            value = shown.value
        summed_up = value is None and not fields and not stage.sight.limited
        handed[name] = in_summary(shown) if summed_up else replace(shown, value=value)
    return handed
