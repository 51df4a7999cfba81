"""The errors that may cross a port, and the one table that says what each protocol calls them.

Knows no protocol library and no transport. Whoever raises one writes the message for the caller: no secret, no address,
no stack; that belongs in the log.

GatewayError
├── InvalidRequest      the caller sent something that cannot be served as it stands
├── Unauthenticated     no valid credential
├── NotFound            no such capability, task or run, or not in the caller's tenant
├── Denied              a policy said no
│   └── ApprovalNeeded  a policy asked for a person, and no answer is there yet
├── Exhausted           a budget, quota, queue or bulkhead is full
├── Conflict            somebody else changed it first, or holds the claim
│   └── InDoubt         an effect began and its outcome is unknown: a person has to look
├── UpstreamFailed      the upstream answered wrongly, or died
├── Unavailable         the upstream cannot be reached, or the gateway is going down
├── DeadlineExceeded    the time the caller allowed has run out
└── Internal            our own fault; the log has the rest
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from gateway.core.json import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """What one error is called in each protocol."""

    code: int
    """Our own number, the same in every protocol's detail; 1000 upwards, outside JSON-RPC's reserved range."""
    jsonrpc: int
    """JSON-RPC code where the failure is a protocol error rather than a tool result (MCP and A2A)."""
    http: int
    reason: str
    """google.rpc.ErrorInfo reason (A2A 1.0 section 5.4) and `reason` in our own detail."""
    retryable: bool = False


class GatewayError(Exception):
    """The only error that crosses a port."""

    wire: ClassVar[Wire] = Wire(code=1500, jsonrpc=-32603, http=500, reason="INTERNAL")

    def __init__(
        self,
        message: str,
        *,
        detail: Mapping[str, Json] | None = None,
        retry_after_s: float | None = None,
        for_operators: str = "",
        sources: frozenset[str] = frozenset(),
    ) -> None:
        """`for_operators`: the same for those who run the gateway, with names that are no caller's business. `sources`:
        as in `Labels.untrusted`, of the words in message and detail that are not the gateway's own."""
        super().__init__(message)
        self.message = message
        self.detail: dict[str, Json] = dict(detail or {})
        self.retry_after_s = retry_after_s
        self.for_operators = for_operators or message
        self.sources = sources

    def describe(self) -> dict[str, Json]:
        """The detail every protocol attaches: code, reason, message, and what the raiser added."""
        described: dict[str, Json] = {
            "code": self.wire.code,
            "reason": self.wire.reason,
            "message": self.message,
            "retryable": self.wire.retryable,
            **self.detail,
        }
        if self.retry_after_s is not None:
            described["retryAfterSeconds"] = self.retry_after_s
        return described


class InvalidRequest(GatewayError):
    wire = Wire(code=1400, jsonrpc=-32602, http=400, reason="INVALID_REQUEST")


class Unauthenticated(GatewayError):
    wire = Wire(code=1401, jsonrpc=-32600, http=401, reason="UNAUTHENTICATED")


class NotFound(GatewayError):
    wire = Wire(code=1404, jsonrpc=-32602, http=404, reason="NOT_FOUND")


class Denied(GatewayError):
    """A policy said no; `detail` names policy, rule, and the audit record."""

    wire = Wire(code=1403, jsonrpc=1403, http=403, reason="DENIED_BY_POLICY")


class ApprovalNeeded(Denied):
    wire = Wire(code=1403, jsonrpc=1403, http=403, reason="APPROVAL_NEEDED", retryable=True)


class Exhausted(GatewayError):
    wire = Wire(code=1429, jsonrpc=1429, http=429, reason="QUOTA_EXCEEDED", retryable=True)


class Conflict(GatewayError):
    wire = Wire(code=1409, jsonrpc=1409, http=409, reason="CONFLICT")


class InDoubt(Conflict):
    wire = Wire(code=1409, jsonrpc=1409, http=409, reason="IN_DOUBT")


class UpstreamFailed(GatewayError):
    wire = Wire(code=1502, jsonrpc=1502, http=502, reason="UPSTREAM_FAILED")


class Unavailable(GatewayError):
    wire = Wire(code=1503, jsonrpc=1503, http=503, reason="UNAVAILABLE", retryable=True)


class DeadlineExceeded(GatewayError):
    wire = Wire(code=1504, jsonrpc=1504, http=504, reason="DEADLINE_EXCEEDED", retryable=True)


class Internal(GatewayError):
    wire = Wire(code=1500, jsonrpc=-32603, http=500, reason="INTERNAL")


ERRORS: tuple[type[GatewayError], ...] = (
    InvalidRequest,
    Unauthenticated,
    NotFound,
    Denied,
    ApprovalNeeded,
    Exhausted,
    Conflict,
    InDoubt,
    UpstreamFailed,
    Unavailable,
    DeadlineExceeded,
    Internal,
)
"""Every concrete error; adapters and tests walk it so that none is forgotten."""
