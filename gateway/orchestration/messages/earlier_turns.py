"""All of an earlier turn of the conversation, for a step that was told a part of it."""

from gateway.core.errors import Denied, InvalidRequest
from gateway.core.json import JsonObject
from gateway.core.ports.runs import Run, RunStore
from gateway.orchestration.messages.fetching import part_of
from gateway.orchestration.records.history import labels_of, whole_turn
from gateway.orchestration.records.spec import turns_from_json

PARTS = ("request", "answer")


async def fetched_turn(runs: RunStore, run: Run, named: str, part: str, offset: int) -> JsonObject:
    """A piece of what was asked or answered in the turn that is `named` by its run, with the labels of that turn.

    Raises: InvalidRequest; Denied: the run's steps were not told of such a turn, or it is not kept any more.
    """
    if part not in PARTS:
        raise InvalidRequest(f"`part` is {' or '.join(PARTS)}")
    spec = dict(run.spec)
    told = {turn.run_id for name in ("history", "older") for turn in turns_from_json(spec.get(name))}
    earlier = await runs.find(run.tenant, named) if named in told else None
    # A nested run is handed its history in a message: whose turns they are is not for that to say.
    if earlier is None or earlier.owner != run.owner:
        raise Denied(f"this step was not told of an earlier turn {named}, or it is not kept any more")
    turn = whole_turn(earlier)
    piece = part_of(turn.request if part == "request" else turn.answer, "", offset)
    return {"run": named, "part": part, **piece, "labels": labels_of(earlier).to_json()}
