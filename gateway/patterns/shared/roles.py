"""Who fills a role of a pattern: an agent, a tool, another workflow, or a built-in rule. Pure."""

from collections.abc import Collection
from dataclasses import dataclass, field

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.ports.orchestration import Node, StepResult
from gateway.patterns.shared.settings import StandIn, contract, seconds, stand_ins, target_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Exactly one of target and rule is there."""

    name: str
    target: str = ""
    """Capability name."""
    rule: str = ""
    options: JsonObject = field(default_factory=dict[str, Json])
    """Of the rule."""
    input: JsonObject = field(default_factory=dict[str, Json])
    input_schema: "JsonObject | None" = None
    output_schema: "JsonObject | None" = None
    timeout_s: float | None = None
    stand_in: StandIn | None = None
    """Who is asked where the target fails."""

    def node(self, given: JsonObject) -> Node:
        """The step that asks whoever fills the role. Not for rules."""
        return Node(
            target=self.target,
            input={**self.input, **given},
            tells=True,
            timeout_s=self.timeout_s,
            input_schema=self.input_schema,
            output_schema=self.output_schema,
            instead="" if self.stand_in is None else self.stand_in.target,
            notice="" if self.stand_in is None else self.stand_in.notice,
        )


def role_in(settings: JsonObject, name: str, rules: Collection[str] = ()) -> Role | None:
    """Who fills the role; None where nobody does.

    Raises: InvalidRequest: a rule that is none of `rules`, or nobody in particular.
    """
    said = settings.get(name)
    if not said:
        return None
    others = stand_ins(settings)
    if isinstance(said, str):
        return Role(name=name, target=f"agent:{said}", stand_in=others.get(f"agent:{said}"))
    entry = json_object(said)
    rule = json_text(entry.get("rule"))
    if rule and rule not in rules:
        known = ", ".join(sorted(rules)) or "none"
        raise InvalidRequest(f"the {name} has no rule {rule}; there is {known}", detail={"setting": name})
    target = "" if rule else target_in(entry)
    return Role(
        name=name,
        target=target,
        rule=rule,
        options=json_object(entry.get("options")),
        input=json_object(entry.get("input")),
        input_schema=contract(entry.get("input_schema")),
        output_schema=contract(entry.get("output_schema")),
        timeout_s=seconds(entry.get("timeout_s")),
        stand_in=others.get(target),
    )


def required_role(settings: JsonObject, name: str, pattern: str, rules: Collection[str] = ()) -> Role:
    """Who fills a role the pattern cannot do without. Raises: InvalidRequest: nobody does."""
    role = role_in(settings, name, rules)
    if role is None:
        raise InvalidRequest(f"the pattern {pattern} needs a {name}", detail={"setting": name})
    return role


def words_of(said: StepResult) -> str:
    """What whoever words an answer said; empty where that failed."""
    return (said.text or json_text(json_object(said.answer).get("text")) or said.summary) if said.ok else ""
