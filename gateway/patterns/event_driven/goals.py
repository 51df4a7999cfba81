"""Whether what was found out is enough: by a rule, or in the words of whoever checks the goal. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.patterns.shared.references import condition_from
from gateway.patterns.shared.roles import Role
from gateway.patterns.shared.settings import texts

RULES = ("count", "named", "condition")
VERDICT: JsonObject = {
    "type": "object",
    "properties": {
        "reached": {"type": "boolean"},
        "because": {"type": "string"},
        "gaps": {"type": "array", "items": {"type": "object", "required": ["topic"]}},
    },
    "required": ["reached"],
}
"""What a goal checker answers: whether the goal is reached, and the tasks that would bring it nearer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingsVerdict:
    """Whether what was found out is enough."""

    reached: bool
    because: str
    gaps: tuple[Json, ...] = ()
    """Tasks that would bring the goal nearer, as they were written."""


def check_rule(role: Role) -> None:
    """Raises: InvalidRequest: the rule's options say nothing it could go by."""
    count = role.options.get("findings")
    match role.rule:
        case "count" if isinstance(count, int) and count > 0:
            return
        case "named" if texts(count):
            return
        case "condition" if json_text(role.options.get("when")):
            condition_from(json_text(role.options.get("when")))
        case _:
            raise InvalidRequest(
                f"the rule {role.rule} of the goal_checker needs options: {{findings: 3}} for count, "
                "{findings: [NAME]} for named, {when: '$NAME.field > 3'} for condition",
                detail={"setting": "goal_checker"},
            )


def judged_by_rule(role: Role, findings: Mapping[str, Json]) -> FindingsVerdict:
    """What the rule says of the findings."""
    wanted = role.options.get("findings")
    if role.rule == "count":
        least = wanted if isinstance(wanted, int) else 1
        return FindingsVerdict(reached=len(findings) >= least, because=f"{len(findings)} of {least} findings are there")
    if role.rule == "named":
        lacking = [name for name in texts(wanted) if name not in findings]
        because = f"lacking: {', '.join(lacking)}" if lacking else "all are there"
        return FindingsVerdict(reached=not lacking, because=because)
    when = json_text(role.options.get("when"))
    return FindingsVerdict(reached=condition_from(when).holds(findings), because=when)


def verdict_in(value: Json) -> FindingsVerdict:
    """What a goal checker answered."""
    said = json_object(value)
    reached = said.get("reached") is True
    because = json_text(said.get("because")) or ("the goal checker says so" if reached else "the goal checker says no")
    return FindingsVerdict(reached=reached, because=because, gaps=tuple(json_list(said.get("gaps"))))
