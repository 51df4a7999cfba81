"""The section `workflows` of the configuration: one entry a workflow, whatever its pattern.

Every pattern has the same limits under the same names. What a pattern needs beyond its own checks (a planner for this,
stages for that) the pattern itself says when it is set up.
"""

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from gateway.core.json import JsonObject, json_from

SLUG = r"[a-z0-9-]{1,24}"
Slug = Annotated[str, Field(pattern=f"^{SLUG}$")]
StepName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
Share = Annotated[float, Field(gt=0)]


def _checked_schema(schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if schema and not ({"type", "properties", "required", "enum", "const", "anyOf", "oneOf", "allOf"} & schema.keys()):
        raise PydanticCustomError("schema", "is no JSON Schema that says anything: give at least `type` or `required`")
    return schema


Contract = Annotated[dict[str, JsonValue], AfterValidator(_checked_schema)]


class LimitSettings(BaseModel):
    """The bounds of one workflow's runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    deadline_s: float | None = Field(default=None, gt=0)
    """Longest a whole run may take, seconds; by default what `limits.run_timeout_s` says."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Longest one step may take unless it says otherwise, seconds."""
    max_rounds: int = Field(default=2, ge=1, le=10)
    """How often work may be done: the first time, and again where the review finds it wanting."""
    max_depth: int = Field(default=2, ge=1, le=8)
    """Levels of orchestration under this workflow: 2 is a supervisor and workers that delegate no further."""
    concurrency: int = Field(default=4, ge=1, le=16)
    """Steps under way at once; the rest waits."""
    max_steps: int = Field(default=16, ge=1, le=100)
    """Steps a plan may have."""
    retries: int = Field(default=1, ge=0, le=5)
    """How often a step is tried again that never reached its target."""
    calls: int | None = Field(default=None, ge=1)
    """Calls a run may make."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens a run may spend, as far as agents report them."""
    cost_usd: Decimal | None = Field(default=None, gt=0)
    """What a run may cost, as far as agents report it."""


class TargetSettings(BaseModel):
    """What a step calls: exactly one of the three."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

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


class UndoSettings(TargetSettings):
    """How a stage is made undone when a later one fails the run."""

    input: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """May refer to results: `$task.order`, `$STAGE.field`."""


class StageSettings(TargetSettings):
    """One stage of a sequential workflow."""

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
    timeout_s: float | None = Field(default=None, gt=0)
    """Longest it may take, seconds; by default what the limits say."""
    optional: bool = False
    """Skipped when it fails; without this the run fails."""
    when: str = ""
    """Runs only if this holds: `$stock.available`, `$quote.amount > 100`, `not $stock.available`."""
    undo: UndoSettings | None = None
    """Called, last stage first, when the run fails after this stage."""


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
    timeout_s: float | None = Field(default=None, gt=0)
    """Longest it may take, seconds; by default what the limits say."""
    optional: bool = False
    """Later steps run even when this one failed."""


class KeySettings(BaseModel):
    """One key of the scratchpad, where it matters who writes what."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True)

    contract: Contract | None = Field(default=None, alias="schema")
    """What may stand there."""
    writers: tuple[str, ...] = ()
    """Slugs of the agents that may write it; by default all."""
    readers: tuple[str, ...] = ()
    """Slugs of the agents it is handed to; by default all."""


class WorkflowSettings(BaseModel):
    """One workflow."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    pattern: str
    """Which strategy runs it: `sequential`, `supervisor`, or a plug-in's."""
    title: str = ""
    """Shown in place of its slug."""
    description: str = ""
    """What it is for; shown to whoever may call it."""
    tenant: str = "default"
    """Whose workflow it is; `*` for everybody's."""
    agents: tuple[str, ...] = ()
    """Slugs of the agents that may be given work."""
    tools: tuple[str, ...] = ()
    """Tools that may be given work, `orders/find`."""
    workflows: tuple[str, ...] = ()
    """Other workflows that may be given work."""
    planner: str = ""
    """Slug of the agent that plans."""
    synthesiser: str = ""
    """Slug of the agent that words the answer; without one a rule does."""
    fallback: dict[str, str] = Field(default_factory=dict[str, str])
    """Who takes over a step its agent failed at: `{refunds: refunds-b}`."""
    plan: tuple[PlanStepSettings, ...] = ()
    """A fixed plan instead of a planner."""
    stages: tuple[StageSettings, ...] = ()
    """The stages of a sequential workflow, in order."""
    propose: bool = False
    """Agents propose first; work is committed once no two of them contradict each other on the scratchpad."""
    scratchpad: dict[str, KeySettings] = Field(default_factory=dict[str, KeySettings])
    """Contracts and owners of scratchpad keys; other keys are free."""
    limits: LimitSettings = LimitSettings()
    """Bounds of each of its runs."""
    options: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """For patterns of plug-ins."""

    @property
    def targets(self) -> frozenset[str]:
        """Everything runs of this workflow may call: what its role is granted, and nothing else."""
        agents = {*self.agents, *self.fallback.values()} | {each for each in (self.planner, self.synthesiser) if each}
        steps: list[TargetSettings] = [*self.plan, *self.stages]
        steps += [stage.undo for stage in self.stages if stage.undo is not None]
        return frozenset(
            {
                *(f"agent:{each}" for each in agents),
                *(f"tool:{each}" for each in self.tools),
                *(f"workflow:{each}" for each in self.workflows),
                *(step.target for step in steps),
            }
        )

    def to_json(self) -> JsonObject:
        """As it is handed to the pattern, and kept with each run: a run keeps the version it began with."""
        return json_from(self.model_dump(mode="json", exclude_defaults=True, by_alias=True))


def limits_from(settings: JsonObject) -> LimitSettings:
    """The limits in a workflow's settings as a run keeps them."""
    return LimitSettings.model_validate(settings.get("limits", {}))


def keys_from(settings: JsonObject) -> dict[str, KeySettings]:
    """The scratchpad's rules in a workflow's settings as a run keeps them."""
    kept = settings.get("scratchpad")
    rules = kept if isinstance(kept, dict) else {}
    return {key: KeySettings.model_validate(rule) for key, rule in rules.items()}
