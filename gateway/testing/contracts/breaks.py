"""What a change of schemas breaks: every consumer of a field that is gone, or is something else now. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from gateway.core.contracts import violation
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.shared.references import paths_in
from gateway.testing.contracts.comparison import gaps, member_at, types_of
from gateway.testing.contracts.readers import Part, Reading, parts_of, readings_in

PartKey = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContract:
    """What a tool takes and gives, as its server says."""

    takes: "JsonObject | None" = None
    gives: "JsonObject | None" = None


Tools = Mapping[str, ToolContract]
"""By name: `tool:bank/pay`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A configuration's workflows, and the tools they call as they are with it."""

    workflows: Mapping[str, WorkflowSettings]
    tools: Tools = field(default_factory=dict[str, ToolContract])


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A consumer that a change breaks."""

    workflow: str
    consumer: str
    """`stage pay`, `step book`, `role judge`."""
    field: str
    """What it relies on: `$intake.amount`, `input.currency`."""
    problem: str
    at: str
    """Where the consumer stands in the configuration."""

    def __str__(self) -> str:
        return f"workflow {self.workflow}: {self.consumer} relies on {self.field}, which {self.problem}"

    def to_json(self) -> JsonObject:
        return {
            "workflow": self.workflow,
            "consumer": self.consumer,
            "field": self.field,
            "problem": self.problem,
            "at": self.at,
        }


def breaks(old: Version, new: Version) -> list[Break]:
    """Every consumer in `new` that is broken by what changed since `old`."""
    found: list[Break] = []
    for slug, workflow in new.workflows.items():
        before = old.workflows.get(slug)
        if before is None:
            continue
        was, now = _parts(slug, before, old.tools), _parts(slug, workflow, new.tools)
        former = [each for each in readings_in(slug, before) if _still_wants(each, now)]
        for reading in (*readings_in(slug, workflow), *former):
            if problem := _changed(reading, was.get(reading.of), now.get(reading.of)):
                found.append(_break(slug, reading, problem))
        for key, part in now.items():
            found += _takes_less(slug, part, was.get(key))
            found += _says_less(slug, part, was.get(key))
    return list(dict.fromkeys(found))


def _still_wants(reading: Reading, now: Mapping[PartKey, Part]) -> bool:
    """A field a contract names comes from whoever has it; once nobody has, only the former settings show from whom."""
    part = now.get((reading.reader.kind, reading.reader.name))
    _, named, field_name = reading.how.partition("input_schema.")
    return bool(named) and part is not None and field_name in json_object((part.takes or {}).get("properties"))


def mismatches(version: Version) -> list[Break]:
    """Where, within one version, what somebody is given is not what their contract takes."""
    found: list[Break] = []
    for slug, workflow in version.workflows.items():
        parts = _parts(slug, workflow, version.tools)
        for reading in readings_in(slug, workflow):
            if problem := _unfit(reading, parts):
                found.append(_break(slug, reading, problem))
        for part in parts.values():
            found += _ungiven(slug, part)
    return list(dict.fromkeys(found))


def _parts(slug: str, workflow: WorkflowSettings, tools: Tools) -> dict[PartKey, Part]:
    """By kind and name; where settings have no contract of their own, a tool's counts."""
    parts: dict[PartKey, Part] = {}
    for part in parts_of(slug, workflow):
        tool = tools.get(part.target, ToolContract())
        takes = tool.takes if part.takes is None else part.takes
        gives = tool.gives if part.gives is None else part.gives
        parts[part.kind, part.name] = replace(part, takes=takes, gives=gives)
    return parts


def _break(slug: str, reading: Reading, problem: str) -> Break:
    part = reading.reader
    field_of = f"{reading.field} ({reading.how})"
    return Break(workflow=slug, consumer=str(part), field=field_of, problem=problem, at=part.at)


def _changed(reading: Reading, was: Part | None, now: Part | None) -> str:
    """What has become of what is read; empty where it is as good as before."""
    if was is None or now is None or was.gives is None or was.gives == now.gives:
        return ""
    if now.gives is None:
        return "nobody promises any more: the contract is gone"
    before, after = member_at(was.gives, reading.path), member_at(now.gives, reading.path)
    if before is None:
        return ""
    if after is None:
        return "is gone"
    if before.required and not after.required:
        return "may be missing now"
    found = gaps(
        {**_definitions(now.gives), **json_object(after.schema)},
        {**_definitions(was.gives), **json_object(before.schema)},
    )
    if not found:
        return ""
    if not types_of(after.schema) <= types_of(before.schema):
        return f"was {_typed(before.schema)} and is {_typed(after.schema)} now"
    return f"is less than was promised: {found[0]}"


