"""The block `plan_execute` of a workflow's settings."""

from pydantic import BaseModel, ConfigDict, Field

from gateway.orchestration.settings.targets import Shown, TargetSettings


class TierSettings(TargetSettings):
    """One tier of executors."""

    cost: float = Field(default=1.0, gt=0)
    """What its tokens cost against those of the other tiers: 1 and 20."""
    prior: float = Field(default=0.8, ge=0, le=1)
    """Share of steps it is expected to succeed at, before there is a record."""


class PlanExecuteSettings(BaseModel):
    """Which tier does what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tiers: tuple[TierSettings, ...] = ()
    """Executors, the cheapest first: a step begins on the first that meets the bar, and goes up when it fails. In place
    of the role `executor`."""
    bar: float = Field(default=0.8, ge=0, le=1)
    """Share of steps a tier has to have succeeded at to be given one to begin with."""
    prior_steps: float = Field(default=4.0, gt=0)
    """How many steps of the record the expected share counts as much as."""
    record_days: float = Field(default=30.0, gt=0)
    """How many days a step's success counts for its tier."""
    task: Shown | None = None
    """What executors are told of the original task: `full`, `summary`, `none`, or fields. A planner cannot show them
    more."""
    claims: tuple[str, ...] = ()
    """Outside resources a planner may have its steps claim: `account:$task.account`, or `account:*` for all that begin
    so; by default none."""
    planner_cost: float | None = Field(default=None, gt=0)
    """What the planner's tokens cost, in the tiers' terms; by default as much as the top tier's."""
    synthesiser_cost: float | None = Field(default=None, gt=0)
    """Likewise the synthesiser's."""
