"""Questions of tools at work on a step, put to whoever started the run; the answer goes back with the tool's own state.

All that is needed to go on stands in the run's log beside the question: after a crash the same question stands, and its
answer is brought to the call that asked. Where that call is gone (its server held a connection for it), the call is
begun again, and what it asks again is answered as before.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from msgspec import structs

from gateway.core.asked import REPLIES
from gateway.core.content import EMPTY, Content, Plain, text_part
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.labels import CLEAN, Labels, labels_from_json
from gateway.core.limits import NOTHING_USED, Usage
from gateway.core.model import Complete, InputRequired, Request, Result
from gateway.orchestration.records.orders import Order
from gateway.orchestration.records.results import REASON_CHARS, cut
from gateway.orchestration.running.context import RunContext
from gateway.orchestration.running.persistence import persistently
from gateway.orchestration.step.asking_back import QUESTIONS_AT_MOST, put
from gateway.orchestration.step.forms import cannot_be_asked, filled, words_of

TRIES = 3
"""How often the caller may answer in a form that does not fit."""
STATE_BYTES = 65_536
"""Largest state of a tool that is kept with its question; a call with a larger one is begun again after a crash."""

Call = Callable[[Request, float], Awaitable[Result | None]]
"""What comes of a request; the float: for how long its step has waited for people, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a tool asks at once, and where its call stands."""

    number: int
    asked: InputRequired

    def to_json(self) -> JsonObject:
        state = self.asked.state if len(self.asked.state) <= STATE_BYTES else ""
        return {"round": self.number, "state": state, "questions": {**self.asked.questions}}


@dataclass(slots=True)
class Exchange:
    """One step's questions and answers."""

    run: RunContext
    order: Order
    until_s: float
    """When time is up for the run."""
    labels: Labels = CLEAN
    """Of all answers."""
    usage: Usage = NOTHING_USED
    waited_s: float = 0.0
    problem: str = ""
    """Why it ends although the tool asks still."""
    _asked: int = 0

    async def ended(self, request: Request, call: Call) -> Result | None:
        """What comes of the call once all it asks is answered; None where its time was up."""
        left_open = await self._left_open()
        answer: Result | None = left_open.asked if left_open else await call(request, 0.0)
        number = left_open.number if left_open else 1
        known: dict[str, Json] = {}
        while isinstance(answer, InputRequired) and not self.problem:
            round_ = Round(number=number, asked=answer)
            replies = await self._replies(round_, known)
            if replies is None:
                break
            number += 1
            try:
                answer = await call(self._resumed(request, round_, replies), self.waited_s)
            except InvalidRequest as error:
                if error.detail.get("member") != "requestState" or known:
                    raise
                # The call that asked is no more. Begun again it asks again, and is told the same.
                known = {_print(question): replies[key] for key, question in answer.questions.items()}
                answer = await call(structs.replace(request, id=self.run.wiring.ids.new("req")), self.waited_s)
            self.usage += Usage(calls=1)
        if isinstance(answer, Complete):
            return replace(answer, labels=self.labels.join(answer.labels), usage=self.usage + answer.usage)
        if isinstance(answer, InputRequired):
            words = next((words_of(each) for each in answer.questions.values()), "") or answer.body.content().text
            said = f"{words or 'it asks for more input'}: {self.problem}"
            body = Plain(Content(parts=(text_part(cut(said, REASON_CHARS)),)))
            return replace(answer, body=body, labels=self.labels.join(answer.labels))
        return answer

    def _resumed(self, request: Request, round_: Round, replies: JsonObject) -> Request:
        return structs.replace(
            request,
            id=self.run.wiring.ids.new("req"),
            continuation=round_.asked.state,
            labels=request.labels.join(self.labels),
            meta={**request.meta, REPLIES: replies},
        )

    async def _replies(self, round_: Round, known: "dict[str, Json]") -> "JsonObject | None":
        """The answers to a round, by key; None where `problem` says why there are none."""
        questions = round_.asked.questions
        self.problem = cannot_be_asked(questions)
        replies: JsonObject = {}
        for index, (key, question) in enumerate(questions.items()):
            if self.problem:
                return None
            said = known.get(_print(question))
            replies[key] = said if said is not None else await self._reply(round_, index, question)
        return None if self.problem else replies

    async def _reply(self, round_: Round, index: int, question: Json) -> Json:
        """One answer that fits; null where there is none."""
        words = words_of(question)
        for tried in range(TRIES):
            self._asked += 1
            if self._asked > QUESTIONS_AT_MOST:
                self.problem = f"it asks more than {QUESTIONS_AT_MOST} questions"
                return None
            name = f"{self.order.message_id}.{round_.number}.{index}.{tried}"
            clock, ask_s = self.run.wiring.clock, self.run.limits.ask_timeout_s
            began_s = clock.monotonic_s()
            until_s = min(self.until_s, began_s + ask_s)
            beside: JsonObject = {**round_.to_json(), "form": question, "labels": round_.asked.labels.to_json()}
            answer = await put(self.run, self.order, name, cut(words, REASON_CHARS), until_s, beside)
            self.waited_s += clock.monotonic_s() - began_s
            if answer is None:
                self.problem = "nobody answered it in time"
                return None
            self.labels = self.labels.join(labels_from_json(answer.get("labels")))
            fit = filled(question, answer.get("value"))
            if not fit.problem:
                return fit.reply
            words = f"{fit.problem}. {words_of(question)}"
        self.problem = "no answer to it was in the form it asks for"
        return None

    async def _left_open(self) -> Round | None:
        """What an earlier process had asked last for this step, if its call can be gone on with."""
        if self.run.last_seen(self.order.id, self.order.first_attempt) is None:
            return None
        events = await persistently(lambda: self.run.wiring.runs.events(self.run.spec.run_id))
        details = (json_object(each.body.get("detail")) for each in reversed(events))
        last = next((each for each in details if each.get("asks") == self.order.message_id and "round" in each), None)
        if last is None or not last.get("state"):
            return None
        number, state = last.get("round"), json_text(last.get("state"))
        asked = InputRequired(body=Plain(EMPTY), state=state, questions=json_object(last.get("questions")))
        return Round(number=number if isinstance(number, int) else 1, asked=asked)


def _print(question: Json) -> str:
    """Tells questions apart."""
    return json.dumps(question, sort_keys=True)
