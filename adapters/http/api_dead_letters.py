"""Dead letters over REST: what did not come to a good end, looked at, retried, let go."""

from starlette.responses import Response

from adapters.http.api_call import LIST_LIMIT, Call, Recorder, answer
from adapters.http.api_ports import DeadLetterQueue
from adapters.http.api_views import rfc3339
from gateway.core.json import JsonObject
from gateway.core.ports.dead_letters import DeadLetter


class DeadLetterEndpoints:
    def __init__(self, *, letters: DeadLetterQueue, recorder: Recorder) -> None:
        self._letters = letters
        self._recorder = recorder

    async def list_dead_letters(self, call: Call) -> Response:
        found = await self._letters.list(
            call.tenant,
            workflow=call.text("workflow"),
            settled=call.text("settled") == "true",
            limit=max(1, call.number("limit", 50, LIST_LIMIT)),
        )
        return answer({"deadLetters": [dead_letter_view(each) for each in found]})

    async def get_dead_letter(self, call: Call) -> Response:
        return answer({"deadLetter": dead_letter_view(await self._letters.find(call.tenant, call.path("id")))})

    async def retry_dead_letter(self, call: Call) -> Response:
        letter = await self._letters.find(call.tenant, call.path("id"))
        target, detail = _named(letter)
        async with self._recorder.change(call, "dead.retry", target, detail):
            retried = await self._letters.retry(call.tenant, letter.run_id, by=call.who.subject)
        return answer({"deadLetter": dead_letter_view(retried)}, 202)

    async def drop_dead_letter(self, call: Call) -> Response:
        letter = await self._letters.find(call.tenant, call.path("id"))
        target, detail = _named(letter)
        async with self._recorder.change(call, "dead.drop", target, detail):
            dropped = await self._letters.drop(call.tenant, letter.run_id, by=call.who.subject)
        return answer({"deadLetter": dead_letter_view(dropped)})


def dead_letter_view(letter: DeadLetter) -> JsonObject:
    shown: JsonObject = {
        "run": letter.run_id,
        "workflow": letter.workflow,
        "owner": letter.owner,
        "cause": letter.cause,
        "reason": letter.reason,
        "step": letter.step,
        "target": letter.target,
        "attempts": letter.attempts,
        "at": rfc3339(letter.at_us),
        "state": letter.state,
    }
    if letter.state != "open":
        shown |= {"settledAt": rfc3339(letter.settled_at_us), "settledBy": letter.settled_by}
    if letter.retried_as:
        shown["retriedAs"] = letter.retried_as
    return shown


def _named(letter: DeadLetter) -> tuple[str, JsonObject]:
    """What the audit record of a change says it was about."""
    return f"workflow:{letter.workflow}", {"run": letter.run_id}
