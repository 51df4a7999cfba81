"""What is legal in roles and still not meant: rules that can never decide anything, roles nobody has."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from policies.access.expression import And, Compare, Expression, Has, Not, OneOf, Or, Scalar, slot_of, type_of
from policies.access.rules import Rule, rules_of
from policies.access.settings import RoleSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing worth a look; never an error."""

    path: str
    """In the configuration: `roles.support.allow[0]`."""
    message: str


def lint(roles: Mapping[str, RoleSettings], *, held: Collection[str]) -> list[Finding]:
    """Everything worth a look. `held` are the roles that principals, agents and keys have."""
    findings = [
        Finding(path=f"roles.{role}", message=f"nobody has the role {role}") for role in roles if role not in held
    ]
    rules = list(rules_of(roles, lambda _: 0))
    for rule in rules:
        same_role = [other for other in rules if other.role == rule.role and other is not rule]
        findings += _about(rule, same_role)
    return findings


def _about(rule: Rule, others: Iterable[Rule]) -> Iterator[Finding]:
    if rule.condition is not None and not possible(rule.condition):
        consequence = "so it allows nothing" if rule.effect == "allow" else "so it only denies what it cannot decide"
        yield Finding(path=rule.path, message=f"the condition {rule.when!r} can never be true, {consequence}")
    for other in others:
        if other.condition is not None or not other.pattern.covers(rule.pattern):
            continue
        if other.effect == "deny" and rule.effect == "allow":
            message = f"{rule.pattern.text} is denied as a whole by {other.id} ({other.pattern.text})"
            yield Finding(path=rule.path, message=message)
        elif other.effect == rule.effect and not _mutual(rule, other):
            message = f"{rule.pattern.text} is covered already by {other.id} ({other.pattern.text})"
            yield Finding(path=rule.path, message=message)


def _mutual(rule: Rule, other: Rule) -> bool:
    """Two rules that cover each other: the first of them is the one to keep."""
    earlier = (len(rule.path), rule.path) < (len(other.path), other.path)
    return earlier and rule.condition is None and rule.pattern.covers(other.pattern)


def possible(expression: Expression) -> bool:
    """Whether some arguments may make the condition true; False only where that is certain."""
    if isinstance(expression, Or):
        return any(map(possible, expression.terms))
    claims = _Claims()
    return all(claims.take(term, holds=holds) for term, holds in _conjuncts(expression, holds=True)) and claims.meet()


def _conjuncts(expression: Expression, *, holds: bool) -> Iterator[tuple[Expression, bool]]:
    match expression:
        case Not():
            yield from _conjuncts(expression.term, holds=not holds)
        case And() if holds:
            for term in expression.terms:
                yield from _conjuncts(term, holds=True)
        case Or() if not holds:
            for term in expression.terms:
                yield from _conjuncts(term, holds=False)
        case _:
            yield expression, holds


class _Claims:
    """What several terms say of the same arguments."""

    def __init__(self) -> None:
        self._types: dict[tuple[str, ...], str] = {}
        self._among: dict[tuple[str, ...], set[tuple[str, Scalar]]] = {}
        self._not: dict[tuple[str, ...], set[tuple[str, Scalar]]] = {}
        self._least: dict[tuple[str, ...], tuple[Decimal, bool]] = {}
        self._most: dict[tuple[str, ...], tuple[Decimal, bool]] = {}
        self._present: set[tuple[str, ...]] = set()
        self._absent: set[tuple[str, ...]] = set()

    def take(self, term: Expression, *, holds: bool) -> bool:
        """Add a claim; False where it contradicts the type another one needs."""
        match term:
            case And() | Or() | Not():
                # A choice inside a conjunction: looked at by itself only where it must hold.
                return possible(term) if holds else True
            case Has():
                (self._present if holds else self._absent).add(term.path)
                return True
            case _:
                pass
        slot = slot_of(term)
        if self._types.setdefault(slot.path, slot.type) != slot.type:
            return False
        match term:
            case Compare():
                self._compare(term.path, _negated(term.operator) if not holds else term.operator, term.value)
            case OneOf():
                named = {(type_of(value), value) for value in term.values}
                self._one_of(term.path, named, holds=holds)
            case _:
                pass
        return True

    def meet(self) -> bool:
        """Whether one value of each argument can satisfy every claim on it."""
        return self._present.isdisjoint(self._absent) and all(self._meets(path) for path in self._types)

    def _meets(self, path: tuple[str, ...]) -> bool:
        if path in self._absent:
            return False
        least, most = self._least.get(path), self._most.get(path)
        if least is not None and most is not None and not _leaves_room(least, most):
            return False
        among = self._among.get(path)
        return among is None or any(self._within(path, value) for value in among - self._not.get(path, set()))

    def _within(self, path: tuple[str, ...], value: tuple[str, Scalar]) -> bool:
        number = value[1]
        if not isinstance(number, Decimal):
            return True
        least, most = self._least.get(path), self._most.get(path)
        above = least is None or number > least[0] or (number == least[0] and least[1])
        below = most is None or number < most[0] or (number == most[0] and most[1])
        return above and below

    def _one_of(self, path: tuple[str, ...], named: set[tuple[str, Scalar]], *, holds: bool) -> None:
        if not holds:
            self._not.setdefault(path, set()).update(named)
        elif path in self._among:
            self._among[path] &= named
        else:
            self._among[path] = named

    def _compare(self, path: tuple[str, ...], operator: str, value: Scalar) -> None:
        if operator in ("==", "!="):
            self._one_of(path, {(type_of(value), value)}, holds=operator == "==")
            return
        number = Decimal(value)
        bound = (number, operator in ("<=", ">="))
        if operator in (">", ">="):
            held = self._least.get(path)
            self._least[path] = bound if held is None else max(held, bound, key=lambda b: (b[0], not b[1]))
        else:
            held = self._most.get(path)
            self._most[path] = bound if held is None else min(held, bound, key=lambda b: (b[0], b[1]))


def _leaves_room(least: tuple[Decimal, bool], most: tuple[Decimal, bool]) -> bool:
    """Whether a number fits between two bounds, each with whether it counts itself."""
    return least[0] < most[0] or (least[0] == most[0] and least[1] and most[1])


def _negated(operator: str) -> str:
    return {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}[operator]
