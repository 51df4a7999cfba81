"""How a scenario is written: who asks what, who answers what, what goes wrong. Knows no gateway."""

from collections.abc import Sequence
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from gateway.core.errors import InvalidRequest
from gateway.core.faults import fault_from_text
from gateway.core.model import DEFAULT_TENANT
from gateway.testing.scenarios.expectations import ExpectSettings
from gateway.testing.scenarios.mocks import MockSettings, Target

_FROZEN = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class PersonaSettings(BaseModel):
    """Who asks, or answers."""

    model_config = _FROZEN

    subject: str = Field(min_length=1)
    """Their name."""
    roles: tuple[str, ...] = ()
    """Roles of the configuration; by default those the configuration gives a principal of this name."""
    kind: Literal["client", "operator", "agent"] = "client"
    """`operator` may answer every approval."""
    tenant: str = DEFAULT_TENANT
    """In which they live."""


def _named(value: object) -> object:
    return {"subject": value} if isinstance(value, str) else value


Persona = Annotated[PersonaSettings, BeforeValidator(_named, json_schema_input_type=str | PersonaSettings)]
"""A principal of the configuration by name, or a mapping that says who."""


class ApprovalSettings(BaseModel):
    """What somebody answers when a run asks a role."""

    model_config = _FROZEN

    by: Persona
    """Who answers; not who asked the request."""
    role: str = ""
    """Answers only what this role is asked; by default the next question."""
    approve: bool = True
    """False: it is denied."""
    value: JsonValue = None
    """What goes with an approval."""
    comment: str = ""
    """Why."""


class TurnSettings(BaseModel):
    """One request, and what has to come of it."""

    model_config = _FROZEN

    say: str = ""
    """The request in words."""
    data: JsonValue = None
    """Structured input beside the words."""
    workflow: str = ""
    """Which workflow is asked; by default the scenario's."""
    by: Persona | None = None
    """Who asks; by default the scenario's persona."""
    replies: tuple[JsonValue, ...] = ()
    """What the caller answers when the run asks back, in order: texts, or data."""
    approvals: tuple[ApprovalSettings, ...] = ()
    """What people answer when the run asks a role, in order."""
    expect: ExpectSettings | None = None
    """What has to come of it."""


def _checked_fault(text: str) -> str:
    try:
        fault_from_text(text)
    except InvalidRequest as error:
        raise PydanticCustomError("fault", "{wrong}", {"wrong": error.message}) from error
    return text


def _listed(value: object) -> object:
    return [value] if isinstance(value, int) else value


class FaultSettings(BaseModel):
    """Something that goes wrong."""

    model_config = _FROZEN

    target: str = Field(min_length=1)
    """Whose calls: `agent:refunds`, or a glob, `tool:orders/*`."""
    fault: Annotated[str, AfterValidator(_checked_fault)]
    """`kill`, `delay=2s`, `malformed`, `empty`, `wrong_schema`, `error=TEXT`, `falsehood={"amount": 1}`."""
    nth: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_listed)] = ()
    """Which calls of its target, counted from 1; by default all."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Which share of them, drawn from the scenario's seed."""


class KillSettings(BaseModel):
    """The gateway dies, and another process goes on from what is kept."""

    model_config = _FROZEN

    step: int = Field(ge=1)
    """Over which of the calls that runs make of agents and tools, counted from 1."""
    when: Literal["before", "unrecorded", "after"] = "unrecorded"
    """Before it is made; when it was answered and that is not recorded; or after it was recorded."""


def _step_alone(value: object) -> object:
    return {"step": value} if isinstance(value, int) else value


Kill = Annotated[KillSettings, BeforeValidator(_step_alone, json_schema_input_type=int | KillSettings)]
"""A number of a call, or a mapping that says when as well."""


def _alone(value: object) -> object:
    return cast("Sequence[object]", value) if isinstance(value, Sequence) else [value]


Kills = Annotated[
    tuple[Kill, ...],
    BeforeValidator(_alone, json_schema_input_type=int | KillSettings | tuple[int | KillSettings, ...]),
]
"""One of them, or several."""


class ScenarioSettings(BaseModel):
    """One scenario. What its file says for all of them comes before what it says itself."""

    model_config = _FROZEN

    about: str = ""
    """What it shows, in a sentence."""
    persona: Persona | None = Field(default=None, alias="as")
    """Who asks; by default `tester`."""
    workflow: str = ""
    """Which workflow is asked; by default the only one there is."""
    say: str = ""
    """The request in words; for several of them, `turns`."""
    data: JsonValue = None
    """Structured input beside the words."""
    replies: tuple[JsonValue, ...] = ()
    """What the caller answers when the run asks back, in order: texts, or data."""
    approvals: tuple[ApprovalSettings, ...] = ()
    """What people answer when the run asks a role, in order."""
    turns: tuple[TurnSettings, ...] = ()
    """Several requests of one conversation, one after another."""
    side_by_side: bool = False
    """The turns are asked at the same time, as requests of their own."""
    mocks: dict[Target, MockSettings] = Field(default_factory=dict[str, MockSettings])
    """Who answers what, by target; over what the file says for all its scenarios."""
    faults: tuple[FaultSettings, ...] = ()
    """What goes wrong."""
    kill_gateway_at: Kills = ()
    """When the gateway dies, each time once."""
    seed: int = 1
    """Of everything that is drawn: shares of faults, delays with a range."""
    within_s: float = Field(default=600.0, gt=0, le=86_400)
    """How long each request may take, seconds of the scenario's own clock."""
    expect: ExpectSettings = ExpectSettings()
    """What has to come of all of it: of the last answer, and of everything that was called."""

    @model_validator(mode="after")
    def _asks_something(self) -> "ScenarioSettings":
        alone = bool(self.say) or self.data is not None
        if alone == bool(self.turns):
            raise PydanticCustomError("turns", "give either `say` (and `data`) for one request, or `turns` for several")
        if self.turns and (self.replies or self.approvals):
            raise PydanticCustomError("turns", "`replies` and `approvals` belong to the turn they are given in")
        return self

    @property
    def asked(self) -> tuple[TurnSettings, ...]:
        """Every request."""
        if self.turns:
            return self.turns
        return (TurnSettings(say=self.say, data=self.data, replies=self.replies, approvals=self.approvals),)
