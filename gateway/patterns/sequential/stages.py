"""The stages of a sequential workflow, as its settings describe them. Checked before anything of it is done. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.ports.orchestration import Handing, Question
from gateway.patterns.sequential.shares import StageShare
from gateway.patterns.shared.lost_references import Unpromised, meant, unpromised_in
from gateway.patterns.shared.references import (
    TASK,
    Condition,
    condition_from,
    is_reference,
    named_in,
    names_filled_in,
    paths_in,
    references_within,
)
from gateway.patterns.shared.settings import contract, objects, seconds, target_in, texts
from gateway.patterns.shared.verify import Check, checks_in
from gateway.patterns.shared.views import Sight, handing_in, sight_in

ITEM = "item"
"""How stages of a batch refer to the item they are at work on."""
APPROVAL_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What a person is asked before the stage begins."""

    question: str
    role: str
    timeout_s: float

    def asked(self, about: str) -> Question:
        # Somebody with a role approves or denies; the caller answers in words.
        schema: JsonObject | None = None if self.role else {"type": "string", "enum": ["yes", "no"]}
        return Question(prompt=f"{self.question} {about}".strip(), schema=schema, role=self.role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """On what the stage begins early: what the stage before it is expected to answer."""

    stage: str
    field: str
    predict: Json
    reads: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    name: str
    target: str
    input: JsonObject
    input_schema: "JsonObject | None"
    output_schema: "JsonObject | None"
    reads: tuple[str, ...]
    timeout_s: float | None
    share: StageShare
    """Of tokens and money."""
    optional: bool
    when: Condition | None
    undo: tuple[str, JsonObject] | None
    """What to call, with which input, should the run fail after this stage."""
    claims: tuple[str, ...]
    approve: Approval | None
    sight: Sight
    handing: Handing
    """How long results before it are handed to it, where no contract names their fields."""
    verify: tuple[Check, ...]
    takes_lists: bool
    speculate: Speculation | None

    @property
    def is_tool(self) -> bool:
        return self.target.startswith("tool:")

    @property
    def refers(self) -> list[Json]:
        """All that may hold references it is begun with."""
        return [self.input, self.when.reference if self.when else None, *references_within(self.claims)]

    @property
    def fields(self) -> list[str]:
        """Those its contract names."""
        schema = self.input_schema or {}
        return list(dict.fromkeys((*json_object(schema.get("properties")), *texts(schema.get("required")))))


def stages_in(settings: JsonObject, *, batch: bool) -> tuple[Stage, ...]:
    """Raises: InvalidRequest: no stages, a name twice, or a reference to a stage that does not come before."""
    stages: list[Stage] = []
    known = {TASK, ITEM} if batch else {TASK}
    for number, entry in enumerate(objects(settings.get("stages"))):
        stage = _stage(entry, known, handing_in(settings))
        try:
            _refuse_nonsense(stage, known, batch=batch)
            _refuse_speculation(stage, stages[-1] if stages else None, batch=batch)
        except InvalidRequest as error:
            raise InvalidRequest(f"stage {stage.name}: {error.message}", detail={"path": ["stages", number]}) from error
        stages.append(stage)
        known.add(stage.name)
    if not stages:
        raise InvalidRequest("the pattern sequential needs stages", detail={"setting": "stages"})
    return tuple(stages)


def unpromised(stages: Iterable[Stage]) -> Iterator[tuple[int, Stage, Unpromised]]:
    """References to fields that the stages they name do not promise, each with the number of the stage it is in."""
    contracts: dict[str, JsonObject | None] = {}
    for number, stage in enumerate(stages):
        # A workflow's contract is held to its answer alone, which its account of the run has around it.
        gives = None if stage.target.startswith("workflow:") else stage.output_schema
        yield from ((number, stage, each) for each in unpromised_in(stage.refers, contracts))
        contracts[stage.name] = gives
        undo = stage.undo[1] if stage.undo else None
        yield from ((number, stage, each) for each in unpromised_in(undo, contracts))


def _stage(entry: JsonObject, known: set[str], handing: Handing) -> Stage:
    target = target_in(entry)
    name = json_text(entry.get("name")) or target.rpartition(":")[2].rpartition("/")[2]
    if name in known:
        raise InvalidRequest(f"two stages are called {name}: give one of them another name")
    undo = json_object(entry.get("undo"))
    return Stage(
        name=name,
        target=target,
        input=json_object(entry.get("input")),
        input_schema=contract(entry.get("input_schema")),
        output_schema=contract(entry.get("output_schema")),
        reads=texts(entry.get("reads")),
        timeout_s=seconds(entry.get("timeout_s")),
        share=StageShare(
            tokens=tokens if isinstance(tokens := entry.get("tokens"), int) else None,
            cost_usd=_money(entry.get("cost_usd")),
        ),
        optional=entry.get("optional") is True,
        when=condition_from(text) if (text := json_text(entry.get("when"))) else None,
        undo=(target_in(undo), json_object(undo.get("input"))) if undo else None,
        claims=texts(entry.get("claims")),
        approve=_approval(json_object(entry.get("approve"))),
        sight=sight_in(entry),
        handing=handing_in(entry, handing),
        verify=checks_in(entry),
        takes_lists=entry.get("list") is True,
        speculate=_speculation(json_object(entry.get("speculate"))),
    )


def _money(value: Json) -> Decimal | None:
    """An amount as settings keep it: as text, so that it stays exact."""
    try:
        return None if value is None else Decimal(str(value))
    except InvalidOperation as error:
        raise InvalidRequest(f"{value!r} is no amount of money") from error


def _approval(entry: JsonObject) -> Approval | None:
    if not entry:
        return None
    timeout_s = seconds(entry.get("timeout_s")) or APPROVAL_TIMEOUT_S
    return Approval(question=json_text(entry.get("question")), role=json_text(entry.get("role")), timeout_s=timeout_s)


def _speculation(entry: JsonObject) -> Speculation | None:
    if not entry:
        return None
    on = json_text(entry.get("on"))
    stage, _, field = on.removeprefix("$").partition(".")
    if not is_reference(on) or not field or "." in field:
        raise InvalidRequest(f"{on!r} is no field of a stage: write `on: $STAGE.field`")
    return Speculation(stage=stage, field=field, predict=entry.get("predict"), reads=entry.get("reads") is True)


def _refuse_nonsense(stage: Stage, known: set[str], *, batch: bool) -> None:
    when = stage.when.reference if stage.when else None
    speculated = stage.speculate.predict if stage.speculate else None
    _refuse_unknown(known, [*named_in([stage.input, when, speculated]), *names_filled_in(stage.claims)])
    # What is undone may refer to the stage itself, what it is given may not.
    _refuse_unknown(known | {stage.name}, named_in(stage.undo[1]) if stage.undo else ())
    for path in paths_in(stage.input):
        hidden = set(path[1:]).intersection(stage.sight.hidden)
        if hidden:
            raise InvalidRequest(f"it is given ${'.'.join(path)}, and {', '.join(sorted(hidden))} is hidden from it")
    if stage.takes_lists and not batch:
        raise InvalidRequest("`list` is for stages of a batch; set `sequential.batch.items` too")


def _refuse_unknown(known: set[str], names: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise InvalidRequest(f"it refers to ${name}, which does not come before it{meant(name, known)}")


def _refuse_speculation(stage: Stage, before: Stage | None, *, batch: bool) -> None:
    guess = stage.speculate
    if guess is None:
        return
    if batch:
        raise InvalidRequest("stages of a batch overlap anyway, and do not speculate")
    if before is None or guess.stage != before.name:
        raise InvalidRequest("it can only speculate on a field of the stage directly before it")
    if stage.approve or stage.claims or stage.undo:
        raise InvalidRequest("what is approved, claims something, or can be undone has effects, and does not speculate")
    own = [*paths_in([stage.input, stage.when.reference if stage.when else None])]
    for path in own:
        if path[0] == before.name and path[1:2] != (guess.field,):
            raise InvalidRequest(
                f"it speculates on ${before.name}.{guess.field} and is given ${'.'.join(path)}, which is not known then"
            )
