"""Stages, one after another: each is given the task, what it needs of the earlier results, and the rest in summary."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.labels import join_all
from gateway.core.ports.orchestration import Gap, Node, Outcome, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.references import TASK, Condition, condition_from, named_in, resolved, without_nothing
from gateway.patterns.settings import contract, objects, refuse, seconds, target_in, texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    name: str
    target: str
    input: JsonObject
    input_schema: "JsonObject | None"
    output_schema: "JsonObject | None"
    reads: tuple[str, ...]
    timeout_s: float | None
    optional: bool
    when: Condition | None
    undo: tuple[str, JsonObject] | None
    """What to call, with which input, should the run fail after this stage."""


class Sequential:
    """See `Pattern`."""

    def __init__(self, settings: JsonObject) -> None:
        """Raises: InvalidRequest: no stages, a name twice, or a reference to a stage that does not come before."""
        refuse(settings, "sequential", "planner", "plan", "propose", "fallback", "synthesiser")
        self._stages: list[Stage] = []
        known = {TASK}
        for entry in objects(settings.get("stages")):
            stage = _stage(entry, known)
            self._stages.append(stage)
            known.add(stage.name)
        if not self._stages:
            raise InvalidRequest("the pattern sequential needs stages", detail={"setting": "stages"})

    async def run(self, task: Task, steps: Steps) -> Outcome:
        done: dict[str, StepResult] = {}
        gaps: list[Gap] = []
        for stage in self._stages:
            known = _known(task, done)
            if stage.when is not None and not stage.when.holds(known):
                await steps.emit("skipped", {"stage": stage.name}, text=f"{stage.name}: not needed")
                continue
            result = await steps.call(_node(stage, known, done))
            if result.ok:
                done[stage.name] = result
                _register_undo(stage, task, done, steps)
                continue
            gaps.append(Gap(step=stage.name, target=stage.target, error=result.error, reason=result.reason))
            if not stage.optional:
                return _failed(stage, result, done, gaps)
        return _finished(done, gaps)


def _stage(entry: JsonObject, known: set[str]) -> Stage:
    target = target_in(entry)
    name = json_text(entry.get("name")) or target.rpartition(":")[2].rpartition("/")[2]
    if name in known:
        raise InvalidRequest(f"two stages are called {name}: give one of them another name")
    when = condition_from(text) if (text := json_text(entry.get("when"))) else None
    undo = json_object(entry.get("undo"))
    stage = Stage(
        name=name,
        target=target,
        input=json_object(entry.get("input")),
        input_schema=contract(entry.get("input_schema")),
        output_schema=contract(entry.get("output_schema")),
        reads=texts(entry.get("reads")),
        timeout_s=seconds(entry.get("timeout_s")),
        optional=entry.get("optional") is True,
        when=when,
        undo=(target_in(undo), json_object(undo.get("input"))) if undo else None,
    )
    # What is undone may refer to the stage itself, what it is given may not.
    _refuse_unknown(name, known, stage.input, when.reference if when else None)
    _refuse_unknown(name, known | {name}, undo.get("input"))
    return stage


def _refuse_unknown(stage: str, known: set[str], *values: Json) -> None:
    for value in values:
        for name in named_in(value):
            if name not in known:
                raise InvalidRequest(f"stage {stage} refers to ${name}, which does not come before it")


def _known(task: Task, done: dict[str, StepResult]) -> dict[str, Json]:
    """What references stand for."""
    message = task.message
    given: Json = None if message is None else message.structured
    said = {} if message is None else {"message": message.text}
    return {TASK: {**said, **json_object(given)}, **{name: result.value for name, result in done.items()}}


def _node(stage: Stage, known: Mapping[str, Json], done: dict[str, StepResult]) -> Node:
    return Node(
        target=stage.target,
        input=_input(stage, known),
        # Fields of any earlier result may be among the arguments.
        labels=join_all(result.labels for result in done.values()),
        given={} if stage.target.startswith("tool:") else _handed_over(stage, done),
        timeout_s=stage.timeout_s,
        reads=stage.reads,
        publishes=True,
        input_schema=stage.input_schema,
        output_schema=stage.output_schema,
    )


def _input(stage: Stage, known: Mapping[str, Json]) -> JsonObject:
    """What the stage's settings say, and every field its contract names that anything before it has, latest first."""
    found: JsonObject = {}
    for field in _fields(stage):
        holders = (json_object(value) for value in reversed(list(known.values())))
        holder = next((value for value in holders if field in value), None)
        if holder is not None:
            found[field] = holder[field]
    return {**found, **without_nothing(json_object(resolved(stage.input, known)))}


def _handed_over(stage: Stage, done: dict[str, StepResult]) -> dict[str, StepResult]:
    """Earlier results: of the fields the contract names all; without a contract all of the last; else the summary."""
    fields = _fields(stage)
    last = next(reversed(done), "")
    handed: dict[str, StepResult] = {}
    for name, result in done.items():
        value: Json = result.value if name == last and not fields else None
        if fields:
            value = {field: each for field, each in json_object(result.value).items() if field in fields} or None
        handed[name] = replace(result, value=value)
    return handed


def _fields(stage: Stage) -> list[str]:
    schema = stage.input_schema or {}
    return list(dict.fromkeys((*json_object(schema.get("properties")), *texts(schema.get("required")))))


def _register_undo(stage: Stage, task: Task, done: dict[str, StepResult], steps: Steps) -> None:
    if stage.undo is not None:
        target, given = stage.undo
        steps.compensate(target, resolved(given, _known(task, done)))


def _finished(done: dict[str, StepResult], gaps: list[Gap]) -> Outcome:
    if not done:
        return Outcome(text="Nothing was done.", gaps=tuple(gaps), error="no stage succeeded" if gaps else "")
    last = done[next(reversed(done))]
    text = last.text or last.summary or "Done."
    if gaps:
        text += "\nLeft out: " + "; ".join(f"{gap.step} ({gap.reason or gap.error})" for gap in gaps)
    return Outcome(text=text, value=last.value, gaps=tuple(gaps))


def _failed(stage: Stage, result: StepResult, done: dict[str, StepResult], gaps: list[Gap]) -> Outcome:
    error = f"stage {stage.name} failed: {result.reason or result.error}"
    reached = ", ".join(done) or "nothing"
    return Outcome(
        text=f"{error}. Done before: {reached}.",
        value={name: each.value for name, each in done.items()},
        gaps=tuple(gaps),
        error=error,
    )
