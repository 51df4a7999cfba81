"""What was said before the turns a run is handed: how much there was, and what it came to; once for the whole run."""

from collections.abc import Mapping

from gateway.core.json import Json, JsonObject, json_from, json_object, json_text
from gateway.core.ports.orchestration import Node, StepResult, Steps
from gateway.orchestration.context import RunContext
from gateway.orchestration.events import warning_body
from gateway.orchestration.results import cut
from gateway.orchestration.summaries import SUMMARY_S, summariser_in, target_of

ASKED = (
    "Say in at most 150 words what these earlier turns of a conversation hold that matters for what is asked next, and "
    "nothing else."
)
RECAP_CHARS = 1200


async def recapitulated(run: RunContext, steps: Steps) -> None:
    """Tell whoever watches what was left out of the history, and have it summed up where somebody does that: a step as
    any other, recorded, and the same after a crash."""
    spec = run.spec
    if spec.left_out and not spec.parent_run:
        await run.chronicle.event("history:left out", warning_body(f"left out: {'; '.join(spec.left_out)}"))
    role = summariser_in(spec.settings)
    if role is None or not spec.older:
        return
    turns: list[Json] = [{"request": turn.request, "answer": turn.answer} for turn in spec.older]
    given: JsonObject = {**json_from(role.input), "instruction": ASKED, "value": turns}
    said = await steps.call(
        Node(
            target=target_of(role),
            input=given,
            labels=spec.older_labels,
            whole=False,
            timeout_s=SUMMARY_S if role.timeout_s is None else role.timeout_s,
            phase="propose",  # it changes nothing outside
            input_schema=_schema(role.input_schema),
            output_schema=_schema(role.output_schema),
        )
    )
    if said.ok:
        run.recap.text, run.recap.labels = _words(said), said.labels


def _words(said: StepResult) -> str:
    told = json_text(json_object(said.answer).get("summary")) or said.text or said.summary
    return cut(told, RECAP_CHARS)


def _schema(said: Mapping[str, object] | None) -> "JsonObject | None":
    return json_from(said) if said else None
