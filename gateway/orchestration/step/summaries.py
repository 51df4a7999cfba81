"""A step's message, made to fit its reader; an agent may say in few words what exceeds. Part of the step's slot."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import anyio
import structlog
from pydantic import JsonValue

from gateway.core.content import Content, Plain, data_part, text_part
from gateway.core.contracts import violation
from gateway.core.errors import GatewayError, InvalidRequest
from gateway.core.json import Json, JsonObject, json_from, json_object, json_text
from gateway.core.labels import Labels, join_all
from gateway.core.limits import Usage
from gateway.core.model import Complete, Request, ignore_event
from gateway.core.ports.orchestration import Handing, StepResult
from gateway.orchestration.messages.fitting import FETCH, REFERENCE_BYTES, fitted, with_references
from gateway.orchestration.messages.said import Said
from gateway.orchestration.records.events import warning_body
from gateway.orchestration.records.orders import Order
from gateway.orchestration.records.promised import value_promised
from gateway.orchestration.records.results import SUMMARY_CHARS, cut
from gateway.orchestration.running.context import RunContext
from gateway.orchestration.settings.targets import FillerSettings
from gateway.orchestration.settings.workflow import handover_bytes_in

log = structlog.get_logger(__name__)

SUMMARY_S = 30.0
"""Longest a summary may take where the role does not say; after that the result's own stands."""
_ASKED = "Say in at most 80 words what this holds that matters for the following work, and nothing else: "


async def fitted_for(run: RunContext, order: Order, said: Said, begun: StepResult) -> tuple[Said, StepResult]:
    """What the step says in the end, and the step with what making it fit has used, and the labels of whoever helped.
    What was left out is told as an event.

    Raises: Exhausted: the instruction alone is more than the agent reads.
    """
    wiring = run.wiring
    reader = wiring.reader(run.spec.tenant, order.slug)
    fetches = reader.fetches and not order.node.sealed
    said = _handed_on(said, order.node.handing, run.spec.settings, fetches=fetches)
    window, counter = reader.context_tokens, wiring.counter
    if window is None or counter is None:
        return said, begun
    answers: list[Complete] = []
    contract = frozenset(json_object(dict(order.node.input_schema or {}).get("properties")))
    summarise = partial(_summary, run, order, said.instruction, begun.labels, answers)
    outcome = await fitted(said, window, counter, contract=contract, summarise=summarise)
    if warning := outcome.warning(order.name, window):
        await run.chronicle.event(f"{order.message_id}:context", warning_body(cut(warning, 1000)))
    used = sum((each.usage + Usage(calls=1) for each in answers), begun.usage)
    return outcome.said, replace(begun, usage=used, labels=join_all((begun.labels, *(each.labels for each in answers))))


def _handed_on(said: Said, handing: Handing, settings: JsonObject, *, fetches: bool) -> Said:
    """What the step says, with long results in summary where that is wanted and whoever reads them can ask for more."""
    if handing == "summary" or (handing == "asked" and fetches):
        return with_references(said, handover_bytes_in(settings), fetch=FETCH if fetches else "")
    return with_references(said, REFERENCE_BYTES) if fetches else said


async def _summary(
    run: RunContext, order: Order, instruction: str, labels: Labels, answers: list[Complete], name: str, value: Json
) -> str:
    """What the workflow's summariser makes of a value; empty where there is none, or it fails."""
    role = summariser_in(run.spec.settings)
    if role is None:
        return ""
    given = _given(role, _ASKED + instruction, value)
    now_s = run.wiring.clock.monotonic_s()
    until_s = min(order.until_s, now_s + (SUMMARY_S if role.timeout_s is None else role.timeout_s))
    content = Content(parts=(text_part(_ASKED + instruction), data_part(given)), structured=given)
    message_id = f"{order.message_id}.summary.{name}"
    left = run.ledger.left()
    try:
        _hold(role.input_schema, given, "its input")
        request = Request(
            id=run.wiring.ids.new("req"),
            principal=run.acting,
            capability=role.target,
            operation="call",
            budget=left.share(deadline_s=until_s) if role.tool else left.child(deadline_s=until_s),
            body=Plain(content),
            protocol="run",
            labels=labels,
            traceparent=run.spec.traceparent,
            run_id=run.spec.run_id,
            step_id=order.id,
            phase=order.node.phase,
            # The same after a crash: an agent that knows repeats gives the answer it gave.
            meta={"message_id": message_id, "context_id": message_id},
        )
        with anyio.CancelScope(deadline=until_s):
            answer = await run.gateway.call(request, ignore_event)
            if not isinstance(answer, Complete):
                return ""
            answers.append(answer)
            return _told(role, answer)
    except GatewayError as error:
        log.info("nobody summarised", run=run.spec.run_id, step=order.id, reason=error.message)
    return ""


def _given(role: FillerSettings, asked: str, value: Json) -> Json:
    """What the summariser is given: the value, beside the role's own input where it has some; a tool, which reads
    arguments and no words, also what is asked of it."""
    own = json_object(json_from(role.input))
    if role.tool:
        return {"instruction": asked, **own, "value": value}
    return {**own, "value": value} if own else value


def _hold(schema: Mapping[str, JsonValue] | None, value: Json, what: str) -> None:
    """Raises: InvalidRequest: the value breaks the contract."""
    if schema and (broken := violation(json_object(json_from(schema)), value)):
        raise InvalidRequest(f"{what} breaks its contract: {broken}")


def _told(role: FillerSettings, answer: Complete) -> str:
    """Raises: InvalidRequest: the answer breaks its contract."""
    content = answer.body.content()
    value = content.value
    if role.output_schema:
        value, broken = value_promised(json_from(role.output_schema), value)
        if broken:
            raise InvalidRequest(f"its answer breaks its contract: {broken}")
    text = json_text(json_object(value).get("summary")) or content.text
    return "" if answer.is_error else cut(text, SUMMARY_CHARS)


def summariser_in(settings: JsonObject) -> FillerSettings | None:
    """Who fills the role, if somebody does; a rule summarises nothing."""
    said = settings.get("summariser")
    if not said:
        return None
    role = FillerSettings(agent=said) if isinstance(said, str) else FillerSettings.model_validate(said)
    return None if role.rule else role
