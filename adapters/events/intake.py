"""What a message has to be like to start a run, and the request and the dead letter that are made of it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from gateway.core.content import Plain, content_of
from gateway.core.contracts import violation
from gateway.core.errors import GatewayError, InvalidRequest
from gateway.core.json import Json, JsonObject
from gateway.core.labels import Labels
from gateway.core.limits import Budget
from gateway.core.model import Principal, Request
from gateway.core.ports.bus import Message

KEY = "idempotency-key"
"""Header that says what a message's id would say otherwise."""
SHOWN_BYTES = 4096
"""How much a dead letter shows of a body that is too large, or no JSON."""
_ID = re.compile(r"[!-~]{1,200}")
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """One topic whose messages start runs of one workflow."""

    bus: str
    """Slug."""
    topic: str
    group: str
    dead_letters: str
    """Topic."""
    workflow: str
    principal: Principal
    """Whom runs act as."""
    labels: Labels
    """Of what a message says."""
    input_schema: Mapping[str, Json]
    answers_to: str
    """Topic; empty for none."""
    answers_worked: bool
    """Workers share the answers; otherwise they are kept for whoever follows them."""
    concurrency: int
    body_bytes: int
    json_depth: int
    patience_s: float
    lease_s: float

    @property
    def name(self) -> str:
        return f"{self.bus}/{self.topic}"


def key_of(message: Message) -> str:
    """What makes a message the same when it comes again."""
    said = (value for name, value in message.headers.items() if name.lower() == KEY)
    return next(said, "") or message.id


def refuse_unfit(intake: Intake, message: Message) -> None:
    """Raises: InvalidRequest: no run can be made of it, now or later."""
    if not _ID.fullmatch(key_of(message)):
        raise InvalidRequest("the id of a message is 1 to 200 visible ASCII characters")
    size_bytes = len(message.raw)
    if size_bytes > intake.body_bytes:
        raise InvalidRequest(f"the body has {size_bytes} bytes, and may have {intake.body_bytes}")
    if message.broken:
        raise InvalidRequest(message.broken)
    if message.body in (None, ""):
        raise InvalidRequest("the body says nothing")
    if _deeper(message.body, intake.json_depth):
        raise InvalidRequest(f"the body nests deeper than {intake.json_depth} levels")
    if intake.input_schema and (broken := violation(intake.input_schema, message.body)):
        raise InvalidRequest(f"the body breaks the contract of {intake.name}: {broken}")


def request_from(intake: Intake, message: Message, *, request_id: str, budget: Budget) -> Request:
    """The call that starts its run, or finds the one it started."""
    traceparent = message.traceparent if _TRACEPARENT.fullmatch(message.traceparent) else ""
    return Request(
        id=request_id,
        principal=intake.principal,
        capability=f"workflow:{intake.workflow}",
        operation="call",
        budget=budget,
        body=Plain(content_of(message.body)),
        protocol="bus",
        labels=intake.labels,
        traceparent=traceparent,
        meta={"message_id": f"{intake.name}/{key_of(message)}", "return_immediately": True},
    )


def dead_letter_from(intake: Intake, message: Message, error: GatewayError) -> Message:
    """What is kept of a message that can start no run: the same however often it comes."""
    key = key_of(message)
    known_by = key if _ID.fullmatch(key) else sha256(key.encode(errors="replace")).hexdigest()[:32]
    body: JsonObject = {
        "bus": intake.bus,
        "topic": intake.topic,
        "message": known_by,
        "workflow": intake.workflow,
        "reason": error.wire.reason,
        "said": error.message,
        **_shown(intake, message),
    }
    return Message(id=f"{intake.topic}/{known_by}", topic=intake.dead_letters, body=body, correlation_id=known_by)


def _shown(intake: Intake, message: Message) -> JsonObject:
    if message.broken or len(message.raw) > intake.body_bytes or _deeper(message.body, intake.json_depth):
        return {"body_begins": message.raw[:SHOWN_BYTES].decode(errors="replace")}
    return {"body": message.body}


def _deeper(value: Json, levels: int) -> bool:
    """Whether it nests deeper than so many levels."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(inner) and (levels <= 0 or any(_deeper(each, levels - 1) for each in inner))
