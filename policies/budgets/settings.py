"""The sections `prices` and `budgets` of the configuration."""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from policies.budgets.windows import LIMITS, Bound

Price = Annotated[Decimal, Field(ge=0, le=Decimal(10**6), allow_inf_nan=False)]


class ModelPrice(BaseModel):
    """What a model costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_usd: Price = Decimal(0)
    """US dollars for a million tokens it is given."""
    output_usd: Price = Decimal(0)
    """US dollars for a million tokens it writes."""


class TargetPrice(BaseModel):
    """What an agent or a tool costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    call_usd: Price = Decimal(0)
    """US dollars for each call."""
    model: str = ""
    """The model it uses, where its answers do not name one; a tool that has one has its tokens counted."""


class PriceSettings(BaseModel):
    """What is paid for calls whose cost nobody reports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, ModelPrice] = Field(default_factory=dict[str, ModelPrice])
    """By the name agents report; `gpt-5` also holds for `openai/gpt-5` and `gpt-5-2025-08-07`."""
    agents: dict[str, TargetPrice] = Field(default_factory=dict[str, TargetPrice])
    """By slug."""
    tools: dict[str, TargetPrice] = Field(default_factory=dict[str, TargetPrice])
    """By name, `orders/refund`."""
    count_tokens: bool = True
    """Count the tokens of what agents are told and answer, where they report none."""

    @model_validator(mode="after")
    def _models_have_prices(self) -> "PriceSettings":
        for target in (*self.agents.values(), *self.tools.values()):
            if target.model and target.model not in self.models:
                raise PydanticCustomError(
                    "model", "names a model that has no price: add {model} to models", {"model": target.model}
                )
        return self


class BudgetSettings(BaseModel):
    """What may be spent in a minute, a day, a month; UTC. What is not given is not limited."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls_per_minute: int | None = Field(default=None, ge=1)
    """Calls in a minute."""
    calls_per_day: int | None = Field(default=None, ge=1)
    """Calls in a day."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Tokens in a minute."""
    tokens_per_day: int | None = Field(default=None, ge=1)
    """Tokens in a day."""
    tokens_per_month: int | None = Field(default=None, ge=1)
    """Tokens in a month."""
    cost_usd_per_day: Decimal | None = Field(default=None, gt=0, allow_inf_nan=False)
    """US dollars in a day."""
    cost_usd_per_month: Decimal | None = Field(default=None, gt=0, allow_inf_nan=False)
    """US dollars in a month."""

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is limited."""
        given = ((name, getattr(self, name)) for name in LIMITS)
        return tuple(Bound(name=name, most=Decimal(most)) for name, most in given if most is not None)


class BudgetsSettings(BaseModel):
    """Budgets of tenants and agents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenants: dict[str, BudgetSettings] = Field(default_factory=dict[str, BudgetSettings])
    """By tenant: all it calls, agents and tools."""
    agents: dict[str, BudgetSettings] = Field(default_factory=dict[str, BudgetSettings])
    """By slug: all that is asked of the agent, whoever asks."""
