"""What the settings say of an event-driven run: who subscribes to what, and what bounds it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject, json_object, json_text
from gateway.core.ports.orchestration import Offer
from gateway.patterns.event_driven.task_queue import QueuedTask
from gateway.patterns.shared.references import TASK, named_in
from gateway.patterns.shared.settings import objects, seconds, slug_of, texts, whole, workers_in
from gateway.patterns.shared.sufficiency import refuse_small_limits

REQUEST = "request"
"""Topic of the request itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    target: str
    topics: tuple[str, ...]
    """Patterns of topics; empty: topics called like its skills."""
    concurrency: int

    def takes(self, topic: str, offer: Offer) -> bool:
        if self.topics:
            return any(fnmatchcase(topic, pattern) for pattern in self.topics)
        return topic in offer.skills


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRules:
    subscribers: tuple[Subscriber, ...]
    first: tuple[QueuedTask, ...]
    """References to the request not yet resolved."""
    to_each: tuple[str, ...]
    queue: int
    tasks: int
    deliveries: int
    lease_s: float | None
    check_after: int

    def is_for_each(self, topic: str) -> bool:
        return any(fnmatchcase(topic, pattern) for pattern in self.to_each)


def event_rules(settings: JsonObject) -> EventRules:
    """Raises: InvalidRequest: see `EventDriven`."""
    block = json_object(settings.get("event_driven"))
    targets, said = workers_in(settings), json_object(block.get("workers"))
    if not targets:
        raise InvalidRequest("the pattern event_driven needs agents to give work to", detail={"setting": "agents"})
    slugs = [slug_of(target) for target in targets]
    for slug in said:
        if slug not in slugs:
            raise InvalidRequest(
                f"{slug} is no worker of this workflow; there is {', '.join(slugs)}", detail={"setting": "event_driven"}
            )
    rules = EventRules(
        subscribers=tuple(_subscriber(target, json_object(said.get(slug_of(target)))) for target in targets),
        first=tuple(_first(entry) for entry in objects(block.get("first"))) or (QueuedTask(topic=REQUEST, input={}),),
        to_each=texts(block.get("to_each")),
        queue=whole(block, "queue", 100),
        tasks=whole(block, "tasks", 200),
        deliveries=whole(block, "deliveries", 3),
        lease_s=seconds(block.get("lease_s")),
        check_after=whole(block, "check_after", 5),
    )
    _refuse_unreachable(rules)
    refuse_small_limits(json_object(settings.get("limits")), calls=len(rules.first), roles=())
    return rules


def subscribed(rules: EventRules, topic: str, offers: Mapping[str, Offer]) -> list[Subscriber]:
    """Everybody who takes tasks of the topic, in the order of the settings."""
    return [each for each in rules.subscribers if each.takes(topic, offers[each.target])]


def _subscriber(target: str, entry: JsonObject) -> Subscriber:
    return Subscriber(target=target, topics=texts(entry.get("topics")), concurrency=whole(entry, "concurrency", 1))


def _first(entry: JsonObject) -> QueuedTask:
    given = json_object(entry.get("input"))
    unknown = [name for name in named_in(given) if name != TASK]
    if unknown:
        raise InvalidRequest(
            f"a first task can refer to $task only, not to ${unknown[0]}", detail={"setting": "event_driven"}
        )
    return QueuedTask(topic=json_text(entry.get("topic")), key=json_text(entry.get("key")), input=given)


def _refuse_unreachable(rules: EventRules) -> None:
    """Raises: InvalidRequest: everybody's topics are known, and nobody takes a first task."""
    if not all(each.topics for each in rules.subscribers):
        return  # what a card's skills are, only the run will see
    for task in rules.first:
        if not any(each.takes(task.topic, Offer(target=each.target, found=False)) for each in rules.subscribers):
            raise InvalidRequest(
                f"nobody subscribes to {task.topic}, the topic of a task to begin with",
                detail={"setting": "event_driven"},
            )
