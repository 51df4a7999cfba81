"""A server's questions to a legacy client: sent as requests on the stream of the call they belong to, and awaited.

A modern client is told what is asked and calls again; one of before 2026 has to be asked while its call is held. Which
of the two the server is makes no difference here: what it asks arrives as an `InputRequired` either way.
"""

from collections.abc import Mapping
from uuid import uuid4

import anyio
from msgspec import Raw, structs

from adapters.mcp.exchange import Exchange
from adapters.mcp.revisions import question_in_words_of
from adapters.mcp.sessions import Question, Session
from adapters.mcp.uris import Outward, rewritten_question
from adapters.mcp.wire import ASKED, REFUSED, Answer, Params, decode_value, encode
from gateway.core.asked import ASKABLE, REPLIES
from gateway.core.errors import DeadlineExceeded
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.limits import Budget
from gateway.core.model import InputRequired, Request

PATIENCE_S = 600.0
"""How long a person may take to answer: as long as the state of the call is good for."""
MOST_ROUNDS = 32
MOST_QUESTIONS = 16


def questions_to(
    session: Session, exchange: Exchange, result: InputRequired, outward: Outward | None = None
) -> Mapping[str, JsonObject]:
    """What is to be asked, by key, with URIs as they are said here; nothing where this client cannot be asked, or not
    all of it.
    """
    if not exchange.accepts_sse:
        return {}
    questions = {key: json_object(each) for key, each in (result.questions or _relayed(result)).items()}
    able = len(questions) <= MOST_QUESTIONS and all(_knows(session, each) for each in questions.values())
    if not able:
        return {}
    return questions if outward is None else {key: rewritten_question(each, outward) for key, each in questions.items()}


async def ask(questions: Mapping[str, JsonObject], session: Session, exchange: Exchange) -> Mapping[str, Question]:
    """The questions, each with its answer. Raises: DeadlineExceeded: not all of them were answered in time."""
    asked: dict[str, Question] = {}
    try:
        with anyio.fail_after(PATIENCE_S):
            for key, question in questions.items():
                asked[key] = session.ask(json_text(question.get("method")))
                await exchange.ask(_message(asked[key], question, session.version))
            for each in asked.values():
                await each.answered.wait()
    except TimeoutError as error:
        raise DeadlineExceeded("the client did not answer in time what the server asked") from error
    finally:
        for each in asked.values():
            session.questions.pop(each.id, None)
    return asked


def resumed(request: Request, state: str, asked: Mapping[str, Question], request_id: str, budget: Budget) -> Request:
    """The call that goes on with what the client answered."""
    body = request.body
    if not isinstance(body, Params):
        raise TypeError("a call by this door has parameters of its protocol")
    responses = {key: Raw(each.result) for key, each in asked.items() if each.result}
    refused: Json = {
        key: {"method": each.method, "error": decode_value(each.error)} for key, each in asked.items() if each.error
    }
    members = {**body.members, "inputResponses": Raw(encode(responses)), "requestState": Raw(encode(state))}
    return structs.replace(
        request,
        id=request_id,
        budget=budget,
        body=body.with_members(members),
        continuation=state,
        meta={**request.meta, REFUSED: refused, **(replied(members) if ASKABLE in request.meta else {})},
    )


def _relayed(result: InputRequired) -> JsonObject:
    """What a server asks in its own answer."""
    body = result.body
    return json_object(json_object(decode_value(body.raw)).get("inputRequests")) if isinstance(body, Answer) else {}


def replied(members: Mapping[str, Raw]) -> JsonObject:
    """What a call's parameters answer to what was asked, for whoever speaks no MCP; by its name in `Request.meta`."""
    responses = members.get("inputResponses")
    return {} if responses is None else {REPLIES: decode_value(bytes(responses))}


def _knows(session: Session, question: JsonObject) -> bool:
    capability = ASKED.get(json_text(question.get("method")))
    if capability is None or capability not in session.capabilities:
        return False
    if json_object(question.get("params")).get("mode") != "url":
        return True
    return "url" in json_object(session.capabilities[capability])


def _message(question: Question, said: JsonObject, version: str) -> bytes:
    """The request in the words of until 2025-11-25, where an elicitation by URL has an id of its own."""
    params = question_in_words_of(version, question.method, json_object(said.get("params")))
    if params.get("mode") == "url" and "elicitationId" not in params:
        params = {**params, "elicitationId": uuid4().hex}
    message: JsonObject = {"jsonrpc": "2.0", "id": question.id, "method": question.method, "params": params}
    return encode(message)
