"""How it is written what has to come of a scenario: of its answer, and of what was called for it."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from gateway.testing.scenarios.checked import Path, Pattern, Regex

_FROZEN = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...])]
"""One text, or several."""


class CountSettings(BaseModel):
    """How often."""

    model_config = _FROZEN

    exactly: int | None = Field(default=None, ge=0)
    """So often."""
    at_least: int | None = Field(default=None, ge=0)
    """So often, or more."""
    at_most: int | None = Field(default=None, ge=0)
    """So often, or less."""


def _of_number(value: object) -> object:
    return {"exactly": value} if isinstance(value, int) and not isinstance(value, bool) else value


Count = Annotated[CountSettings, BeforeValidator(_of_number, json_schema_input_type=int | CountSettings)]
"""A number, or its bounds."""


class LabelsExpected(BaseModel):
    """What the labels of a step say; a label is `untrusted:SOURCE`, `confidential:CLASS`, `region:NAME`, or a glob."""

    model_config = _FROZEN

    step: str = ""
    """Whose: a target, or a glob; by default of the answer."""
    has: Texts = ()
    """Labels that are there, at each of these steps."""
    lacks: Texts = ()
    """Labels that are not there, at any of them."""


class DecisionExpected(BaseModel):
    """A decision that was taken, see `runs show`."""

    model_config = _FROZEN

    what: str
    """What was decided: `route`, `verdict`, `retry`, `drop`, …"""
    chosen: Pattern = None
    """Pattern of what was chosen."""
    because: str = ""
    """Part of the reason."""
    detail: Pattern = None
    """Pattern of the features that drove it."""
    times: Count | None = None
    """How often; by default at least once."""


class DenialExpected(BaseModel):
    """A call a policy refused."""

    model_config = _FROZEN

    target: str
    """What was called: a name, or a glob."""
    rule: str = ""
    """By which rule: its id, or a glob."""
    by: str = ""
    """Who called: a subject, or a glob."""


class StepExpected(BaseModel):
    """Something that is true of at least one step of a target, or of every one."""

    model_config = _FROZEN

    target: str
    """A name, or a glob."""
    state: str = ""
    """`ok`, or the error it ended with."""
    received: Pattern = None
    """Pattern of its input."""
    answered: Pattern = None
    """Pattern of what it answered."""
    reason: str = ""
    """Part of the reason it failed."""
    phase: str = ""
    """`propose` or `commit`."""
    every: bool = False
    """Of every step of the target, not only of one."""


class TraceSettings(BaseModel):
    """What has to be true of the calls that were made."""

    model_config = _FROZEN

    order: tuple[str, ...] = ()
    """Targets (or globs) that were begun in this order; others may stand in between."""
    exactly: tuple[str, ...] | None = None
    """Every target in the order in which steps were begun, and no other."""
    before: tuple[tuple[str, str], ...] = ()
    """Pairs: every step of the first had ended when one of the second began."""
    side_by_side: tuple[tuple[str, str], ...] = ()
    """Pairs: a step of the first and one of the second were under way at the same time."""
    counts: dict[str, Count] = Field(default_factory=dict[str, CountSettings])
    """How often targets were called, attempts included: `{"agent:refunds": 1, "tool:orders/*": {at_most: 3}}`."""
    never: Texts = ()
    """Targets that were not called, whoever wanted to; refused calls do not count."""
    steps: tuple[StepExpected, ...] = ()
    """What single steps were given and answered."""
    labels: tuple[LabelsExpected, ...] = ()
    """What stands on what."""
    denied: tuple[DenialExpected, ...] = ()
    """Calls that were refused."""
    nothing_denied: bool = False
    """No call was refused."""
    decisions: tuple[DecisionExpected, ...] = ()
    """What was decided, and why."""
    effects: dict[str, Count] = Field(default_factory=dict[str, CountSettings])
    """How often a sink really did something: repeated calls under one idempotency key count once if they were told
    apart by the gateway or the tool."""
    state: str = ""
    """In which the run ended: `completed`, `failed`, `canceled`."""
    failure: Pattern = None
    """Pattern of where the failure began: `{target: agent:shipping, error: timeout}`."""
    cost_usd: Pattern = None
    """Pattern of what it cost: `{$le: 0.5}`."""
    tokens: Pattern = None
    """Pattern of the tokens used."""
    calls: Pattern = None
    """Pattern of the calls runs made, tries included."""
    took_s: Pattern = None
    """Pattern of how long it took, seconds of the scenario's clock."""
    processes: Pattern = None
    """Pattern of how many gateway processes it took: one more than the gateway died."""


class ExpectSettings(BaseModel):
    """What has to come of a request. Patterns are JSON: of objects only the named members; `{$gt: 3}` and so on."""

    model_config = _FROZEN

    answer: Pattern = None
    """Pattern of the answer's value, or of its text where it has none."""
    equals: JsonValue = None
    """The answer's value, exactly."""
    contains: Texts = ()
    """Somewhere in the answer's words; whichever case."""
    lacks: Texts = ()
    """Nowhere in the answer, its data included."""
    regex: Regex = ""
    """Found in the answer's words."""
    at: dict[Path, Pattern] = Field(default_factory=dict[str, JsonValue])
    """Patterns by path into the whole structured answer: `{"steps[0].target": "agent:a", "why.route": …}`."""
    matches_schema: dict[str, JsonValue] | None = Field(default=None, alias="schema")
    """What the answer's value has to meet."""
    gaps: Pattern = None
    """Pattern of the gaps: `[]` for none, `[{target: agent:tax}]`, `{$length: 1}`."""
    notices: Pattern = None
    """Pattern of what is said of the answer's quality: `{$contains: stood in}`."""
    confidence: Pattern = None
    """Pattern of the confidence: `{$ge: 0.8}`."""
    error: str | bool | None = None
    """Part of why it failed; false: it did not fail; true: it did."""
    trace: TraceSettings = TraceSettings()
    """What has to be true of the calls that were made for it."""
