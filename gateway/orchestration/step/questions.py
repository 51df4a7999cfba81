"""What a run asks people: its caller, or somebody with a role. The wait is durable, and bounded by who asks."""

from gateway.core.json import Json, JsonObject, json_object
from gateway.core.labels import CLEAN, labels_from_json
from gateway.core.ports.approvals import Approval, ApprovalState
from gateway.core.ports.orchestration import Answer, Question
from gateway.core.ports.runs import Moved, Told
from gateway.core.task import TaskState
from gateway.orchestration.records.events import progress_body, status_body
from gateway.orchestration.running.context import RunContext
from gateway.orchestration.running.persistence import persistently

_WITHDRAWN = "withdrawn"


class Questions:
    """Those of one run; used from its own task."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._asked = 0
        self._waits = False
        self.asked_a_role = False
        self.labels = CLEAN
        """Of everything that was answered."""

    async def ask(self, question: Question, timeout_s: float) -> Answer:
        self._asked += 1
        if question.role:
            self.asked_a_role = True
            return await self._ask_role(question, timeout_s)
        return await self._ask_caller(question, timeout_s)

    async def _ask_caller(self, question: Question, timeout_s: float) -> Answer:
        detail: JsonObject = {"question": self._asked, "schema": dict(question.schema) if question.schema else None}
        await self._run.floor.taken()
        try:
            await self._moved(TaskState.INPUT_REQUIRED, f"asked {self._asked}", question.prompt, detail)
            message = await self._received(timeout_s)
            await self._moved(TaskState.WORKING, f"answered {self._asked}", "", {})
        finally:
            self._run.floor.left()
        if not isinstance(message, dict):
            return Answer(given=False)
        labels = labels_from_json(message.get("labels"))
        self.labels = self.labels.join(labels)
        return Answer(given=True, value=message.get("value"), labels=labels)

    async def _ask_role(self, question: Question, timeout_s: float) -> Answer:
        """The answer's value: `approved`, `by`, and whatever else the person gave as `value` and `comment`."""
        wiring, spec, number = self._run.wiring, self._run.spec, self._asked
        approval_id = _approval_id_of(spec.run_id, number)

        async def ask() -> JsonObject:
            at_us = wiring.clock.now_us()
            approval = Approval(
                id=approval_id,
                tenant=spec.tenant,
                run_id=spec.run_id,
                number=number,
                workflow=spec.workflow,
                owner=spec.caller.first.subject,
                role=question.role,
                prompt=question.prompt,
                schema=question.schema,
                asked_at_us=at_us,
                expires_at_us=at_us + int(timeout_s * 1e6),
            )
            await persistently(lambda: wiring.approvals.ask(approval))
            return {}

        await wiring.journal.draw().run(f"approval {number}", ask)
        detail: JsonObject = {"event": "approval", "approval": approval_id, "role": question.role}
        text = f"waits for {question.role}: {question.prompt}"
        await self._run.chronicle.event(f"approval {number}", progress_body(text, detail))
        message = json_object(await self._received(timeout_s))
        message = await self._settled(approval_id, number, message)
        return Answer(given=bool(message), value=message or None)

    async def withdrawn(self) -> None:
        """What is asked now, if anything is, gets no answer: the run was canceled."""
        if self._waits:
            run_id, number = self._run.spec.run_id, self._asked
            await self._run.wiring.journal.send(
                run_id, topic_of(number), {_WITHDRAWN: True}, f"{run_id} withdrawn {number}"
            )

    async def _received(self, timeout_s: float) -> Json:
        """What is sent in answer to the last question; None for nothing, and where it was withdrawn."""
        self._waits = True
        if self._run.gate.canceled.is_set():
            await self.withdrawn()
        message = await self._run.wiring.journal.receive(topic_of(self._asked), timeout_s)
        self._waits = False
        return None if json_object(message).get(_WITHDRAWN) else message

    async def _settled(self, approval_id: str, number: int, message: JsonObject) -> JsonObject:
        """The answer, once the run and whoever answers agree that it is one. What was answered in time and did not
        come, because the gateway that took it has died meanwhile, stands with the question."""
        approvals, tenant = self._run.wiring.approvals, self._run.spec.tenant
        state: ApprovalState = "expired"
        if message:
            state = "approved" if message.get("approved") is True else "denied"

        async def settle() -> JsonObject:
            await persistently(lambda: approvals.settle(approval_id, state))
            if message or self._run.gate.canceled.is_set():
                return {}
            asked = await persistently(lambda: approvals.find(tenant, approval_id))
            return {} if asked is None or not asked.answered else {"answer": asked.answer}

        kept = await self._run.wiring.journal.draw().run(f"settled {number}", settle)
        if answer := json_object(kept.get("answer")):
            message, state = answer, "approved" if answer.get("approved") is True else "denied"
        by: Json = message.get("by", "")
        detail: JsonObject = {"event": "approval", "approval": approval_id, "state": state, "by": by}
        text = f"{state} by {by}" if by else state
        await self._run.chronicle.event(f"settled {number}", progress_body(text, detail))
        return message

    async def _moved(self, state: TaskState, key: str, text: str, detail: JsonObject) -> None:
        """Say, once, that the run is now in `state`."""
        wiring, run_id = self._run.wiring, self._run.spec.run_id

        async def act() -> JsonObject:
            at_us = wiring.clock.now_us()
            body: JsonObject = {**status_body(state, text), "detail": detail}
            moved, told = Moved(state=state.value, at_us=at_us), Told(key=key, body=body, at_us=at_us)
            await persistently(lambda: wiring.runs.tell(run_id, events=(told,), moved=moved))
            return {}

        await wiring.journal.draw().run(key, act)


def topic_of(number: int) -> str:
    """Where the answer to a run's question is sent."""
    return f"answer {number}"


def _approval_id_of(run_id: str, number: int) -> str:
    return f"{run_id}.q{number}"
