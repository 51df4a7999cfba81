"""Rules: one entry of one role, parsed, with the id and the line by which everybody speaks of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.core.model import AgentClass, PrincipalKind
from policies.access.expression import Expression
from policies.access.grammar import parse_condition
from policies.access.patterns import Pattern, exactly, parse_pattern
from policies.access.settings import RoleSettings, RuleSettings, rule_of

Effect = Literal["allow", "deny"]
Via = Literal["", "own", "behind"]

BUILT_IN: Mapping[PrincipalKind, Sequence[str]] = {"agent": ("tool:run/*",)}
"""What every principal of a kind may call: the scratchpad of the run it works for. `policies.scope` keeps it there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One entry of a role."""

    id: str
    """`support.allow[0]`; what a verdict, a record and Cedar's `@id` call it."""
    effect: Effect
    role: str
    """Empty for a built-in rule, which goes by `kind`."""
    pattern: Pattern
    kind: PrincipalKind | None = None
    condition: Expression | None = None
    when: str = ""
    """The condition as written."""
    reason: str = ""
    path: str = ""
    """Where it stands in the configuration: `roles.support.allow[0]`."""
    line: int = 0
    """Line of the configuration; 0 for a rule nobody wrote."""

    def via(self, agent: AgentClass) -> Via:
        """By which of a class's roles the rule concerns it: those behind it only take away."""
        if self.role in agent.roles or self.kind == agent.kind:
            return "own"
        if self.effect == "deny" and any(self.role in roles for roles in agent.behind):
            return "behind"
        return ""


def rules_of(roles: Mapping[str, RoleSettings], lines: Callable[[str], int]) -> Iterator[Rule]:
    """The rules of all roles, in the order they are written."""
    for role, settings in roles.items():
        written: tuple[tuple[Effect, Sequence[str | RuleSettings]], ...] = (
            ("allow", settings.allow),
            ("deny", settings.deny),
        )
        for effect, entries in written:
            for index, entry in enumerate(entries):
                rule = rule_of(entry)
                path = f"roles.{role}.{effect}[{index}]"
                yield Rule(
                    id=f"{role}.{effect}[{index}]",
                    effect=effect,
                    role=role,
                    pattern=parse_pattern(rule.pattern),
                    condition=parse_condition(rule.when) if rule.when else None,
                    when=rule.when,
                    reason=rule.reason,
                    path=path,
                    line=lines(path),
                )


def granted_rules(grants: Mapping[str, Sequence[str]], lines: Callable[[str], int]) -> Iterator[Rule]:
    """What roles nobody writes are granted: `workflow:help` its own targets, each by its exact name."""
    for role, targets in grants.items():
        path = f"workflows.{role.removeprefix('workflow:')}"
        for index, target in enumerate(targets):
            yield Rule(
                id=f"{role}.targets[{index}]",
                effect="allow",
                role=role,
                pattern=exactly(target),
                path=path,
                line=lines(path),
            )


def built_in_rules() -> Iterator[Rule]:
    """See `BUILT_IN`."""
    for kind, patterns in BUILT_IN.items():
        for pattern in patterns:
            yield Rule(id=f"built-in.{pattern}", effect="allow", role="", kind=kind, pattern=parse_pattern(pattern))
