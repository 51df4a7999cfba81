"""Asks a router's classifier through the running gateway, as the router would."""

from collections.abc import Mapping
from uuid import uuid4

import httpx2
import orjson

from gateway.cli.failure import FINDING, UNREACHABLE, Failure
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.ports.orchestration import Offer
from gateway.patterns.router.classifying import RoutedRequest, question_on
from gateway.patterns.router.rules import Ruling
from gateway.patterns.router.verdicts import RoutingVerdict, by_words, verdict_from
from gateway.patterns.shared.roles import Role
from gateway.patterns.shared.settings import slug_of

_TIMEOUT_S = 60.0


class RemoteClassifier:
    """Whoever fills the role, behind the gateway at `url`."""

    def __init__(self, role: Role, offers: Mapping[str, Offer], url: str, key: str) -> None:
        """`key`: of somebody who may call the classifier. Raises: Failure: it is a tool."""
        if role.target.startswith("tool:"):
            raise Failure(f"the classifier is {role.target}; only agents and workflows can be asked from here")
        self._role = role
        self._offers = offers
        self._url = f"{url}/agents/{slug_of(role.target)}"
        self._headers = {"authorization": f"Bearer {key}", "a2a-version": "1.0"}

    def verdict(self, request: RoutedRequest, ruling: Ruling) -> RoutingVerdict | None:
        """What it says of the request; None where that is no verdict. Raises: Failure: it cannot be asked."""
        if self._role.rule:
            return by_words(request.message, self._offers)
        given = {**self._role.input, **question_on(request, [*self._offers.values()], ruling)}
        try:
            return verdict_from(self._answer(given), tuple(self._offers))
        except InvalidRequest:
            return None

    def _answer(self, given: JsonObject) -> Json:
        parts: list[Json] = [{"text": given["instruction"]}, {"data": given}]
        message: JsonObject = {"messageId": uuid4().hex, "role": "ROLE_USER", "parts": parts}
        body: JsonObject = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
        try:
            with httpx2.Client(timeout=_TIMEOUT_S, trust_env=False, headers=self._headers) as client:
                response = client.post(self._url, json=body)
        except httpx2.TransportError as error:
            raise Failure("the gateway does not answer", code=UNREACHABLE) from error
        try:
            said = json_object(orjson.loads(response.content))
        except orjson.JSONDecodeError as error:
            raise Failure("what answered is no Drawbridge gateway", code=UNREACHABLE) from error
        if "result" not in said:
            reason = json_text(json_object(said.get("error")).get("message"), f"status {response.status_code}")
            hint = f"Grant {self._role.target} to whoever's key this is, or give another with --key."
            raise Failure(f"the classifier cannot be asked: {reason}", hint, code=FINDING)
        value = _value_in(json_object(said["result"]))
        whole = json_object(value)
        return whole["answer"] if self._role.target.startswith("workflow:") and "answer" in whole else value


def _value_in(result: JsonObject) -> Json:
    """The data part of an answer, else its text."""
    task = json_object(result.get("task"))
    artifacts = json_list(task.get("artifacts"))
    parts = [part for each in artifacts for part in json_list(json_object(each).get("parts"))]
    parts += json_list(json_object(result.get("message")).get("parts"))
    fields = [json_object(part) for part in parts]
    data = next((each["data"] for each in fields if each.get("data") is not None), None)
    return data if data is not None else "\n".join(json_text(each.get("text")) for each in fields)
