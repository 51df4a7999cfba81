"""How a mock is written: what an agent or a tool answers to what. Knows no scenario and no gateway."""

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from gateway.core.slugs import SLUG
from gateway.testing.scenarios.checked import Pattern, Regex

_FROZEN = ConfigDict(frozen=True, extra="forbid")

_TARGET = re.compile(rf"agent:{SLUG}|tool:{SLUG}/\S+")


def _checked_target(text: str) -> str:
    if not _TARGET.fullmatch(text):
        raise PydanticCustomError("target", "write agent:SLUG, or tool:SERVER/TOOL")
    return text


Target = Annotated[str, AfterValidator(_checked_target)]
"""`agent:SLUG`, or `tool:SERVER/TOOL`."""
Raised = Literal["unavailable", "failed", "timeout", "denied", "invalid", "conflict"]
"""What becomes of a call that is not answered: it was never reached, it died, it took too long, it refused."""


class WhenSettings(BaseModel):
    """Which calls a reply is for; every member that is there has to hold."""

    model_config = _FROZEN

    data: Pattern = None
    """Part of the structured input, see the patterns of `expect`."""
    contains: str = ""
    """Somewhere in the words, or in the input as JSON; whichever case."""
    regex: Regex = ""
    """Found in the words, or in the input as JSON."""
    phase: Literal["", "propose", "commit"] = ""
    """`propose` or `commit`."""
    handed: Pattern = None
    """Part of what is handed over beside the input: `results`, `scratchpad`, `task`, `data`, `note`."""
    nth: int | None = Field(default=None, ge=1)
    """Only this call of the target, counted from 1."""


class CallSettings(BaseModel):
    """A tool, or another agent, that a mock agent calls while it works, with the token of its step."""

    model_config = _FROZEN

    call: str = Field(pattern=r"^(tool|agent|workflow):\S+$")
    """What: `tool:orders/refund`, `tool:run/claim`."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """May refer to the input: `$data.amount`, and to earlier calls: `$NAME.field`."""
    name: str = Field(default="", pattern=r"^[A-Za-z0-9_-]{0,40}$")
    """How later calls and the reply refer to what it said."""
    go_on: bool = False
    """The agent goes on when it is refused or fails; what it said then is `{error: REASON, message: …}`."""


def _of_numbers(value: object) -> object:
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Delay = Annotated[
    tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]],
    BeforeValidator(_of_numbers, json_schema_input_type=float | tuple[float, float]),
]
"""Seconds, or the least and the most of them, drawn from the seed."""


class LabelSettings(BaseModel):
    """Labels of an answer."""

    model_config = _FROZEN

    untrusted: tuple[str, ...] = ()
    """Sources that could have written it."""
    confidential: tuple[str, ...] = ()
    """Classes it discloses."""
    regions: tuple[str, ...] = ()
    """Regions whose rules apply to it."""


class ReplySettings(BaseModel):
    """One answer, and what it is the answer to."""

    model_config = _FROZEN

    when: WhenSettings | None = None
    """Which calls it is for; by default every one."""
    times: int | None = Field(default=None, ge=1)
    """How often it is given; then the next that fits is."""
    value: JsonValue = None
    """The structured answer. Texts in it may refer to the input: `$data.order`, `$message`, `$task`."""
    text: str = ""
    """The answer in words; `$data.order` within it is filled in."""
    summary: str = ""
    """What an agent says of its answer in a sentence."""
    writes: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """Keys of the scratchpad an agent writes."""
    commits: bool = True
    """False: the agent has nothing to commit."""
    said: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """Further members beside `summary`, in what an agent says of its answer: a hand-off, a bid, tasks, findings."""
    tokens: int = Field(default=0, ge=0)
    """Tokens it says it used."""
    cost_usd: Decimal = Field(default=Decimal(0), ge=0)
    """What it says it cost."""
    model: str = ""
    """Which model it says it used."""
    delay_s: Delay = (0.0, 0.0)
    """How long it takes, seconds, or a range of them."""
    hangs: bool = False
    """It never answers."""
    labels: LabelSettings | None = None
    """Labels of the answer, beside those of what it was given and of who gives it."""
    calls: tuple[CallSettings, ...] = ()
    """What an agent calls before it answers."""
    error: str = ""
    """It answers that it failed, with these words; with `raises`, what is said of the call."""
    raises: Raised | None = None
    """The call is not answered, but ends so."""
    asks: str = ""
    """It asks back instead of answering."""


class MockSettings(ReplySettings):
    """Who stands in for an agent or a tool: one reply written out, or `replies`, or `in_turn`; or the real one."""

    replies: tuple[ReplySettings, ...] = ()
    """The first whose `when` holds is given."""
    in_turn: tuple[ReplySettings, ...] = ()
    """The first call is given the first, and so on; from then on the last."""
    real: bool = False
    """The upstream the configuration names is asked."""
    title: str = ""
    """Shown in place of its name."""
    description: str = ""
    """What it is for."""
    skills: tuple[str, ...] = ()
    """Tags of the skills on an agent's card."""
    input_schema: dict[str, JsonValue] | None = None
    """Of a tool: what it takes; checked at each call."""
    output_schema: dict[str, JsonValue] | None = None
    """Of a tool: what it answers; checked at each call."""

    @model_validator(mode="after")
    def _answers_in_one_way(self) -> "MockSettings":
        own = bool(self.model_fields_set & ReplySettings.model_fields.keys())
        if own + bool(self.replies) + bool(self.in_turn) + self.real > 1:
            raise PydanticCustomError("mock", "write one reply, or `replies`, or `in_turn`, or `real`")
        return self

    @property
    def offered(self) -> tuple[ReplySettings, ...]:
        """Every reply there is, in order."""
        return self.in_turn or self.replies or (self,)
