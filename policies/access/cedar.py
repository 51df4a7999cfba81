"""Rules as Cedar text. Knows Cedar's language, not its engine.

Cedar skips a policy whose evaluation fails, which would make a failing `forbid` an allow. So nothing written here can
fail: each comparison is guarded by `has`, and every condition is written twice over, as what makes it certainly true
and what makes it certainly false. A permit needs the first; a forbid holds unless the second.
"""

from collections.abc import Iterable
from typing import assert_never

from policies.access.expression import (
    And,
    Compare,
    Contains,
    Expression,
    Has,
    Like,
    Not,
    OneOf,
    Or,
    Scalar,
    Slot,
    Term,
    path_text,
    slot_of,
)
from policies.access.rules import Rule

CEDAR_TYPES = {
    "string": "String",
    "boolean": "Bool",
    "number": "decimal",
    "strings": "Set<String>",
    "booleans": "Set<Bool>",
    "numbers": "Set<decimal>",
    "present": "Bool",
}
_METHODS = {"<": "lessThan", "<=": "lessThanOrEqual", ">": "greaterThan", ">=": "greaterThanOrEqual"}
_SCHEMA = """\
entity Role;
entity Pattern;
entity Owner;
entity Tag;
entity AgentClass in [Role] = { kind: String, tenant: String, behind: Set<Role> };
entity Capability in [Pattern, Owner, Tag] = {
    name: String, kind: String, owner: String, local: String, effect: String, tenant: String, tags: Set<String>
};
action call appliesTo { principal: [AgentClass], resource: [Capability], context: {
    operation: String, phase: String, protocol: String, run: Bool, untrusted: Set<String>,
"""


def schema_text(slots: Iterable[Slot]) -> str:
    """The schema: callers, what is called, and of the arguments those that conditions name, each optional."""
    named = {attribute(slot): CEDAR_TYPES[slot.type] for slot in slots}
    lines = [f"    {literal(name)}?: {cedar_type}," for name, cedar_type in sorted(named.items())]
    return _SCHEMA + "\n".join(lines) + "\n} };\n"


def policy_text(rule: Rule) -> str:
    """One rule as one Cedar policy, however many capabilities it names."""
    action = 'action == Action::"call"'
    resource = f"resource in Pattern::{literal(rule.pattern.text)}"
    head = f"@id({literal(rule.id)}) "
    role = f"Role::{literal(rule.role)}"
    if rule.effect == "deny":
        concerned = f"principal in {role} || principal.behind.contains({role})"
        unless = f" unless {{ {certainly_false(rule.condition)} }}" if rule.condition is not None else ""
        return f"{head}forbid(principal, {action}, {resource}) when {{ {concerned} }}{unless};"
    if rule.kind is not None:
        return f"{head}permit(principal, {action}, {resource}) when {{ principal.kind == {literal(rule.kind)} }};"
    when = f" when {{ {certainly_true(rule.condition)} }}" if rule.condition is not None else ""
    return f"{head}permit(principal in {role}, {action}, {resource}){when};"


def truth_texts(expression: Expression) -> tuple[str, str]:
    """Two policies, `true` and `false`, of which the one holds that the condition is; neither where it is undecided."""
    head = "permit(principal, action, resource)"
    return (
        f'@id("true") {head} when {{ {certainly_true(expression)} }};',
        f'@id("false") {head} when {{ {certainly_false(expression)} }};',
    )


def attribute(slot: Slot) -> str:
    """Name of the context attribute that carries an argument as one type."""
    path = path_text(slot.path)
    return f"has {path}" if slot.type == "present" else f"{path}:{slot.type}"


def certainly_true(expression: Expression) -> str:
    """Cedar that holds exactly when the condition is true, not when it is undecided."""
    match expression:
        case Not():
            return certainly_false(expression.term)
        case And():
            return _joined(" && ", map(certainly_true, expression.terms))
        case Or():
            return _joined(" || ", map(certainly_true, expression.terms))
        case _:
            return _guarded(expression, "")


def certainly_false(expression: Expression) -> str:
    """Cedar that holds exactly when the condition is false, not when it is undecided."""
    match expression:
        case Not():
            return certainly_true(expression.term)
        case And():
            return _joined(" || ", map(certainly_false, expression.terms))
        case Or():
            return _joined(" && ", map(certainly_false, expression.terms))
        case _:
            return _guarded(expression, "!")


def literal(value: Scalar) -> str:
    """A value as Cedar writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{_escaped(value)}"'
    return f'decimal("{value:.3f}")'


def _joined(sign: str, parts: Iterable[str]) -> str:
    return f"({sign.join(parts)})"


def _guarded(term: Term, negation: str) -> str:
    name = literal(attribute(slot_of(term)))
    return f"(context has {name} && {negation}({_test(term, f'context[{name}]')}))"


def _test(term: Term, argument: str) -> str:
    match term:
        case Compare():
            method = _METHODS.get(term.operator)
            if method is None:
                return f"{argument} {term.operator} {literal(term.value)}"
            return f"{argument}.{method}({literal(term.value)})"
        case OneOf():
            return f"[{', '.join(map(literal, term.values))}].contains({argument})"
        case Contains():
            return f"{argument}.contains({literal(term.value)})"
        case Like():
            pattern = "*".join(_escaped(piece).replace("*", "\\*") for piece in term.pieces)
            return f'{argument} like "{pattern}"'
        case Has():
            return argument
        case _:
            assert_never(term)


def _escaped(text: str) -> str:
    return "".join(
        char if char.isascii() and char.isprintable() and char not in '"\\' else f"\\u{{{ord(char):x}}}"
        for char in text
    )
