"""The section `roles` of the configuration: what each role may call, and what it may not."""

from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from policies.access.grammar import ExpressionError, parse_condition
from policies.access.patterns import parse_pattern


def _checked_pattern(text: str) -> str:
    try:
        parse_pattern(text)
    except ValueError as error:
        raise PydanticCustomError("pattern", "{wrong}", {"wrong": str(error)}) from error
    return text


class RuleSettings(BaseModel):
    """One entry of a role, where a pattern alone does not say enough."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    call: str = ""
    """Pattern of what it is about: `tool:orders/*`, `agent:refunds`, `resource:docs/**`, `tag:read`, `*`."""
    tag: str = ""
    """Instead of `call`: everything that carries this tag."""
    when: str = ""
    """Condition on the arguments: `args.amount <= 100 and args.currency in ["EUR", "USD"]`."""
    reason: str = ""
    """Told to a caller whom this rule refuses."""

    @field_validator("call")
    @classmethod
    def _is_a_pattern(cls, text: str) -> str:
        return _checked_pattern(text)

    @field_validator("tag")
    @classmethod
    def _is_a_tag(cls, text: str, info: ValidationInfo) -> str:
        if info.data.get("call"):
            raise PydanticCustomError("pattern", "give either call or tag, not both")
        _checked_pattern(f"tag:{text}")
        return text

    @field_validator("when")
    @classmethod
    def _is_a_condition(cls, text: str) -> str:
        try:
            parse_condition(text)
        except ExpressionError as error:
            raise PydanticCustomError("condition", "{wrong}", {"wrong": str(error), "offset": error.offset}) from error
        return text

    @model_validator(mode="after")
    def _names_something(self) -> "RuleSettings":
        if not self.call and not self.tag:
            raise PydanticCustomError("missing", "`call` is missing: which calls is this rule about?")
        return self

    @property
    def pattern(self) -> str:
        """The pattern, whichever way it was written."""
        return self.call or f"tag:{self.tag}"


def _how_written(value: object) -> str:
    return "rule" if isinstance(value, dict | RuleSettings) else "pattern"


RoleEntry = Annotated[
    Annotated[str, AfterValidator(_checked_pattern), Tag("pattern")] | Annotated[RuleSettings, Tag("rule")],
    Discriminator(_how_written),
]


class RoleSettings(BaseModel):
    """One role. What no entry of `allow` names is denied; an entry of `deny` beats every `allow`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow: tuple[RoleEntry, ...] = ()
    """What the role may call: patterns, or rules with a condition."""
    deny: tuple[RoleEntry, ...] = ()
    """What it may not, whatever else allows it; also to those who act on its behalf."""


def rule_of(entry: str | RuleSettings) -> RuleSettings:
    """An entry in its long form."""
    return RuleSettings(call=entry) if isinstance(entry, str) else entry
