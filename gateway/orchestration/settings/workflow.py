"""The section `workflows` of the configuration: one entry a workflow, whatever its pattern.

Every pattern has the same limits under the same names. What a pattern needs beyond its own checks (a planner for this,
stages for that) the pattern itself says when it is set up.
"""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from gateway.core.json import JsonObject, json_from
from gateway.core.slugs import SLUG
from gateway.orchestration.settings.blocks.canary import CanarySettings
from gateway.orchestration.settings.blocks.concurrent import ConcurrentSettings
from gateway.orchestration.settings.blocks.consensus import ConsensusSettings
from gateway.orchestration.settings.blocks.event_driven import MOST_AT_ONCE, EventDrivenSettings, SubscriptionSettings
from gateway.orchestration.settings.blocks.mesh import MeshSettings
from gateway.orchestration.settings.blocks.plan_execute import PlanExecuteSettings
from gateway.orchestration.settings.blocks.reflection import ReflectionSettings
from gateway.orchestration.settings.blocks.router import RouterSettings
from gateway.orchestration.settings.blocks.sequential import SequentialSettings
from gateway.orchestration.settings.blocks.started_by import StartSettings
from gateway.orchestration.settings.blocks.supervisor import SupervisorSettings
from gateway.orchestration.settings.targets import (
    Contract,
    FallbackSettings,
    FillerSettings,
    PlanStepSettings,
    Role,
    StageSettings,
    targets_in,
)


class LimitSettings(BaseModel):
    """The bounds of one workflow's runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deadline_s: float | None = Field(default=None, gt=0)
    """Longest a whole run may take, seconds; by default what `limits.run_timeout_s` says."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Longest one step may take unless it says otherwise, seconds."""
    ask_timeout_s: float = Field(default=300.0, ge=0)
    """How long whoever started a run has to answer what an agent or a tool at work for it asks, seconds, or what is to
    be done about a failure. The step's own time stands still meanwhile. 0: nobody is asked, and the step fails."""
    max_rounds: int = Field(default=2, ge=1, le=10)
    """How often work may be done: the first time, and again where the review finds it wanting."""
    max_depth: int | None = Field(default=None, ge=1, le=8)
    """Levels of orchestration under this workflow: 2 is a supervisor and workers that delegate no further. By default
    2, or as many as the workflows it names need."""
    concurrency: int = Field(default=4, ge=1, le=64)
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
    on_failure: Literal["partial", "fail", "ask"] = "partial"
    """When a worker fails for good: answer without it and name the gap, fail the run, or ask the caller what to do."""


