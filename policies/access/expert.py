"""Policies written in Cedar by hand, taken apart so that each can be judged by as little as it asks for.

They may speak of `AgentClass`, `Role`, `Capability`, `Owner`, `Tag` and `Pattern` entities, of the action `call`, and
of the context: `operation`, `phase`, `protocol`, `run`, `untrusted`, and arguments as `context["args.amount:number"]`
behind the same with `has`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast, get_args

import cedarpy

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from policies.access.engine import NO_CONTEXT
from policies.access.expression import Has, Slot, SlotType
from policies.access.grammar import ExpressionError, parse_condition
from policies.access.patterns import Pattern, parse_pattern
from policies.access.rules import Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertPolicy:
    """One policy written in Cedar."""

    id: str
    effect: Effect
    text: str
    asks_context: bool
    """Whether it looks at more than caller and target."""
    slots: tuple[Slot, ...] = ()
    """Arguments it looks at."""
    patterns: tuple[Pattern, ...] = ()
    """`Pattern` entities it names."""


def expert_policies(text: str) -> tuple[ExpertPolicy, ...]:
    """The policies of a Cedar text.

    Raises: InvalidRequest: it does not parse, holds templates, a policy has no `@id`, or two have the same.
    """
    if not text.strip():
        return ()
    try:
        parsed = json_object(json.loads(cedarpy.policies_to_json_str(text)))
    except ValueError as error:
        raise InvalidRequest(f"the Cedar policies cannot be read: {error}") from error
    if parsed.get("templates"):
        raise InvalidRequest("the Cedar policies hold a template (?principal or ?resource); write each policy out")
    policies = tuple(_policy(json_object(each)) for each in json_object(parsed.get("staticPolicies")).values())
    ids = [policy.id for policy in policies]
    for each in ids:
        if ids.count(each) > 1:
            raise InvalidRequest(f"two Cedar policies have the @id {each!r}")
    return policies


def _policy(parsed: JsonObject) -> ExpertPolicy:
    name = json_text(json_object(parsed.get("annotations")).get("id"))
    if not name:
        raise InvalidRequest('each Cedar policy needs an id that stays: write @id("name") before it')
    attributes = set(_attributes(parsed))
    return ExpertPolicy(
        id=f"cedar.{name}",
        effect="allow" if parsed.get("effect") == "permit" else "deny",
        text=_renamed(parsed, f"cedar.{name}"),
        asks_context=bool(attributes) or _says(parsed, "context"),
        slots=tuple(_slots(attributes)),
        patterns=tuple(_patterns(parsed)),
    )


def _renamed(parsed: JsonObject, name: str) -> str:
    annotations: JsonObject = {**json_object(parsed.get("annotations")), "id": name}
    one: JsonObject = {
        "staticPolicies": {"policy": {**parsed, "annotations": annotations}},
        "templates": {},
        "templateLinks": [],
    }
    return cedarpy.policies_from_json_str(json.dumps(one))


def _nodes(value: Json) -> Iterator[JsonObject]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _nodes(each)
    for each in json_list(value):
        yield from _nodes(each)


def _says(parsed: JsonObject, variable: str) -> bool:
    return any(node.get("Var") == variable for node in _nodes(parsed))


def _attributes(parsed: JsonObject) -> Iterator[str]:
    """Names of the context attributes a policy looks at."""
    for node in _nodes(parsed):
        for operator in (".", "has"):
            access = json_object(node.get(operator))
            if json_object(access.get("left")).get("Var") == "context":
                yield json_text(access.get("attr"))


def _slots(attributes: set[str]) -> Iterator[Slot]:
    # Cedar's validator lets `has` ask for what can never be there; a forbid behind such a slip would never apply.
    for name in sorted(attributes - NO_CONTEXT.keys()):
        path, _, type_ = name.rpartition(":")
        present = name.startswith("has ")
        if not present and type_ not in get_args(SlotType):
            expected = (
                f"there are {', '.join(NO_CONTEXT)}, and arguments as args.NAME:TYPE, for example args.amount:number"
            )
            raise InvalidRequest(f"context has no {name!r}: {expected}")
        try:
            term = parse_condition(name if present else f"has {path}")
        except ExpressionError as error:
            raise InvalidRequest(f"{name!r} names no argument: {error}") from error
        if not isinstance(term, Has):
            raise InvalidRequest(f"{name!r} names more than one argument")
        yield Slot(term.path, "present" if present else cast("SlotType", type_))


def _patterns(parsed: JsonObject) -> Iterator[Pattern]:
    for node in _nodes(parsed):
        if node.get("type") == "Pattern":
            text = json_text(node.get("id"))
            try:
                yield parse_pattern(text)
            except ValueError as error:
                raise InvalidRequest(f"Pattern::{text!r} in the Cedar policies: {error}") from error
