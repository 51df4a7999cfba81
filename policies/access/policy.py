"""The access policy: the grant without which nothing is called, and the denies nothing outweighs.

A caller is judged by its own roles; those on whose behalf it acts can only take away. Operators administrate; they call
nothing unless a role of theirs allows it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from gateway.core.catalog import EVERY_TENANT
from gateway.core.json import Json
from gateway.core.model import AgentClass, Capability, Operation, Request
from gateway.core.ports.policy import Need
from gateway.core.uris import is_plain
from gateway.core.verdict import Allow, Deny, Verdict
from policies.access.compiler import NO_GRANT, POLICY, Compiled, Compiler, Open, granted_by
from policies.access.engine import Decision
from policies.access.expert import expert_policies
from policies.access.expression import Expression, path_text, slot_of, terms_of
from policies.access.patterns import KINDS
from policies.access.project import trouble
from policies.access.resources import named_resource, narrow_rules, templates_of, uri_of
from policies.access.rules import Rule, built_in_rules, granted_rules, rules_of
from policies.access.settings import RoleSettings

AFTERWARDS: frozenset[Operation] = frozenset(
    {"complete", "task.get", "task.list", "task.update", "task.cancel", "task.subscribe"}
)
"""Operations about a call rather than calls of their own: covered by the same grant, whatever the arguments were."""
_PLAINLY = "write the URI without `.` and `..`, what need not be escaped as it is, and its scheme in small letters"


class AccessPolicy:
    """See `core.ports.policy.RequestPolicy`.

    `lines` gives the configuration's line of a path such as `roles.support.allow[0]`, or 0. `grants` says, for roles
    nobody writes (`workflow:help`), what they are granted. `raw_cedar` adds policies written in Cedar; what of them
    does not fit raises InvalidRequest.
    """

    def __init__(
        self,
        *,
        roles: Mapping[str, RoleSettings],
        lines: Callable[[str], int],
        grants: Mapping[str, Sequence[str]] | None = None,
        raw_cedar: str = "",
    ) -> None:
        self.roles = roles
        self.lines = lines
        rules = [*rules_of(roles, lines), *granted_rules(grants or {}, lines), *built_in_rules()]
        self.compiler = Compiler(rules=rules, experts=expert_policies(raw_cedar))

    @property
    def name(self) -> str:
        return POLICY

    def plan(self, agent: AgentClass, capability: Capability) -> Need:
        """See `RequestPolicy.plan`."""
        if capability.tenant not in (EVERY_TENANT, agent.tenant):
            return Deny(policy=POLICY, rule="other-tenant", reason="it belongs to another tenant")
        for template in templates_of(capability):
            by_template = self.compiler.compiled(agent, template).settled
            if isinstance(by_template, Deny) and by_template.rule != NO_GRANT:
                return by_template
        compiled = self.compiler.compiled(agent, capability)
        if capability.kind != "template":
            return compiled.need
        return self._plan_template(compiled, narrow_rules(self.compiler, agent, capability))

    def may_reach(self, agent: AgentClass, owner: str) -> bool:
        """Whether the rules could allow something of an owner that nothing is known of yet; its tags are not either."""
        rules = self.compiler.concerning(agent)
        return any(
            any(rule.effect == "allow" and rule.pattern.may_name_some_of(kind, owner) for rule in rules)
            and not any(_takes_all(rule) and rule.pattern.may_name_some_of(kind, owner) for rule in rules)
            for kind in KINDS
        )

    def check_request(self, request: Request, capability: Capability) -> Verdict:
        """See `RequestPolicy.check_request`."""
        if capability.kind == "template":
            return self._check_template(request, capability)
        return self._check(request, capability)

    def verdict(
        self, compiled: Compiled, agent: AgentClass, context: Mapping[str, object], arguments: Json
    ) -> Allow | Deny:
        """The verdict on one call with these arguments; `context` is its envelope."""
        if compiled.settled is not None or compiled.open is None:
            return compiled.settled or self.compiler.refused(_NOTHING, agent)
        decision = self.compiler.decide(compiled.open.question, {**context, **compiled.open.project(arguments)})
        if decision.allowed:
            return granted_by(decision)
        return _explained(self.compiler.refused(decision, agent), compiled.rules, arguments)

    def _check(self, request: Request, capability: Capability) -> Verdict:
        agent = request.principal.agent_class
        compiled = self.compiler.compiled(agent, capability)
        if compiled.open is not None and request.operation in AFTERWARDS:
            return self._afterwards(compiled.open, request)
        arguments = None if compiled.open is None else arguments_of(request)
        return self.verdict(compiled, agent, _envelope(request), arguments)

    def _afterwards(self, still_open: Open, request: Request) -> Allow | Deny:
        decision = self.compiler.decide(still_open.afterwards, _envelope(request))
        return (
            granted_by(decision) if decision.allowed else self.compiler.refused(decision, request.principal.agent_class)
        )

    def _plan_template(self, compiled: Compiled, narrow: Sequence[Rule]) -> Need:
        if not narrow and not self.compiler.experts:
            return compiled.need
        may_grant = any(each.effect == "allow" for each in (*narrow, *self.compiler.experts))
        if isinstance(compiled.settled, Deny) and (compiled.settled.rule != NO_GRANT or not may_grant):
            return compiled.settled
        return "read"

    def _check_template(self, request: Request, capability: Capability) -> Verdict:
        """A template stands for resources that have names of their own, and those are what the rules are about."""
        agent = request.principal.agent_class
        narrow = narrow_rules(self.compiler, agent, capability)
        if not narrow and not self.compiler.experts:
            return self._check(request, capability)
        if request.operation in AFTERWARDS:
            said = self._check(request, capability)
            granting = next((rule for rule in narrow if rule.effect == "allow"), None)
            if isinstance(said, Deny) and said.rule == NO_GRANT and granting is not None:
                return Allow(policy=POLICY, rule=granting.id, grant=True)
            return said
        uri = uri_of(arguments_of(request))
        if not uri:
            return Deny(policy=POLICY, rule="no-uri", reason="the request does not say which resource it reads")
        if not is_plain(uri):
            return Deny(policy=POLICY, rule="odd-uri", reason=_PLAINLY)
        return self._check(request, named_resource(capability, uri))


def arguments_of(request: Request) -> Json:
    """The arguments conditions are about; a call without any has none of them."""
    structured = request.body.content().structured
    return {} if structured is None else structured


def _takes_all(rule: Rule) -> bool:
    """Whether it denies whatever there is of the owners it names."""
    return rule.effect == "deny" and rule.condition is None and not rule.pattern.narrow


def _envelope(request: Request) -> dict[str, object]:
    return {
        "operation": request.operation,
        "phase": request.phase,
        "protocol": request.protocol,
        "run": bool(request.run_id),
        "untrusted": sorted(request.labels.untrusted),
    }


def _explained(denied: Deny, rules: Iterable[Rule], arguments: Json) -> Deny:
    """The Deny with what it was about the arguments; tells which, never what they are."""
    for rule in rules:
        if rule.condition is None or (denied.rule not in (NO_GRANT, rule.id)):
            continue
        if denied.rule == NO_GRANT and rule.effect != "allow":
            continue
        undecided = undecided_by(rule.condition, arguments)
        because = f" ({'; '.join(undecided)})" if undecided else ""
        reason = denied.reason if denied.rule == rule.id else f"{rule.id} allows it only when {rule.when}"
        return replace(denied, reason=f"{reason}{because}")
    return denied


def undecided_by(condition: Expression, arguments: Json) -> list[str]:
    """Which arguments keep a condition from being decided, and why: `args.amount is missing`."""
    said = {path_text(slot.path): trouble(arguments, slot) for slot in map(slot_of, terms_of(condition))}
    return [f"{path} {wrong}" for path, wrong in said.items() if wrong]


_NOTHING = Decision(allowed=False, rules=())
