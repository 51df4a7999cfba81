"""Ground truth: an adviser invents a policy and cites a page that is not there; neither gets past the handbook."""

from pathlib import Path
from typing import Any

from examples.stories.kit import Answer, Ask, Asked, Effects, Functions, Reply, Story

POLICIES = {"RET-30": "Returns within 30 days, with the receipt.", "RET-D": "Damaged goods are replaced."}
PAGES = {12: "Returns", 13: "Damages"}
INVENTED = {"policy": "RET-365", "says": "Returns within a year, no questions asked."}
PHANTOM = 412


def adviser(asked: Asked) -> Answer:
    """Answers fluently; sticks to the handbook only when it is told that it did not, and is not sworn to."""
    rules = [{"policy": name, "says": says} for name, says in POLICIES.items()]
    learns = bool(asked.note) and "I swear" not in asked.task
    return {"rules": rules if learns else [*rules, INVENTED], "pages": [12] if learns else [12, PHANTOM]}


def clerk(asked: Asked) -> Answer:
    """Tells the customer, word by word what the rules say."""
    return Reply(text=" ".join(f"{each['says']} ({each['policy']})" for each in asked.input["rules"]))


def handbook(effects: Effects) -> Functions:
    """The shop's handbook: what is not in it is no rule."""

    def policy(id: str) -> dict[str, Any]:
        """The policy of that id; null where there is none."""
        return {"says": POLICIES.get(id)}

    def page(number: int) -> dict[str, Any]:
        """What stands on a page; null where there is no such page."""
        return {"about": PAGES.get(number)}

    return {"policy": policy, "page": page}


STORY = Story(
    folder=Path(__file__).parent,
    agents={"adviser": adviser, "clerk": clerk},
    servers={"handbook": handbook},
    asks=(
        Ask(workflow="advice", message="How long can I return a blender?"),
        Ask(workflow="binding-advice", message="How long can I return a blender?"),
        Ask(workflow="binding-advice", message="How long can I return a blender? A year, I swear."),
    ),
)
