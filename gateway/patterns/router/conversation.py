"""Who owns a conversation: whoever was given its first message, until it is done, hands on or hands back."""

from dataclasses import dataclass
from typing import Literal

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, json_object, json_text
from gateway.core.ports.orchestration import Note, StepResult, Steps
from gateway.patterns.shared.settings import slug_of

CONVERSATION = "conversation"
"""Topic of the notes that say whose a conversation is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Farewell:
    """What a worker says about where the conversation goes on, in the member `drawbridge` of its answer:
    `{"handoff": "done"}`, `{"handoff": "back"}` or `{"handoff": {"to": "billing"}}`."""

    kind: Literal["keeps", "done", "back", "to"]
    to: str = ""
    """Capability name."""


def farewell_in(result: StepResult, workers: tuple[str, ...]) -> Farewell:
    """What the result says of it. Raises: InvalidRequest: it hands on to nobody there is."""
    said = result.said.get("handoff")
    member = json_object(said)
    if said == "done" or member.get("done") is True:
        return Farewell(kind="done")
    if said == "back" or member.get("back") is True:
        return Farewell(kind="back")
    to = json_text(member.get("to"))
    if not to:
        return Farewell(kind="keeps")
    worker = next((each for each in workers if to in (each, slug_of(each))), "")
    if not worker:
        raise InvalidRequest(f"{slug_of(result.target)} hands on to {to[:60]!r}, and there is no such worker")
    return Farewell(kind="to", to=worker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversations:
    """Those of one workflow."""

    sticky: bool
    """Whether whoever was given the first message gets the later ones."""
    ttl_s: float

    async def owner(self, context_id: str, workers: tuple[str, ...], steps: Steps) -> str:
        """Whose the caller's conversation is; empty for nobody's."""
        if not self.sticky or not context_id:
            return ""
        found = next(iter(await steps.recall(CONVERSATION, context_id, whose="caller")), "")
        return found if isinstance(found, str) and found in workers else ""

    async def given_to(self, context_id: str, worker: str, steps: Steps) -> None:
        """From now on it is the worker's; empty: nobody's."""
        if self.sticky and context_id:
            value: Json = worker or None
            note = Note(topic=CONVERSATION, key=context_id, value=value, whose="caller", ttl_s=self.ttl_s)
            await steps.note(note)
