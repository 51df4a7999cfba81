"""Who produces and who criticises, and what the work is held to, as the settings of a reflection say. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject, json_object
from gateway.patterns.shared.critique import RULES, refuse_options
from gateway.patterns.shared.failures import ask_timeout_s_in
from gateway.patterns.shared.roles import Role, required_role, role_in
from gateway.patterns.shared.settings import (
    DEFAULT_CONCURRENCY,
    DEFAULT_ROUNDS,
    number_or,
    weights_in,
    whole,
    workers_in,
)
from gateway.patterns.shared.sufficiency import refuse_small_limits
from gateway.patterns.shared.tries import Tries
from gateway.patterns.shared.verify import Check, checks_in

DEFAULT_THRESHOLD = 0.8
_ATTEMPTS = 2
"""At one round's work: rounds are for work that is there and could be better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectionRules:
    """How a reflection goes."""

    producer: Role
    critic: Role
    goal_checker: Role | None
    planner: Role | None
    summariser: Role | None
    threshold: float
    rubric: Mapping[str, float]
    checks: tuple[Check, ...]
    replans: int
    max_rounds: int
    concurrency: int
    tries: Tries
    ask_timeout_s: float

    @classmethod
    def of(cls, settings: JsonObject) -> "ReflectionRules":
        """Raises: InvalidRequest: no producer, no critic, the same for both, or rules there are not."""
        limits, block = json_object(settings.get("limits")), json_object(settings.get("reflection"))
        tries = replace(Tries.of(settings), at_most=_ATTEMPTS)
        rules = cls(
            producer=_producer_in(settings),
            critic=required_role(settings, "critic", "reflection", RULES),
            goal_checker=role_in(settings, "goal_checker", RULES),
            planner=role_in(settings, "planner"),
            summariser=role_in(settings, "summariser"),
            threshold=number_or(block, "threshold", DEFAULT_THRESHOLD),
            rubric=weights_in(block.get("rubric")),
            checks=checks_in(block),
            replans=whole(block, "replans", 1),
            max_rounds=whole(limits, "max_rounds", DEFAULT_ROUNDS),
            concurrency=whole(limits, "concurrency", DEFAULT_CONCURRENCY),
            tries=tries,
            ask_timeout_s=ask_timeout_s_in(limits),
        )
        _refuse_self_praise(rules)
        _refuse_empty_rules(rules)
        asked = [role for role in (rules.producer, rules.critic, rules.goal_checker) if role is not None]
        refuse_small_limits(limits, calls=sum(not role.rule for role in asked), roles=asked)
        return rules


def _producer_in(settings: JsonObject) -> Role:
    """The executor, else the one worker. Raises: InvalidRequest: there is none, or several."""
    executor = role_in(settings, "executor")
    workers = workers_in(settings)
    if executor is not None and not workers:
        # Whoever stands in for the producer is asked when it has been asked often enough.
        return replace(executor, stand_in=None)
    if executor is None and len(workers) == 1:
        return Role(name="producer", target=workers[0])
    raise InvalidRequest(
        f"the pattern reflection needs one producer, and is given {len(workers) + bool(executor)}: "
        "an executor, or exactly one of agents, tools, workflows",
        detail={"setting": "executor" if executor else "agents"},
    )


def _refuse_self_praise(rules: ReflectionRules) -> None:
    """Raises: InvalidRequest: whoever writes, or may take over from them, would weigh their own work."""
    stand_in = rules.tries.stand_ins.get(rules.producer.target)
    writers = {rules.producer.target, *([] if stand_in is None else [stand_in.target])}
    for role in (rules.critic, rules.goal_checker):
        judges = () if role is None else (role.target, *([] if role.stand_in is None else [role.stand_in.target]))
        own = next((each for each in judges if each and each in writers), "")
        if role is not None and own:
            message = f"{own} would judge its own work: producer and {role.name} must be different"
            raise InvalidRequest(message, detail={"setting": role.name})


def _refuse_empty_rules(rules: ReflectionRules) -> None:
    """Raises: InvalidRequest: an option there is not, or rules that hold the work to nothing."""
    if rules.critic.rule and (rules.critic.options or not rules.checks):
        refuse_options(rules.critic.options, "critic")
    if rules.goal_checker is not None and rules.goal_checker.rule:
        refuse_options(rules.goal_checker.options, "goal_checker")
    if rules.planner is not None and rules.goal_checker is None:
        raise InvalidRequest("without a goal_checker the planner is never asked", detail={"setting": "planner"})
