"""Cedar itself: decisions over parts of the policies, prepared once. The only module that runs it.

Decisions take time linear in the number of policies, so each is asked only of the rules whose roles and patterns
concern caller and target; the others could not have matched. Whatever Cedar could not evaluate is a deny.
"""

# pyright: reportUnknownMemberType=false
# cedarpy leaves the parameters of its dicts open; what it returns is given a type here.

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import cedarpy
import orjson

from gateway.core.errors import InvalidRequest
from gateway.core.model import AgentClass, Capability
from policies.access.patterns import Target

_CALL = {"type": "Action", "id": "call"}
NO_CONTEXT: Mapping[str, object] = {"operation": "", "phase": "", "protocol": "", "run": False, "untrusted": []}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What Cedar said."""

    allowed: bool
    rules: tuple[str, ...]
    """Ids of the rules that decided, in no order; empty where nothing matched."""
    failed: bool = False
    """Something could not be evaluated, which is never an allow."""


@dataclass(frozen=True, slots=True)
class Question:
    """Policies, caller and target of one kind of call, parsed."""

    policies: cedarpy.PolicySet
    entities: cedarpy.Entities
    request: Mapping[str, object]


class Engine:
    """Asks Cedar, always against the schema."""

    def __init__(self, schema: str) -> None:
        self._schema = cedarpy.Schema.from_str(schema)

    def validate(self, policies: str) -> None:
        """Raises: InvalidRequest: the policies do not fit the schema."""
        result = cedarpy.validate_policies(policies, self._schema)
        if not result.validation_passed:
            wrong = "; ".join(error.error for error in result.errors)
            raise InvalidRequest(f"the Cedar policies do not fit the schema: {wrong}")

    def question(
        self,
        texts: Iterable[str],
        *,
        agent: AgentClass,
        capability: Capability,
        target: Target,
        patterns: Sequence[str],
    ) -> Question:
        """Whether `agent` may call `capability`, by the policies in `texts`; `patterns` are those that name it."""
        caller = {"type": "AgentClass", "id": "caller"}
        called = {"type": "Capability", "id": capability.name}
        entities = [
            {
                "uid": caller,
                "attrs": _caller(agent),
                "parents": [_entity("Role", role) for role in sorted(agent.roles)],
            },
            {
                "uid": called,
                "attrs": _called(capability, target),
                "parents": [
                    _entity("Owner", target.owner),
                    *(_entity("Tag", tag) for tag in sorted(target.tags)),
                    *(_entity("Pattern", pattern) for pattern in sorted(set(patterns))),
                ],
            },
        ]
        return Question(
            cedarpy.PolicySet.from_str("\n".join(texts)),
            cedarpy.Entities.from_json_str(orjson.dumps(entities).decode(), self._schema),
            {"principal": caller, "action": _CALL, "resource": called},
        )

    def decide(self, question: Question, context: Mapping[str, object]) -> Decision:
        """Cedar's decision; any error in it is a deny."""
        request = {**question.request, "context": orjson.dumps(context).decode()}
        result = cedarpy.is_authorized(request, question.policies, question.entities, self._schema)
        named = cast("dict[str, str]", result.diagnostics.id_annotations_by_reason)
        failed = bool(result.diagnostics.errors) or result.decision is cedarpy.Decision.NoDecision
        return Decision(allowed=result.allowed and not failed, rules=tuple(named.values()), failed=failed)


def _caller(agent: AgentClass) -> dict[str, object]:
    behind = sorted(frozenset[str]().union(*agent.behind))
    return {
        "kind": agent.kind,
        "tenant": agent.tenant,
        "behind": [{"__entity": _entity("Role", role)} for role in behind],
    }


def _called(capability: Capability, target: Target) -> dict[str, object]:
    return {
        "name": capability.name,
        "kind": target.kind,
        "owner": target.owner,
        "local": target.local,
        "effect": capability.effect,
        "tenant": capability.tenant,
        "tags": sorted(target.tags),
    }


def _entity(type_: str, name: str) -> dict[str, str]:
    return {"type": type_, "id": name}
