"""Why a call is allowed or denied, and what would have to change. Works without a running gateway.

Asks the same compiler that judges calls, so that an explanation cannot disagree with a verdict.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gateway.core.json import Json
from gateway.core.model import AgentClass, Capability, CapabilityKind
from gateway.core.verdict import Allow, Deny
from policies.access.compiler import NO_GRANT, Compiled
from policies.access.engine import NO_CONTEXT
from policies.access.patterns import parse_pattern
from policies.access.policy import AccessPolicy, undecided_by
from policies.access.resources import named_resource, uri_of
from policies.access.rules import Effect, Rule, Via

Outcome = Literal["applies", "does not apply", "undecided", "needs arguments", "needs tags"]
"""`undecided`: an argument is missing or of another type, which no allow survives and no deny forgives."""

_KINDS: dict[str, CapabilityKind] = {
    "tool": "tool",
    "prompt": "prompt",
    "resource": "resource",
    "template": "template",
    "method": "method",
    "agent": "agent",
    "workflow": "workflow",
}
_TARGET_LISTS = {"agent": "agents", "tool": "tools", "workflow": "workflows"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One rule that speaks of the call, or may."""

    rule: str
    effect: Effect
    outcome: Outcome
    pattern: str
    when: str = ""
    via: Via = "own"
    path: str = ""
    line: int = 0
    note: str = ""

    def to_json(self) -> dict[str, Json]:
        """Every member, by its name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What would become of a call, and why."""

    capability: str
    decision: Literal["allow", "deny", "depends"]
    """`depends`: on arguments or tags that were not given."""
    rule: str
    """Id of the rule that decides; empty where it depends."""
    line: int
    """Its line in the configuration; 0 where it has none."""
    reason: str
    matches: tuple[Match, ...]
    """Every rule that speaks of the call, in the order they are written."""
    change: tuple[str, ...]
    """What would turn the decision round."""
    notes: tuple[str, ...] = ()
    """What was not known."""

    def to_json(self) -> dict[str, Json]:
        """Every member, by its name."""
        return {
            "capability": self.capability,
            "decision": self.decision,
            "rule": self.rule,
            "line": self.line,
            "reason": self.reason,
            "matches": [match.to_json() for match in self.matches],
            "change": [*self.change],
            "notes": [*self.notes],
        }


def explain(
    policy: AccessPolicy, agent: AgentClass, capability: Capability | str, arguments: Json = None
) -> Explanation:
    """Why `agent` may or may not call `capability`, given by name where its server is not at hand.

    Without `arguments` the conditions stay open. Raises: ValueError: the name is none; the message says what would be.
    """
    if not isinstance(capability, str):
        return _Explaining(policy, agent, capability, arguments, tags_known=True).explanation()
    return _Explaining(
        policy, agent, capability_named(capability, agent.tenant), arguments, tags_known=False
    ).explanation()


def capability_named(name: str, tenant: str) -> Capability:
    """A stand-in for whatever has this name.  Raises: ValueError: nothing can have it."""
    kind, _, rest = name.partition(":")
    if kind not in _KINDS:
        parse_pattern(name)  # says what is wrong with most names
        raise ValueError(f"{name!r} names no capability; write for example 'tool:orders/refund' or 'agent:refunds'")
    owner, _, local = rest.partition("/")
    parse_pattern(name.replace("template:", "resource:", 1))
    return Capability(name=name, kind=_KINDS[kind], owner=owner, local=local, tenant=tenant)


