"""The block `concurrent` of a workflow's settings."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class ConcurrentSettings(BaseModel):
    """How results of many are made one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slices: str = ""
    """JSON Pointer to a list in the task's data that is dealt out among the workers; by default all get the same."""
    deal: Literal["", "spread", "each"] = ""
    """How slices are dealt: a stretch of the list for each worker (`spread`), or a step for each entry (`each`)."""
    parts: dict[str, str] = Field(default_factory=dict[str, str])
    """JSON Pointer to what each worker is given of the task's data: `{filings: /filings, press: /press}`."""
    gather_s: float | None = Field(default=None, gt=0)
    """Longest the workers are waited for, seconds; by default nine tenths of `limits.deadline_s`."""
    merge: Literal["first", "all", "union", "vote", "mean", "owner"] = "all"
    """How results become one."""
    owners: dict[str, str] = Field(default_factory=dict[str, str])
    """With `merge: owner`: whose word counts for a field and what is below it, `{terms: legal}`."""
    keys: dict[str, str] = Field(default_factory=dict[str, str])
    """The field by which entries of a list are recognised as being about the same, `{positions: id}`."""
    tolerance: float = Field(default=0.0, ge=0, le=1)
    """Numbers that differ by no more than this share of the larger one are the same."""
    tolerances: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict[str, float])
    """By how much the numbers of a field may differ, in place of the share, `{price: 0.5}`."""
    free: tuple[str, ...] = ()
    """Fields in which everybody may say something else: kept side by side, no conflict."""
    template: str = ""
    """The form in which workers have to report, `## [i/n] Title` and `Name: KIND` in lines below it."""
