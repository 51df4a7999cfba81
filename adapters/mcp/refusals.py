"""What the MCP door says when it cannot answer: JSON-RPC errors, HTTP status, errors a model can read. Pure."""

from collections.abc import Mapping

from adapters.mcp.wire import Era, encode
from gateway.core.errors import (
    ApprovalNeeded,
    Conflict,
    DeadlineExceeded,
    Denied,
    Exhausted,
    GatewayError,
    InDoubt,
    InvalidRequest,
    NotFound,
    Unavailable,
    UpstreamFailed,
)
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022
RESOURCE_NOT_FOUND = -32002
"""Until 2025-11-25; from 2026-07-28 on it is INVALID_PARAMS."""
CANCELED = -32800
"""Nobody reads it: the client gave up on the call. Outside JSON-RPC's reserved range."""

NULL = b"null"

_HTTP: Mapping[int, int] = {
    **dict.fromkeys((PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS), 400),
    **dict.fromkeys((HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION), 400),
    METHOD_NOT_FOUND: 404,
}
"""HTTP status of a JSON-RPC error from 2026-07-28 on; any other is a success of the transport."""


class RpcRefusal(Exception):
    """A request ends with this JSON-RPC error. Never leaves the door."""

    def __init__(self, code: int, message: str, *, http: int = 0, data: Json = None, request_id: bytes = NULL) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self._http = http
        self.request_id = request_id
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        self.scopes: tuple[str, ...] = ()
        """OAuth scopes the caller's token needs for this; see MCP, authorization, "scope challenge handling"."""

    def http(self, era: Era) -> int:
        """The HTTP status. Until 2025-11-25 a request that was understood is a success of the transport."""
        if self._http:
            return self._http
        return _HTTP.get(self.code, 200) if era == "modern" else 200


def error_bytes(request_id: bytes, code: int, message: str, data: Json = None) -> bytes:
    """A JSON-RPC error response; `request_id` is raw JSON."""
    error: JsonObject = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (request_id, encode(error))


def refusal_from(error: GatewayError, extra: Mapping[str, Json] | None = None) -> RpcRefusal:
    """The JSON-RPC error for a method other than `tools/call`, or for what an upstream itself called an error."""
    upstream = json_object(error.detail.get("upstream"))
    if upstream:
        code = upstream.get("code")
        refusal = RpcRefusal(
            code if isinstance(code, int) else INTERNAL_ERROR,
            json_text(upstream.get("message"), error.message),
            data=upstream.get("data"),
        )
    else:
        refusal = RpcRefusal(error.wire.jsonrpc, error.message, data={**error.describe(), **(extra or {})})
    refusal.headers = retry_after(error)
    return refusal


def lacks_scope(error: GatewayError) -> bool:
    """Whether a wider token is all that is missing."""
    return bool(error.detail.get("scopes"))


def scope_refusal(error: GatewayError) -> RpcRefusal:
    """HTTP status 403, which is for OAuth scopes alone: a client asks for a wider token, and calls again."""
    refusal = RpcRefusal(error.wire.jsonrpc, error.message, http=403, data=error.describe())
    refusal.scopes = tuple(json_text(scope) for scope in json_list(error.detail.get("scopes")))
    return refusal


def retry_after(error: GatewayError) -> tuple[tuple[bytes, bytes], ...]:
    """The `Retry-After` header, whole seconds rounded up, where the error knows when to come again."""
    if error.retry_after_s is None:
        return ()
    return ((b"retry-after", b"%d" % -int(-error.retry_after_s // 1)),)


_ADVICE: tuple[tuple[type[GatewayError], str], ...] = (
    (ApprovalNeeded, "Repeat exactly the same call once a person has agreed."),
    (Denied, "Do not repeat the call as it is; do without it, or ask the operator of the gateway for a grant."),
    (InvalidRequest, "Correct the arguments and call again."),
    (NotFound, "Read the list again; it may have changed."),
    (Exhausted, "Wait, and call again later."),
    (InDoubt, "Do not repeat the call: whether it took effect is unknown, and a person has to look."),
    (Conflict, "Read the newest state, then decide whether to call again."),
    (UpstreamFailed, "The server behind the tool failed; trying again later may help."),
    (Unavailable, "The server behind the tool cannot be reached; try again later."),
    (DeadlineExceeded, "The call took too long; it may or may not have taken effect."),
)


def advice_for(error: GatewayError) -> str:
    """One sentence on what to do next, or nothing."""
    return next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")


def readable(error: GatewayError) -> str:
    """What was refused, by which rule, under which record, and what to do: for a model to read."""
    said = error.message[:1].upper() + error.message[1:]
    policy, rule = json_text(error.detail.get("policy")), json_text(error.detail.get("rule"))
    record = json_text(error.detail.get("record"))
    url = json_text(error.detail.get("url"))
    lines = [
        f"{said.rstrip('.')}. ({error.wire.reason})",
        f"Decided by policy {policy}, rule {rule or 'none'}." if policy else "",
        f"Open {url} in a browser to connect it, then call again." if url else advice_for(error),
        f"Audit record: {record}." if record else "",
    ]
    return "\n".join(line for line in lines if line)


def error_result(error: GatewayError, era: Era) -> bytes:
    """A `tools/call` result that says why there is none."""
    result: JsonObject = {"resultType": "complete"} if era == "modern" else {}
    result["content"] = [{"type": "text", "text": readable(error)}]
    result["isError"] = True
    result["_meta"] = {"drawbridge/error": error.describe()}
    return encode(result)
