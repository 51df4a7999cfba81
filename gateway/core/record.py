"""One line of the audit log, as the path writes it. Knows neither the log's format nor its storage."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from gateway.core.content import Body
from gateway.core.json import Json
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Usage
from gateway.core.model import Accepted, Complete, InputRequired, Principal, Result

RecordPhase = Literal["intent", "outcome", "event"]
"""`intent` is durable before a call with side effects leaves; `outcome` follows every call, refused ones included;
`event` is anything else worth keeping: a key minted, an agent registered, a configuration loaded."""

Outcome = Literal["", "ok", "error", "denied", "canceled", "input_required", "accepted"]
"""`error` covers an upstream's own error answer and failures on the way; empty on an intent."""


@dataclass(slots=True, kw_only=True)
class Record:
    """What is remembered of one call. One call has one id, shared by its intent and its outcome.

    Not frozen: building it is on the hot path. Whoever hands it to the log does not touch it again.
    """

    id: str
    phase: RecordPhase
    at_us: int
    principal: Principal | None
    """None where the caller could not be identified."""
    operation: str
    capability: str = ""
    protocol: str = ""
    tenant: str = ""
    """Of the principal; empty where there is none."""
    outcome: Outcome = ""
    code: int = 0
    """`GatewayError.wire.code` of a failure, else 0."""
    reason: str = ""
    policy: str = ""
    rule: str = ""
    snapshot: str = ""
    """Version of configuration, policies and catalog the call ran on."""
    duration_us: int = 0
    request_id: str = ""
    run_id: str = ""
    step_id: str = ""
    parent_id: str = ""
    """Record id of the call that caused this one."""
    traceparent: str = ""
    idempotency_key: str = ""
    labels: Labels = CLEAN
    usage: Usage = Usage()
    request: Body | None = None
    """The log takes digest and size from it, and the text itself only where bodies are kept."""
    result: Body | None = None
    detail: Mapping[str, Json] = field(default_factory=dict[str, Json])


def record_id(request_id: str) -> str:
    """A request's own id under a record's prefix: one id fewer to make on every call; empty where there is none."""
    return f"rec_{request_id[4:]}" if request_id.startswith("req_") else ""


def intent_of(record: Record) -> Record:
    """The record of a call that is about to leave."""
    return replace(record, phase="intent")


def outcome_of(result: Result) -> Outcome:
    """What a record calls it."""
    match result:
        case Complete():
            return "error" if result.is_error else "ok"
        case InputRequired():
            return "input_required"
        case Accepted():
            return "accepted"
        case _:
            assert_never(result)
