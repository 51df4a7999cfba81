"""What a target is good for, as far as the catalog tells, and how busy it is. Asks nobody."""

from gateway.core.json import Json, JsonObject, json_from, json_list, json_object, json_text
from gateway.core.ports.orchestration import Offer
from gateway.orchestration.running.context import RunContext

_SKILL_TAG = "skill:"
"""What the tags of an agent's skills begin with among its own."""


def offer_of(run: RunContext, target: str) -> Offer:
    """What the catalog has on the target now, and how much of it is under way."""
    gateway = run.gateway
    capability = gateway.find(run.acting, target)
    if capability is None:
        return Offer(target=target, found=False)
    names = {tag.removeprefix(_SKILL_TAG) for tag in capability.tags}
    busy = 0
    if capability.kind == "agent":
        busy = len(run.wiring.open_steps.of_agent(run.spec.tenant, capability.owner))
        about = json_from(gateway.about(capability.owner))
        names |= {json_text(json_object(skill).get("id")) for skill in json_list(about.get("skills"))}
    return Offer(
        target=target,
        found=True,
        title=capability.title,
        description=capability.description,
        skills=frozenset(name.lower() for name in names if name),
        busy=busy,
    )


def offer_to_json(offer: Offer) -> JsonObject:
    return {
        "found": offer.found,
        "title": offer.title,
        "description": offer.description,
        "skills": [*sorted(offer.skills)],
        "busy": offer.busy,
    }


def offer_from_json(target: str, value: Json) -> Offer:
    """See `offer_to_json`."""
    fields = json_object(value)
    busy = fields.get("busy")
    return Offer(
        target=target,
        found=fields.get("found") is True,
        title=json_text(fields.get("title")),
        description=json_text(fields.get("description")),
        skills=frozenset(each for each in json_list(fields.get("skills")) if isinstance(each, str)),
        busy=busy if isinstance(busy, int) else 0,
    )
