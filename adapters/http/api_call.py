"""One request to the REST API: who sent it, what it says, how it is answered and recorded."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import orjson
from jsonschema import Draft202012Validator
from starlette.requests import Request
from starlette.responses import Response

from adapters.http.shown_json import shown_json
from gateway.core.errors import GatewayError, Internal, InvalidRequest
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.model import Principal
from gateway.core.ports.gateway import Gateway
from gateway.core.ports.world import Clock, Ids
from gateway.core.record import Record

BODY_BYTES = 64 * 1024
"""Largest request body; the largest sensible one is a key order of some hundred bytes."""

LIST_LIMIT = 1000
"""Most entries one answer lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An authenticated request; `body` has passed the endpoint's schema."""

    request: Request
    who: Principal
    body: JsonObject

    @property
    def tenant(self) -> str:
        return self.who.tenant

    def path(self, name: str) -> str:
        """A path parameter of the matched route."""
        return str(self.request.path_params[name])

    def text(self, name: str) -> str:
        """A query parameter, empty where it is not given."""
        return self.request.query_params.get(name, "")

    def required(self, name: str) -> str:
        """Raises: InvalidRequest: the parameter is missing."""
        value = self.text(name)
        if not value:
            raise InvalidRequest(f"the query parameter {name} is missing")
        return value

    def number(self, name: str, default: int, at_most: int) -> int:
        """A query parameter from 0 up to `at_most`; more counts as `at_most`.

        Raises: InvalidRequest: not a number.
        """
        text = self.text(name)
        if not text:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise InvalidRequest(f"{name} is not a number from 0 upwards")
        return min(int(text), at_most)


async def body_of(request: Request, validator: Draft202012Validator) -> JsonObject:
    """The request's body as the endpoint's schema wants it.

    Raises: InvalidRequest: too large, not a JSON object, or against the schema; says where.
    """
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > BODY_BYTES:
            raise InvalidRequest(f"the body is larger than {BODY_BYTES} bytes")
    try:
        body: Json = orjson.loads(bytes(received))
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from error
    problem = next(iter(validator.iter_errors(body)), None)  # pyright: ignore[reportUnknownMemberType] - partial stubs
    if problem is not None:
        where = "/".join(str(step) for step in problem.absolute_path) or "the body"
        raise InvalidRequest(f"{where}: {problem.message[:200]}")
    return json_object(body)


def answer(value: Mapping[str, Json], status: int = 200) -> Response:
    """A JSON response that no cache keeps: keys and records pass through here."""
    return Response(
        shown_json(dict(value), option=orjson.OPT_NON_STR_KEYS),
        status,
        media_type="application/json",
        headers={"cache-control": "no-store"},
    )


def error_answer(error: GatewayError) -> Response:
    """The error as every endpoint of this API says it."""
    response = answer({"error": error.describe()}, error.wire.http)
    if error.wire.http == 401:
        # RFC 9110, 11.6.1: a 401 owes a challenge.
        response.headers["www-authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        response.headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    return response


class Recorder:
    """Writes what operators do into the audit log."""

    def __init__(self, *, gateway: Gateway, clock: Clock, ids: Ids) -> None:
        self._gateway = gateway
        self._clock = clock
        self._ids = ids

    def refused(self, operation: str, who: Principal | None, error: GatewayError) -> None:
        """Note that somebody was turned away."""
        record = self._record("event", operation, who)
        record.outcome, record.code, record.reason = "denied", error.wire.code, error.message
        error.detail.setdefault("record", record.id)
        self._gateway.note(record)

    @asynccontextmanager
    async def change(
        self, call: Call, operation: str, capability: str = "", detail: Mapping[str, Json] | None = None
    ) -> AsyncGenerator[None]:
        """Record a change before it is made and what became of it after.

        Raises: Unavailable: the log takes no more, so the change is not made.
        """
        intent = self._record("intent", operation, call.who)
        intent.capability, intent.detail = capability, dict(detail or {})
        self._gateway.note(intent)
        outcome = replace(intent, phase="outcome", outcome="ok")
        began_at_us = outcome.at_us
        try:
            yield
        except GatewayError as error:
            outcome.outcome, outcome.code, outcome.reason = "error", error.wire.code, error.message
            error.detail.setdefault("record", outcome.id)
            raise
        except Exception:
            outcome.outcome, outcome.code = "error", Internal.wire.code
            raise
        except BaseException:
            outcome.outcome = "canceled"
            raise
        finally:
            outcome.at_us = self._clock.now_us()
            outcome.duration_us = outcome.at_us - began_at_us
            self._gateway.note(outcome)

    def _record(self, phase: str, operation: str, who: Principal | None) -> Record:
        return Record(
            id=self._ids.new("rec"),
            phase="intent" if phase == "intent" else "event",
            at_us=self._clock.now_us(),
            principal=who,
            operation=operation,
            protocol="api",
            tenant=who.tenant if who is not None else "",
            snapshot=self._gateway.version,
        )
