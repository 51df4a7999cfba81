"""The block `router` of a workflow's settings."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.orchestration.settings.targets import Nested, Worker


class RuleSettings(BaseModel):
    """One rule: to whom it sends, and for what. All it says of words is any of; conditions have to hold as well."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: str = ""
    """Slug of the agent it sends to."""
    tool: str = ""
    """Instead: a tool, `orders/find`."""
    workflow: str = ""
    """Instead: another workflow."""
    skill: str = ""
    """Instead: whichever worker's card declares this skill; without words or a condition it holds where the request's
    data names it as `skill`."""
    keywords: tuple[str, ...] = ()
    """Words or phrases of the message, in any case; `refund*` for everything that begins so."""
    regex: str = ""
    """Matches somewhere in the message; without repeats of repeats, back references and look-around."""
    when: str = ""
    """Condition on the request's data: `$task.tier == "gold"`, `$task.amount > 100`, `not $task.known`."""
    weight: float = Field(default=1.0, gt=0, le=100)
    """How much it counts against other rules that hold."""

    @model_validator(mode="after")
    def _names_one(self) -> "RuleSettings":
        if sum(map(bool, (self.agent, self.tool, self.workflow, self.skill))) != 1:
            raise PydanticCustomError("target", "give exactly one of agent, tool, workflow, skill")
        return self


class RouterSettings(BaseModel):
    """Where requests go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: tuple[RuleSettings, ...] = ()
    """Asked first; what they do not decide, the classifier does."""
    by_skill: bool = False
    """Ids and tags of the skills that workers' cards declare are rules as well, of half a weight."""
    threshold: float = Field(default=0.6, gt=0, le=1)
    """How sure whoever decides has to be: the share of the strongest rules, or the classifier's own confidence."""
    otherwise: Worker | None = None
    """Who takes what nobody is sure about, and what the right worker failed at: a slug, or a mapping."""
    person: str = ""
    """Who says where a request goes when nothing else does: a role of people, or `caller`; by default nobody."""
    ask_timeout_s: float | None = Field(default=None, gt=0)
    """How long that person has to answer; by default what `limits.ask_timeout_s` says."""
    cache_ttl_s: float = Field(default=86_400.0, ge=0)
    """How long a classifier's decision stands for the same request; 0 to ask it every time."""
    multi_intent: bool = True
    """Find several wishes in one message; off: the strongest is served, and the others are named as gaps."""
    several: Nested | None = None
    """The workflow that gets a message with several wishes, a supervisor for example; without one each worker is given
    its own, side by side."""
    replicas: dict[str, tuple[Worker, ...]] = Field(default_factory=dict[str, "tuple[Worker, ...]"])
    """Further workers that do the same as one: `{refunds: [refunds-b, refunds-c]}`."""
    balance: Literal["least_busy", "round_robin"] = "least_busy"
    """Which of them is given the next request."""
    hand_off: bool = False
    """Whoever is given the first message of a conversation (A2A: `contextId`) gets the later ones too, until it says
    that it is done, or hands back."""
    conversation_ttl_s: float = Field(default=86_400.0, gt=0)
    """How long a conversation may rest before it is routed anew."""