class _Explaining:
    """One explanation in the making."""

    def __init__(
        self, policy: AccessPolicy, agent: AgentClass, capability: Capability, arguments: Json, *, tags_known: bool
    ) -> None:
        self._policy = policy
        self._agent = agent
        if capability.kind == "template" and uri_of(arguments):
            capability = named_resource(capability, uri_of(arguments))
        self._capability = capability
        self._arguments = arguments
        self._by_tag = [] if tags_known else [r for r in policy.compiler.concerning(agent) if r.pattern.tag]
        self._compiled = policy.compiler.compiled(agent, capability)

    def explanation(self) -> Explanation:
        matches = tuple(self._matches())
        verdict = self._verdict(self._compiled)
        if verdict is None or self._tags_could_change(verdict):
            change = tuple(self._additions())
            reason = "it depends on the arguments" if verdict is None else "it depends on the tags of the target"
            return Explanation(
                capability=self._capability.name,
                decision="depends",
                rule="",
                line=0,
                reason=reason,
                matches=matches,
                change=change,
                notes=tuple(self._notes()),
            )
        deciding = self._policy.compiler.by_id.get(verdict.rule)
        denied = isinstance(verdict, Deny)
        return Explanation(
            capability=self._capability.name,
            decision="deny" if denied else "allow",
            rule=verdict.rule,
            line=deciding.line if deciding is not None else 0,
            reason=verdict.reason if denied else f"{verdict.rule} allows it",
            matches=matches,
            change=tuple(self._openings(matches) if denied else self._closings()),
            notes=tuple(self._notes()),
        )

    def _verdict(self, compiled: Compiled) -> Allow | Deny | None:
        need = self._policy.plan(self._agent, self._capability)
        if isinstance(need, Allow | Deny):
            return need
        if self._arguments is None and compiled.need != "check":
            return None
        return self._policy.verdict(compiled, self._agent, NO_CONTEXT, self._arguments)

    def _tags_could_change(self, verdict: Allow | Deny) -> bool:
        if isinstance(verdict, Allow):
            return any(rule.effect == "deny" for rule in self._by_tag)
        return verdict.rule == NO_GRANT and any(rule.effect == "allow" for rule in self._by_tag)

    def _matches(self) -> Iterator[Match]:
        speaking = {rule.id for rule in (*self._compiled.rules, *self._by_tag)}
        for rule in self._policy.compiler.concerning(self._agent):
            if rule.id in speaking:
                yield self._match(rule)

    def _match(self, rule: Rule) -> Match:
        outcome, note = self._outcome(rule)
        return Match(
            rule=rule.id,
            effect=rule.effect,
            outcome=outcome,
            pattern=rule.pattern.text,
            when=rule.when,
            via=rule.via(self._agent),
            path=rule.path,
            line=rule.line,
            note=note,
        )

    def _outcome(self, rule: Rule) -> tuple[Outcome, str]:
        if rule in self._by_tag:
            return "needs tags", ""
        if rule.condition is None:
            return "applies", ""
        if self._arguments is None:
            return "needs arguments", ""
        truth = self._policy.compiler.truth(rule.condition, self._agent, self._capability, self._arguments)
        if truth == "undecided":
            return "undecided", "; ".join(undecided_by(rule.condition, self._arguments))
        return ("applies" if truth == "true" else "does not apply"), ""

    def _openings(self, matches: tuple[Match, ...]) -> Iterator[str]:
        """What would allow a denied call: every deny out of the way, and a grant if there is none."""
        granted = False
        for match in matches:
            if match.effect == "allow":
                granted = granted or match.outcome == "applies"
            elif match.outcome in ("applies", "undecided"):
                yield f"remove or narrow {match.path} (line {match.line}): {match.pattern}{_when(match.when)}"
        for match in matches:
            if match.effect == "allow" and match.outcome in ("does not apply", "undecided") and not granted:
                yield f"call with arguments for which {match.when}, or change {match.path} (line {match.line})"
        if not granted:
            yield from self._additions()

    def _additions(self) -> Iterator[str]:
        name = self._capability.name
        for role in sorted(self._agent.roles):
            if role.startswith("workflow:"):
                kind, _, rest = name.partition(":")
                path = f"workflows.{role.removeprefix('workflow:')}.{_TARGET_LISTS.get(kind, 'tools')}"
                yield f"add {rest!r} to {path}{_line(self._policy.lines(path))}"
            else:
                path = f"roles.{role}.allow"
                line = self._policy.lines(path) if role in self._policy.roles else 0
                yield f'add "{name}" to {path}{_line(line)}'
        if not self._agent.roles:
            yield f'give it a role, and write in roles: `ROLE: {{allow: ["{name}"]}}`'

    def _closings(self) -> Iterator[str]:
        """What would deny an allowed call."""
        for role in sorted(self._agent.roles):
            if not role.startswith("workflow:"):
                path = f"roles.{role}.deny"
                yield f'add "{self._capability.name}" to {path}{_line(self._policy.lines(path))}'

    def _notes(self) -> Iterator[str]:
        if self._by_tag:
            rules = ", ".join(rule.id for rule in self._by_tag)
            yield f"tags of {self._capability.name} are not known here; rules that go by tags: {rules}"
        for role in sorted(self._agent.roles):
            if role not in self._policy.roles and ":" not in role:
                yield f"there is no role {role!r} in the configuration"
        if any(expert.asks_context for expert in self._policy.compiler.experts):
            yield "policies written in Cedar look at how a call is made as well; here it is made in no particular way"


def _when(when: str) -> str:
    return f" when {when}" if when else ""


def _line(line: int) -> str:
    return f" (line {line})" if line else ""
