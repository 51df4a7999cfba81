"""What a workflow's settings may name to be called: workers, stages, planned steps, and the roles of a pattern."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from gateway.core.contracts import refuse_contract
from gateway.core.errors import InvalidRequest
from gateway.core.slugs import SLUG

Slug = Annotated[str, Field(pattern=f"^{SLUG}$")]
StepName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
Weight = Annotated[float, Field(gt=0)]
FIELD = r"^[A-Za-z0-9_-]+(\[\])?(\.[A-Za-z0-9_-]+(\[\])?)*$"
Shown = Literal["full", "summary", "none"] | tuple[str, ...]
"""Of the original task."""


def _checked_schema(schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if schema and not ({"type", "properties", "required", "enum", "const", "anyOf", "oneOf", "allOf"} & schema.keys()):
        raise PydanticCustomError("schema", "is no JSON Schema that says anything: give at least `type` or `required`")
    try:
        refuse_contract(schema)
    except InvalidRequest as error:
        raise PydanticCustomError("schema", "{reason}", {"reason": error.message}) from error
    # Whoever names members means an object: without this, a schema of members alone lets any text pass.
    return {"type": "object", **schema} if {"properties", "required"} & schema.keys() else schema


Contract = Annotated[dict[str, JsonValue], AfterValidator(_checked_schema)]


class TargetSettings(BaseModel):
    """What a step calls: exactly one of the three."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: str = ""
    """Slug of an agent."""
    tool: str = ""
    """A tool, `orders/refund`."""
    workflow: str = ""
    """Slug of another workflow."""

    @model_validator(mode="after")
    def _names_one(self) -> "TargetSettings":
        if sum(map(bool, (self.agent, self.tool, self.workflow))) != 1:
            raise PydanticCustomError("target", "give exactly one of agent, tool, workflow")
        return self

    @property
    def target(self) -> str:
        """The capability's name."""
        named = (("agent", self.agent), ("tool", self.tool), ("workflow", self.workflow))
        return next(f"{kind}:{name}" for kind, name in named if name)


def _agent_named(value: object) -> object:
    return {"agent": value} if isinstance(value, str) else value


def _workflow_named(value: object) -> object:
    return {"workflow": value} if isinstance(value, str) else value


Worker = Annotated[TargetSettings, BeforeValidator(_agent_named, json_schema_input_type=str | TargetSettings)]
"""An agent's slug, or a mapping that names something else."""
Nested = Annotated[TargetSettings, BeforeValidator(_workflow_named, json_schema_input_type=str | TargetSettings)]
"""A workflow's slug, or a mapping that names something else."""


class UndoSettings(TargetSettings):
    """How a stage, or a step of a plan, is made undone when the run fails after it."""

    input: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """May refer to results: `$task.order`, `$STAGE.field`."""


class VerifySettings(BaseModel):
    """A field of an answer that an authoritative tool has to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str = Field(pattern=FIELD)
    """What is looked up: `policy_id`, every entry of `pages[]`, `citations[].page`."""
    tool: str
    """The tool that knows, `policies/find`; an answer of it that is null, empty or false does not resolve."""
    argument: str = "id"
    """Argument under which it is given the value."""
    unresolved: Literal["fail", "drop", "name"] = "name"
    """What becomes of a value it does not know: the step fails, the value is left out and named, or only named."""


class ApproveSettings(BaseModel):
    """What a person is asked before a stage begins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    """The question; what the stage would be given is shown with it."""
    role: str = ""
    """Role of the person who is to answer; by default the caller is asked."""
    timeout_s: float = Field(default=300.0, gt=0)
    """How long they have, seconds; then the stage is not approved."""