def _takes_less(slug: str, part: Part, was: Part | None) -> Iterator[Break]:
    """What a consumer's own contract demands that it did not, and what it is given does not have."""
    if was is None or part.takes is None or part.takes == was.takes:
        return
    first = {gap.path: gap for gap in reversed(gaps({} if was.takes is None else was.takes, part.takes))}
    for gap in reversed(first.values()):
        if _is_given(part, gap.path.partition(".")[0], missing=gap.why in ("is not there", "may be missing")):
            continue
        named = f"input.{gap.path}" if gap.path else "its input"
        problem = f"its contract has changed: {gap.why}"
        yield Break(workflow=slug, consumer=str(part), field=named, problem=problem, at=part.at)


def _is_given(part: Part, name: str, *, missing: bool) -> bool:
    """Whether the settings give what the contract now demands: anything where it was missing, else a value that
    fits. What a reference stands for is looked at as a reading."""
    given = part.given or {}
    if name not in given:
        return False
    wanted = json_object(json_object((part.takes or {}).get("properties")).get(name))
    return missing or (not [*paths_in(given[name])] and not violation(wanted, given[name]))


def _says_less(slug: str, part: Part, was: Part | None) -> Iterator[Break]:
    """A role is read by its pattern, which nobody else's settings show."""
    if part.kind != "role" or was is None or was.gives is None or part.gives is None or part.gives == was.gives:
        return
    for gap in gaps(part.gives, was.gives):
        problem = f"is less than was promised: {gap}"
        yield Break(workflow=slug, consumer="the pattern", field=f"the answer of {part}", problem=problem, at=part.at)


def _unfit(reading: Reading, parts: Mapping[PartKey, Part]) -> str:
    giver = parts.get(reading.of)
    if giver is None or giver.gives is None or not reading.path:
        return ""
    member = member_at(giver.gives, reading.path)
    if member is None:
        closed = json_object(giver.gives).get("additionalProperties") is False
        return f"{giver} never gives" if closed else ""
    wants = reading.wants
    if wants is None and reading.how.startswith("input."):
        taker = parts[reading.reader.kind, reading.reader.name]
        wants = json_object((taker.takes or {}).get("properties")).get(reading.how.removeprefix("input."))
    if wants is None or types_of(member.schema) & types_of(wants):
        # Bounds that differ say what may be refused, not that it will: agents promise little.
        return ""
    return f"is {_typed(member.schema)}, where {_typed(wants)} is taken"


def _ungiven(slug: str, part: Part) -> Iterator[Break]:
    """Arguments of a tool that nothing gives, and values written out that it does not take. An agent's input may
    come from what is handed over."""
    takes = part.takes
    if takes is None or part.given is None or not part.target.startswith("tool:"):
        return
    known = json_object(takes.get("properties"))
    for name in json_list(takes.get("required")):
        if isinstance(name, str) and name not in part.given and part.kind != "stage":
            yield Break(
                workflow=slug, consumer=str(part), field=f"input.{name}", problem="nothing gives it", at=part.at
            )
    for name, value in part.given.items():
        if name not in known and takes.get("additionalProperties") is False:
            problem = f"{part.target} does not take"
            yield Break(workflow=slug, consumer=str(part), field=f"input.{name}", problem=problem, at=part.at)
        elif name in known and not [*paths_in(value)] and (broken := violation(json_object(known[name]), value)):
            problem = f"is not what {part.target} takes: {broken.partition(';')[0]}"
            yield Break(workflow=slug, consumer=str(part), field=f"input.{name}", problem=problem, at=part.at)


def _definitions(schema: Json) -> JsonObject:
    """What references in a part of the schema lead to."""
    said = json_object(schema)
    return {name: said[name] for name in ("$defs", "definitions") if name in said}


def _typed(schema: Json) -> str:
    types = types_of(schema)
    if len(types) >= 7:
        return "anything"
    return " or ".join(sorted(types - ({"integer"} if "number" in types else set())))