class KeySettings(BaseModel):
    """One key of the scratchpad, where it matters who writes what."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    contract: Contract | None = Field(default=None, alias="schema")
    """What may stand there."""
    writers: tuple[str, ...] = ()
    """Slugs of the agents that may write it; by default all."""
    readers: tuple[str, ...] = ()
    """Slugs of the agents it is handed to; by default all."""


Glossary = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=100)],
        Annotated[str, Field(min_length=1, max_length=500)],
    ],
    Field(max_length=100),
]
"""Terms and what they mean."""

HANDOVER_BYTES = 4096
"""About a thousand tokens: what is shorter costs less to read than to ask for."""

ROLES = (
    "planner",
    "executor",
    "synthesiser",
    "classifier",
    "judge",
    "critic",
    "reconciler",
    "goal_checker",
    "summariser",
)
"""Fields that say who fills a role."""


class WorkflowSettings(BaseModel):
    """One workflow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str
    """Which strategy runs it: `router`, `sequential`, `supervisor`, …, or a plug-in's."""
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
    started_by: tuple[StartSettings, ...] = ()
    """Topics of message buses whose messages start its runs."""
    planner: Role = ""
    """Who plans: an agent's slug, or a mapping of the fields below."""
    executor: Role = ""
    """Who carries out a plan's steps."""
    synthesiser: Role = ""
    """Who words the answer; without one a rule does."""
    classifier: Role = ""
    """Who decides where a request goes when no rule does."""
    judge: Role = ""
    """Who weighs several answers."""
    critic: Role = ""
    """Who says what an answer lacks."""
    reconciler: Role = ""
    """Who makes one result of several; without one a rule does."""
    goal_checker: Role = ""
    """Who says whether the goal is reached."""
    summariser: Role = ""
    """Who shortens what would not fit, and says what earlier rounds and earlier turns came to."""
    fallback: dict[str, str | FallbackSettings] = Field(default_factory=dict[str, "str | FallbackSettings"])
    """Who takes over from an agent or a tool that failed: `{refunds: refunds-b, orders/find: archive/find}`."""
    plan: tuple[PlanStepSettings, ...] = ()
    """A fixed plan instead of a planner."""
    stages: tuple[StageSettings, ...] = ()
    """The stages of a sequential workflow, in order."""
    propose: bool = False
    """Agents propose first; work is committed once no two of them contradict each other on the scratchpad."""
    scratchpad: dict[str, KeySettings] = Field(default_factory=dict[str, KeySettings])
    """Contracts and owners of scratchpad keys; other keys are free."""
    glossary: Glossary = Field(default_factory=dict[str, str])
    """Terms and what they mean here, `{RMA: a return we agreed to}`: handed to every agent, nested workflows' too."""
    memory: str = Field(default="", pattern=f"^({SLUG})?$")
    """Name of the memory its agents can search and add to; workflows that name the same share it."""
    recall: bool = False
    """Every agent is handed what the memory has to do with its instruction."""
    history: int = Field(default=10, ge=0, le=50)
    """Earlier requests of the same caller in the same A2A context that are handed over, with their answers; 0 for
    none."""
    history_bytes: int = Field(default=16_384, ge=256, le=1_048_576)
    """How much of them, bytes: the oldest are left out, and said to be."""
    handover_bytes: int = Field(default=HANDOVER_BYTES, ge=256, le=65_536)
    """Results up to this size are handed on whole. Of longer ones the next agent is given the summary and the names of
    the fields, and fetches what it needs; an agent that is handed no token cannot, and is given them whole."""
    whole: bool | None = None
    """True: results are handed on whole, whatever their size; false: longer ones never, whoever reads them."""
    limits: LimitSettings = LimitSettings()
    """Bounds of each of its runs."""
    router: RouterSettings = RouterSettings()
    """Of the pattern router."""
    sequential: SequentialSettings = SequentialSettings()
    """Of the pattern sequential."""
    concurrent: ConcurrentSettings = ConcurrentSettings()
    """Of the pattern concurrent."""
    supervisor: SupervisorSettings = SupervisorSettings()
    """Of the pattern supervisor."""
    plan_execute: PlanExecuteSettings = PlanExecuteSettings()
    """Of the pattern plan_execute."""
    consensus: ConsensusSettings = ConsensusSettings()
    """Of the pattern consensus."""
    mesh: MeshSettings = MeshSettings()
    """Of the pattern mesh."""
    reflection: ReflectionSettings = ReflectionSettings()
    """Of the pattern reflection."""
    event_driven: EventDrivenSettings = EventDrivenSettings()
    """Of the pattern event_driven."""
    canary: CanarySettings = CanarySettings()
    """Of the pattern canary."""
    options: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """For patterns of plug-ins."""

    @model_validator(mode="after")
    def _recalls_from_somewhere(self) -> "WorkflowSettings":
        if self.recall and not self.memory:
            raise PydanticCustomError("memory", "recall needs a memory: give its name under `memory`")
        return self

    @model_validator(mode="after")
    def _somebody_summarises(self) -> "WorkflowSettings":
        if isinstance(self.summariser, FillerSettings) and self.summariser.rule:
            raise PydanticCustomError("summariser", "no rule summarises: name an agent, a tool or a workflow")
        return self

    @property
    def targets(self) -> frozenset[str]:
        """Everything runs of this workflow may call: what its role is granted, and nothing else."""
        instead = [each for each in self.fallback.values() if isinstance(each, str)]
        slugs = [*self.agents, *(each for each in instead if "/" not in each), *(getattr(self, each) for each in ROLES)]
        return frozenset(
            {
                *(f"agent:{each}" for each in slugs if isinstance(each, str) and each),
                *(f"tool:{each}" for each in (*self.tools, *(each for each in instead if "/" in each))),
                *(f"workflow:{each}" for each in self.workflows),
                *targets_in(self),
            }
        )

    def to_json(self) -> JsonObject:
        """As it is handed to the pattern, and kept with each run: a run keeps the version it began with. What starts
        it is no part of that."""
        return json_from(self.model_dump(mode="json", exclude_defaults=True, by_alias=True, exclude={"started_by"}))


def with_glossary(workflows: Mapping[str, WorkflowSettings], shared: Mapping[str, str]) -> dict[str, WorkflowSettings]:
    """The workflows, each with the shared terms it does not explain itself."""
    return {slug: each.model_copy(update={"glossary": {**shared, **each.glossary}}) for slug, each in workflows.items()}


def with_buses(
    workflows: Mapping[str, WorkflowSettings], buses: Mapping[str, Collection[str]]
) -> dict[str, WorkflowSettings]:
    """The workflows, event-driven ones with the topics of their bus among their workers. `buses`: topics by slug."""
    return {slug: _with_topics(each, sorted(buses.get(each.event_driven.bus, ()))) for slug, each in workflows.items()}


def _with_topics(workflow: WorkflowSettings, topics: Sequence[str]) -> WorkflowSettings:
    """What the settings say of a topic themselves counts there."""
    block = workflow.event_driven
    named = {f"{block.bus}/{topic}": topic for topic in topics}
    if not named:
        return workflow
    # Whoever works on a topic shares its tasks with others: how many at once is for them to say.
    taken = {name: SubscriptionSettings(topics=(topic,), concurrency=MOST_AT_ONCE) for name, topic in named.items()}
    tools = dict.fromkeys((*workflow.tools, *named))
    event_driven = block.model_copy(update={"workers": {**taken, **block.workers}})
    return workflow.model_copy(update={"tools": tuple(tools), "event_driven": event_driven})


def limits_from(settings: JsonObject) -> LimitSettings:
    """The limits in a workflow's settings as a run keeps them."""
    return LimitSettings.model_validate(settings.get("limits", {}))


def handover_bytes_in(settings: JsonObject) -> int:
    """See `WorkflowSettings.handover_bytes`."""
    said = settings.get("handover_bytes")
    return said if isinstance(said, int) else HANDOVER_BYTES


def keys_from(settings: JsonObject) -> dict[str, KeySettings]:
    """The scratchpad's rules in a workflow's settings as a run keeps them."""
    kept = settings.get("scratchpad")
    rules = kept if isinstance(kept, dict) else {}
    return {key: KeySettings.model_validate(rule) for key, rule in rules.items()}