class SpeculateSettings(BaseModel):
    """What the stage before this one is expected to answer, so that this one can begin beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: str
    """The field it is expected in, `$STAGE.field`; of that stage this one is given nothing else."""
    predict: JsonValue
    """The value, or where it stands: `$task.category`."""
    reads: bool = False
    """It only reads: what it answered to a right guess stands. Without this it proposed, and is asked to commit."""


class StageSettings(TargetSettings):
    """One stage of a sequential workflow."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: StepName | None = None
    """How others refer to it; by default what it calls."""
    input: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """May refer to the task and to earlier results: `$task.order`, `$STAGE.field`."""
    input_schema: Contract | None = None
    """What it must be given; also: which fields of earlier results it is handed in full."""
    output_schema: Contract | None = None
    """What it must answer."""
    reads: tuple[str, ...] = ()
    """Scratchpad keys it is handed."""
    whole: bool | None = None
    """Whether long results are handed to it whole; by default what the workflow says. What its contract names is."""
    timeout_s: float | None = Field(default=None, gt=0)
    """Longest it may take, seconds; by default what the limits say."""
    optional: bool = False
    """Skipped when it fails; without this the run fails."""
    when: str = ""
    """Runs only if this holds: `$stock.available`, `$quote.amount > 100`, `not $stock.available`."""
    undo: UndoSettings | None = None
    """Called, last stage first, when the run fails after this stage."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens it may use, over all attempts and items; it is stopped at them."""
    cost_usd: Decimal | None = Field(default=None, gt=0)
    """What it may cost, likewise."""
    claims: tuple[str, ...] = ()
    """Outside resources claimed for the run before it begins: `account:$task.account`."""
    approve: ApproveSettings | None = None
    """Asked before it begins."""
    task: Shown | None = None
    """What it is told of the original task: `full`, `summary`, `none`, or a list of fields of its data. By default all,
    and no words but only data where something is passed or hidden."""
    passed: tuple[str, ...] = Field(default=(), alias="pass")
    """The only fields it is given of the task and of earlier results, `amount` or `STAGE.amount`, and no free text."""
    hide: tuple[str, ...] = ()
    """Fields it is not given, wherever they stand; nor free text, which could say them."""
    verify: tuple[VerifySettings, ...] = ()
    """What of its answer is looked up."""
    takes_lists: bool = Field(default=False, alias="list")
    """In a batch it is given several items at once, `{"items": [...]}`, and answers as many in the same way."""
    speculate: SpeculateSettings | None = None
    """Begins beside the stage before it, on a guess; the work is thrown away when that was wrong."""


class PlanStepSettings(TargetSettings):
    """One step of a fixed plan."""

    id: StepName
    """How other steps and the answer refer to it."""
    input: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """What it is given; `instruction` in it is what the agent reads first."""
    after: tuple[str, ...] = ()
    """Ids of steps whose results it needs."""
    reads: tuple[str, ...] = ()
    """Scratchpad keys it is handed."""
    output_schema: Contract | None = None
    """What it must answer."""
    whole: bool | None = None
    """Whether long results are handed to it whole; by default what the workflow says."""
    timeout_s: float | None = Field(default=None, gt=0)
    """Longest it may take, seconds; by default what the limits say."""
    optional: bool = False
    """Later steps run even when this one failed."""
    claims: tuple[str, ...] = ()
    """Outside resources claimed for the run before it begins: `account:$task.account`."""
    task: Shown | None = None
    """What it is told of the original task: `full`, `summary`, `none`, or a list of fields of its data;
    by default all."""
    verify: tuple[VerifySettings, ...] = ()
    """What of its answer is looked up."""
    undo: UndoSettings | None = None
    """Called, the last to end first, when the run fails after this step, and when the run goes on without it."""


class FillerSettings(BaseModel):
    """Who fills a role of a pattern: exactly one of agent, tool, workflow, rule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: str = ""
    """Slug of an agent."""
    tool: str = ""
    """A tool, `orders/refund`."""
    workflow: str = ""
    """Slug of another workflow."""
    rule: str = ""
    """A built-in rule, which needs no model; the pattern says which there are."""
    options: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """Of the rule."""
    input: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """Given to whoever fills the role, beside what the pattern gives."""
    input_schema: Contract | None = None
    """What it must be given."""
    output_schema: Contract | None = None
    """What it must answer."""
    timeout_s: float | None = Field(default=None, gt=0)
    """Longest it may take, seconds; by default what the limits say."""

    @model_validator(mode="after")
    def _names_one(self) -> "FillerSettings":
        if sum(map(bool, (self.agent, self.tool, self.workflow, self.rule))) != 1:
            raise PydanticCustomError("target", "give exactly one of agent, tool, workflow, rule")
        return self

    @property
    def target(self) -> str:
        """The capability's name; `rule:NAME` for a rule."""
        named = (("agent", self.agent), ("tool", self.tool), ("workflow", self.workflow), ("rule", self.rule))
        return next(f"{kind}:{name}" for kind, name in named if name)


class FallbackSettings(TargetSettings):
    """Who takes over, and what is said of it."""

    notice: str = ""
    """Said in the answer when it took over; by default who stood in for whom."""


Role = str | FillerSettings
"""An agent's slug, or who else fills the role."""


def targets_in(value: object) -> frozenset[str]:
    """Every capability name that settings name, however deep."""
    found: set[str] = set()
    _gather(value, found)
    return frozenset(found)


def _gather(value: object, found: set[str]) -> None:
    inside: Iterable[object] = ()
    if isinstance(value, BaseModel):
        fields = vars(value)
        named = ((kind, fields.get(kind)) for kind in ("agent", "tool", "workflow"))
        found.update(f"{kind}:{name}" for kind, name in named if isinstance(name, str) and name)
        inside = fields.values()
    elif isinstance(value, dict):
        inside = cast("dict[object, object]", value).values()
    elif isinstance(value, tuple):
        inside = cast("tuple[object, ...]", value)
    for each in inside:
        if not isinstance(each, str):
            _gather(each, found)
