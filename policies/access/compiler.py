"""From rules to decisions: what is settled for every call of a caller to a target, and what its arguments must settle.

Capabilities that the same rules name are judged alike, so a list of a thousand tools costs as many questions to Cedar
as there are different sets of rules.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json
from gateway.core.model import AgentClass, Capability
from gateway.core.ports.policy import Need
from gateway.core.verdict import Allow, Deny
from policies.access.cedar import policy_text, schema_text, truth_texts
from policies.access.engine import NO_CONTEXT, Decision, Engine, Question
from policies.access.expert import ExpertPolicy
from policies.access.expression import Expression, Slot, slot_of, terms_of
from policies.access.patterns import Target, target_of
from policies.access.project import CedarValue, projection
from policies.access.rules import Effect, Rule

K = TypeVar("K")
V = TypeVar("V")
Truth = Literal["true", "false", "undecided"]

POLICY = "access"
NO_GRANT = "no-grant"
FAILED = "cedar-error"
MOST_COMPILED = 50_000
"""Decisions kept; beyond that the cache starts anew, because names of resources come from outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """What is left to settle for each call."""

    question: Question
    afterwards: Question
    """The question for what follows a granted call: its task, the completion of its arguments. Conditions on arguments
    are about the call itself and do not bind it."""
    project: Callable[[Json], dict[str, CedarValue]]
    reads: bool
    """Whether arguments count, not only the envelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """How calls of one agent class to one target are judged."""

    rules: tuple[Rule, ...]
    """Those that name the target and concern the caller, in the order they are written."""
    settled: Allow | Deny | None
    """The verdict on every such call; None where each has to be looked at."""
    open: Open | None = None

    @property
    def need(self) -> Need:
        """What a plan needs for such calls."""
        if self.settled is not None:
            return self.settled
        return "read" if self.open is not None and self.open.reads else "check"


class Compiler:
    """The rules of one configuration, and every decision that was needed so far."""

    def __init__(
        self, *, rules: Sequence[Rule], experts: Sequence[ExpertPolicy], most_kept: int = MOST_COMPILED
    ) -> None:
        self._most_kept = most_kept
        self.rules = tuple(rules)
        self.experts = tuple(experts)
        self.by_id = {rule.id: rule for rule in self.rules}
        self._order = {each.id: place for place, each in enumerate((*self.rules, *self.experts))}
        if len(self._order) < len(self.rules) + len(self.experts):
            raise InvalidRequest("two access rules have the same id")
        self._texts = {rule.id: policy_text(rule) for rule in self.rules}
        self._engine = Engine(schema_text([*_slots(self.rules), *(s for each in self.experts for s in each.slots)]))
        self._engine.validate("\n".join([*self._texts.values(), *(each.text for each in self.experts)]))
        self._concerned: dict[AgentClass, tuple[Rule, ...]] = {}
        self._compiled: dict[tuple[AgentClass, str, frozenset[str], str], Compiled] = {}
        self._shared: dict[tuple[AgentClass, tuple[str, ...]], Compiled] = {}

    def concerning(self, agent: AgentClass) -> tuple[Rule, ...]:
        """Every rule that says something about calls of this class."""
        rules = self._concerned.get(agent)
        if rules is None:
            rules = tuple(rule for rule in self.rules if rule.via(agent))
            self._keep(self._concerned, agent, rules)
        return rules

    def compiled(self, agent: AgentClass, capability: Capability) -> Compiled:
        """How calls of `agent` to `capability` are judged."""
        key = (agent, capability.name, capability.tags, capability.effect)
        compiled = self._compiled.get(key)
        if compiled is None:
            target = target_of(capability)
            matching = tuple(rule for rule in self.concerning(agent) if rule.pattern.matches(target))
            compiled = self._share(agent, matching, capability, target)
            self._keep(self._compiled, key, compiled)
        return compiled

    def decide(self, question: Question, context: Mapping[str, object]) -> Decision:
        """Cedar's decision, its rules in the order they are written."""
        decision = self._engine.decide(question, context)
        return replace(decision, rules=tuple(sorted(decision.rules, key=self._order.__getitem__)))

    def _keep(self, cache: dict[K, V], key: K, value: V) -> None:
        if len(cache) >= self._most_kept:
            cache.clear()
        cache[key] = value

    def truth(self, condition: Expression, agent: AgentClass, capability: Capability, arguments: Json) -> Truth:
        """What a condition is for these arguments, by Cedar."""
        question = self._engine.question(
            truth_texts(condition), agent=agent, capability=capability, target=target_of(capability), patterns=()
        )
        project = projection(slot_of(term) for term in terms_of(condition))
        said = self._engine.decide(question, {**NO_CONTEXT, **project(arguments)}).rules
        return "true" if "true" in said else "false" if "false" in said else "undecided"

    def _share(self, agent: AgentClass, matching: tuple[Rule, ...], capability: Capability, target: Target) -> Compiled:
        if self.experts:  # They may look at anything, the name included, so nothing can be shared.
            return self._compile(agent, matching, capability, target)
        key = (agent, tuple(rule.id for rule in matching))
        compiled = self._shared.get(key)
        if compiled is None:
            compiled = self._compile(agent, matching, capability, target)
            self._keep(self._shared, key, compiled)
        return compiled

    def _compile(
        self, agent: AgentClass, matching: tuple[Rule, ...], capability: Capability, target: Target
    ) -> Compiled:
        def question(rules: Iterable[Rule], experts: Iterable[ExpertPolicy]) -> Question:
            texts = [self._texts[rule.id] if rule in matching else policy_text(rule) for rule in rules]
            texts += [expert.text for expert in experts]
            return self._engine.question(
                texts, agent=agent, capability=capability, target=target, patterns=self._patterns(matching, target)
            )

        settled = [rule for rule in matching if rule.condition is None]
        unsettled = [rule for rule in matching if rule.condition is not None]
        asking = [expert for expert in self.experts if expert.asks_context]
        first = self.decide(question(settled, [e for e in self.experts if not e.asks_context]), NO_CONTEXT)
        verdict = self._settled(first, {each.effect for each in (*unsettled, *asking)}, agent)
        if verdict is not None:
            return Compiled(rules=matching, settled=verdict)
        slots = [*_slots(unsettled), *(slot for expert in asking for slot in expert.slots)]
        granted = [replace(rule, condition=None) for rule in unsettled if rule.effect == "allow"]
        remaining = Open(
            question=question(matching, self.experts),
            afterwards=question([*settled, *granted], self.experts),
            project=projection(slots),
            reads=bool(slots),
        )
        return Compiled(rules=matching, settled=None, open=remaining)

    def _patterns(self, matching: Iterable[Rule], target: Target) -> list[str]:
        named = [rule.pattern.text for rule in matching]
        return named + [p.text for expert in self.experts for p in expert.patterns if p.matches(target)]

    def _settled(self, first: Decision, open_effects: set[Effect], agent: AgentClass) -> Allow | Deny | None:
        """The verdict, if what is still open cannot change it."""
        if first.failed or (first.rules and not first.allowed):
            return self.refused(first, agent)
        if first.allowed and "deny" not in open_effects:
            return granted_by(first)
        if not first.allowed and "allow" not in open_effects:
            return self.refused(first, agent)
        return None

    def refused(self, decision: Decision, agent: AgentClass) -> Deny:
        """The Deny for a decision that is no allow, in words for the caller."""
        if decision.failed:
            return Deny(policy=POLICY, rule=FAILED, reason="the rules could not be evaluated for this call")
        if not decision.rules:
            roles = ", ".join(sorted(agent.roles))
            reason = f"no rule of its roles ({roles}) allows it" if roles else "it has no role that allows anything"
            return Deny(policy=POLICY, rule=NO_GRANT, reason=reason)
        first = decision.rules[0]
        rule = self.by_id.get(first)
        if rule is None:
            return Deny(policy=POLICY, rule=first, reason="a policy written in Cedar forbids it")
        whose = "of a caller it acts for " if rule.via(agent) == "behind" else ""
        when = f" when {rule.when}" if rule.when else ""
        reason = rule.reason or f"role {rule.role} {whose}may not call {rule.pattern.text}{when}"
        return Deny(policy=POLICY, rule=first, reason=reason)


def granted_by(decision: Decision) -> Allow:
    """The grant of a decision that is an allow."""
    return Allow(policy=POLICY, rule=decision.rules[0], grant=True)


def _slots(rules: Iterable[Rule]) -> Iterable[Slot]:
    return [slot_of(term) for rule in rules if rule.condition is not None for term in terms_of(rule.condition)]
