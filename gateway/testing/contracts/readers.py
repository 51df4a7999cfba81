"""Who in a workflow relies on which field of what: read off its settings. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.core.json import Json, JsonObject, json_from, json_list, json_object
from gateway.orchestration.settings.targets import FillerSettings, PlanStepSettings, StageSettings, VerifySettings
from gateway.orchestration.settings.workflow import ROLES, WorkflowSettings
from gateway.patterns.shared.references import TASK, condition_from, is_reference, names_filled_in, paths_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stage, a step of a plan, a role, or a key of the scratchpad: something that gives a value with a contract."""

    kind: str
    name: str
    target: str
    at: str
    """Where it stands in the configuration."""
    takes: "JsonObject | None" = None
    gives: "JsonObject | None" = None
    given: "JsonObject | None" = None
    """What its settings give it; None where nobody can tell."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A part relies on a field of another one."""

    reader: Part
    of: tuple[str, str]
    """Kind and name of the part that gives it."""
    path: tuple[str, ...]
    """Names on the way to the field; empty for all there is."""
    how: str
    """Where it says so: `input.amount`, `when`, `verify`."""
    wants: Json = None
    """What it wants the field to be; null where it does not say."""

    @property
    def field(self) -> str:
        """As people write it."""
        return f"${'.'.join((self.of[1], *self.path))}".replace(".[]", "[]")


def parts_of(slug: str, workflow: WorkflowSettings) -> list[Part]:
    """Everything in a workflow that has, or could have, a contract."""
    at = f"workflows.{slug}"
    parts = [_stage(each, f"{at}.stages[{number}]") for number, each in enumerate(workflow.stages)]
    parts += [_step(each, f"{at}.plan[{number}]") for number, each in enumerate(workflow.plan)]
    for role in ROLES:
        filler = getattr(workflow, role)
        if isinstance(filler, FillerSettings):
            parts.append(_role(role, filler, f"{at}.{role}"))
    for key, rule in workflow.scratchpad.items():
        if rule.contract is not None:
            gives = json_from(rule.contract)
            parts.append(Part(kind="key", name=key, target="", at=f"{at}.scratchpad.{key}", gives=gives))
    return parts


def readings_in(slug: str, workflow: WorkflowSettings) -> list[Reading]:
    """Who relies on what, in the order of the settings."""
    parts = {(part.kind, part.name): part for part in parts_of(slug, workflow)}
    found: list[Reading] = []
    earlier: list[Part] = []
    for settings in workflow.stages:
        part = parts["stage", _name(settings)]
        found += _of_stage(settings, part, earlier)
        found += _of_keys(settings.reads, part, parts)
        earlier.append(part)
    for step in workflow.plan:
        part = parts["step", step.id]
        whole = [Reading(reader=part, of=("step", name), path=(), how="after") for name in step.after]
        found += [
            *whole,
            *_undone(step, part, parts),
            *_verified(step.verify, part),
            *_of_keys(step.reads, part, parts),
        ]
    return found


def _name(stage: StageSettings) -> str:
    return stage.name or stage.target.rpartition(":")[2].rpartition("/")[2]


def _stage(stage: StageSettings, at: str) -> Part:
    return Part(
        kind="stage",
        name=_name(stage),
        target=stage.target,
        at=at,
        takes=_schema(stage.input_schema),
        gives=_schema(stage.output_schema),
        given=json_from(stage.input),
    )


def _step(step: PlanStepSettings, at: str) -> Part:
    gives = _schema(step.output_schema)
    return Part(kind="step", name=step.id, target=step.target, at=at, gives=gives, given=json_from(step.input))


def _role(role: str, filler: FillerSettings, at: str) -> Part:
    takes, gives = _schema(filler.input_schema), _schema(filler.output_schema)
    return Part(kind="role", name=role, target=filler.target, at=at, takes=takes, gives=gives)


def _schema(schema: Mapping[str, object] | None) -> "JsonObject | None":
    return None if schema is None else json_from(schema)


def _of_stage(stage: StageSettings, part: Part, earlier: Sequence[Part]) -> Iterator[Reading]:
    names = {each.name for each in earlier}
    for how, path in _references(stage):
        if path[0] in names:
            yield Reading(reader=part, of=("stage", path[0]), path=path[1:], how=how, wants=_wanted(part, how))
        elif path[0] == part.name:
            yield Reading(reader=part, of=("stage", path[0]), path=path[1:], how=how)
    yield from _of_contract(part, earlier)
    for each in stage.passed:
        owner, _, field = each.rpartition(".")
        if owner in names:
            yield Reading(reader=part, of=("stage", owner), path=(field,), how="pass")
    yield from _verified(stage.verify, part)
    if earlier and part.takes is None and not stage.input and not stage.passed and not stage.target.startswith("tool:"):
        yield Reading(reader=part, of=("stage", earlier[-1].name), path=(), how="is handed all of it")


def _references(stage: StageSettings) -> Iterator[tuple[str, tuple[str, ...]]]:
    """How, and what is referred to: name, then fields."""
    for name, value in json_from(stage.input).items():
        yield from ((f"input.{name}", path) for path in paths_in(value))
    if stage.when:
        reference = condition_from(stage.when).reference
        yield "when", tuple(reference.removeprefix("$").split("."))
    if stage.undo is not None:
        yield from (("undo.input", path) for path in paths_in(json_from(stage.undo.input)))
    if stage.speculate is not None and is_reference(stage.speculate.on):
        yield "speculate.on", tuple(stage.speculate.on.removeprefix("$").split("."))
    for name in names_filled_in(stage.claims):
        if name != TASK:
            fields = [text.partition(f"${name}.")[2] for text in stage.claims if f"${name}." in text]
            yield from (("claims", (name, *field.split("."))) for field in fields)


def _undone(step: PlanStepSettings, part: Part, parts: Mapping[tuple[str, str], Part]) -> Iterator[Reading]:
    for path in paths_in({} if step.undo is None else json_from(step.undo.input)):
        if ("step", path[0]) in parts:
            yield Reading(reader=part, of=("step", path[0]), path=path[1:], how="undo.input")


def _wanted(part: Part, how: str) -> Json:
    """What the part's own contract says of an input that is a reference."""
    name = how.removeprefix("input.")
    return json_object((part.takes or {}).get("properties")).get(name) if how.startswith("input.") else None


def _of_contract(part: Part, earlier: Sequence[Part]) -> Iterator[Reading]:
    """Fields its contract names come from the latest stage that has them."""
    takes = part.takes or {}
    wanted = json_object(takes.get("properties"))
    names = dict.fromkeys((*wanted, *(each for each in json_list(takes.get("required")) if isinstance(each, str))))
    for name in names:
        if name in (part.given or {}):
            continue
        holder = next((e for e in reversed(earlier) if name in json_object((e.gives or {}).get("properties"))), None)
        if holder is not None:
            how = f"input_schema.{name}"
            yield Reading(reader=part, of=("stage", holder.name), path=(name,), how=how, wants=wanted.get(name))


def _verified(checks: Sequence[VerifySettings], part: Part) -> Iterator[Reading]:
    for check in checks:
        path = tuple(check.field.replace("[]", ".[]").split("."))
        yield Reading(reader=part, of=(part.kind, part.name), path=path, how="verify")


def _of_keys(keys: Sequence[str], part: Part, parts: Mapping[tuple[str, str], Part]) -> Iterator[Reading]:
    for key in keys:
        if ("key", key) in parts:
            yield Reading(reader=part, of=("key", key), path=(), how="reads")
