"""The block `consensus` of a workflow's settings."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gateway.orchestration.settings.targets import Contract, Weight


class CriterionSettings(BaseModel):
    """One criterion of a rubric: whoever judges gives 0 to 1 for it, or a rule does."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    weight: Weight = 1.0
    """What it counts beside the others."""
    about: str = ""
    """What the judge is told of it."""
    rule: Literal["", "fields", "schema", "near_median", "cites", "length", "range", "one_of"] = ""
    """The built-in rule that decides it; without one the judge does."""
    field: str = ""
    """What the rule looks at, `terms.days`; by default the whole answer."""
    fields: tuple[str, ...] = ()
    """Of the rule `fields`: which there have to be."""
    least: float | None = None
    """Of `length` (characters), `range` and `cites` (entries, by default 1): no less."""
    most: float | None = None
    """Of `length` and `range`: no more."""
    within: float = Field(default=0.5, gt=0)
    """Of `near_median`: share of the median's size at which nothing is left."""
    values: tuple[JsonValue, ...] = ()
    """Of `one_of`: what it may be."""
    contract: Contract | None = Field(default=None, alias="schema")
    """Of `schema`: what it has to meet."""


class ConsensusSettings(BaseModel):
    """How answers are weighed."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    contract: Contract | None = Field(default=None, alias="schema")
    """JSON Schema of every answer; whoever breaks it is told so and asked again, `limits.max_rounds` times in all, and
    then removed."""
    rubric: dict[str, CriterionSettings] = Field(default_factory=dict[str, CriterionSettings])
    """The criteria by name."""
    when: str | tuple[str, ...] = ()
    """When to ask them all, `$task.amount > 10000`: any of these holds. By default always; otherwise one answers."""
    otherwise: str = ""
    """Slug of the worker that answers when they are not all asked; by default the first."""
    quorum: int = Field(default=1, ge=1)
    """Answers without which there is none."""
    gather_s: float | None = Field(default=None, gt=0)
    """Longest the answers are waited for, seconds; by default nine tenths of `limits.deadline_s`."""
