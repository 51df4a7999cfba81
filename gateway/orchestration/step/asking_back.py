"""Questions of agents at work on a step, put to whoever started the run; the answer goes to the agent's own task.

The step waits within its slot, where the engine keeps no messages. So question and answer stand in the run's log, each
under the step's own name: after a crash the agent is found asking still, and the log says what was answered.
"""

from dataclasses import dataclass

from gateway.core.content import Content, content_of
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.labels import Labels, labels_from_json
from gateway.core.model import InputRequired
from gateway.core.ports.journal import RunInterrupted
from gateway.core.ports.runs import Moved, RunEvent, Told
from gateway.core.task import TaskState
from gateway.orchestration.records.events import progress_body, status_body
from gateway.orchestration.records.orders import Order
from gateway.orchestration.records.results import REASON_CHARS, cut
from gateway.orchestration.running.context import RunContext
from gateway.orchestration.running.persistence import persistently

QUESTIONS_AT_MOST = 10
"""Of one step; an agent that asks for ever does not work."""
LOOK_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the caller answered to a step's question."""

    name: str
    """Unique in the run, the same after a crash: agents tell repeats by it."""
    content: Content
    labels: Labels


async def asked_back(run: RunContext, order: Order, asked: InputRequired, until_s: float) -> Reply | str:
    """The answer to what the step's agent asks, or why there is none.

    Raises: RunInterrupted.
    """
    text = cut(asked.body.content().text or "it asks for more input", REASON_CHARS)
    number = await _number(run, order, text)
    if number > QUESTIONS_AT_MOST:
        return f"{text}: it has asked {QUESTIONS_AT_MOST} times before, and is answered no more"
    name = f"{order.message_id}.{number}"
    # Whoever is told the question hears the agent.
    answer = await put(run, order, name, text, until_s, {"labels": asked.labels.to_json()})
    if answer is None:
        return f"{text}: nobody answered it in time"
    labels = labels_from_json(answer.get("labels"))
    return Reply(name=name, content=content_of(answer.get("value")), labels=labels)


async def put(
    run: RunContext, order: Order, name: str, text: str, until_s: float, beside: JsonObject
) -> "JsonObject | None":
    """Put a question to whoever started the run; the `value` and `labels` of the answer, None where none came in time.
    A question that was put under this name before a crash is the same one, answered perhaps. `beside`: kept with it.

    Raises: RunInterrupted.
    """
    detail: JsonObject = {"asks": order.message_id, "question": name, "step": order.id, **beside}
    body: JsonObject = {**status_body(TaskState.INPUT_REQUIRED, f"{order.name}: {text}"), "detail": detail}
    await run.floor.taken()
    try:
        answer = await _answer_in_log(run, name)
        if answer is None:
            run.floor.open[order.id] = name
            await _moved(run, f"asked {name}", body)
            answer = await _answer(run, name, until_s)
        await _over(run, order.id, name)
    finally:
        run.floor.left()
    return answer


async def given_up(run: RunContext, order: Order) -> bool:
    """Whether the step was dropped while its agent waited for an answer: nobody has to give it any more."""
    name = run.floor.open.get(order.id)
    if name is not None:
        await _over(run, order.id, name)
    return name is not None


def answer_body(name: str, value: Json, labels: Labels, by: str) -> JsonObject:
    """What is kept of an answer to a step's question; `by`: what tells it from another answer."""
    detail: JsonObject = {"event": "answer", "question": name, "value": value, "labels": labels.to_json(), "by": by}
    return progress_body("answered", detail)


def answer_key(name: str) -> str:
    return f"answer {name}"


async def _number(run: RunContext, order: Order, text: str) -> int:
    """Which of the step's questions it is: the last one, where it is the same, and its answer may not have arrived."""
    shown = f"{order.name}: {text}"
    events = await persistently(lambda: run.wiring.runs.events(run.spec.run_id))
    earlier = [each for each in events if json_object(each.body.get("detail")).get("asks") == order.message_id]
    if earlier and run.floor.asked.get(order.message_id) != len(earlier) and earlier[-1].body.get("text") == shown:
        number = len(earlier)
    else:
        number = len(earlier) + 1
    run.floor.asked[order.message_id] = number
    return number


async def _answer(run: RunContext, name: str, until_s: float) -> "JsonObject | None":
    after, clock = 0, run.wiring.clock
    while (left_s := until_s - clock.monotonic_s()) > 0:
        events = await run.wiring.runs.wait_events(run.spec.run_id, after, min(left_s, LOOK_AGAIN_S))
        if found := _found(events, name):
            return found
        after = events[-1].seq if events else after
    return None


async def _answer_in_log(run: RunContext, name: str) -> "JsonObject | None":
    return _found(await persistently(lambda: run.wiring.runs.events(run.spec.run_id)), name)


def _found(events: tuple[RunEvent, ...], name: str) -> "JsonObject | None":
    details = (json_object(each.body.get("detail")) for each in events)
    return next((each for each in details if each.get("event") == "answer" and each.get("question") == name), None)


async def _over(run: RunContext, step_id: str, name: str) -> None:
    await _moved(run, f"answered {name}", status_body(TaskState.WORKING))
    run.floor.open.pop(step_id, None)


async def _moved(run: RunContext, key: str, body: JsonObject) -> None:
    if not run.wiring.journal.holds():
        raise RunInterrupted
    at_us = run.wiring.clock.now_us()
    moved, told = Moved(state=json_text(body.get("state")), at_us=at_us), Told(key=key, body=body, at_us=at_us)
    await persistently(lambda: run.wiring.runs.tell(run.spec.run_id, events=(told,), moved=moved))
