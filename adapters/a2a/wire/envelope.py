"""JSON-RPC 2.0 envelopes around payloads that stay raw. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from adapters.a2a.wire.errors import a2a_error, error_from_json, error_json
from gateway.core.errors import GatewayError, InvalidRequest, UpstreamFailed
from gateway.core.json import Json, JsonObject, endless_number, strict_json

LONGEST_ID = 256
"""Bytes of a request id; it is repeated on every event of a stream."""
NO_ID = b"null"
Member: TypeAlias = "Json | Raw"
"""A member of parameters: made here, or as it came."""

_members = msgspec.json.Decoder(dict[str, Raw])
_value = msgspec.json.Decoder()
encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A JSON-RPC request."""

    id: bytes
    """As it came, to be sent back unchanged."""
    method: str
    params: dict[str, Raw]


class Refused(Exception):
    """A body that is no request; what is known of its id, and the error to answer with."""

    def __init__(self, error: GatewayError, call_id: bytes = NO_ID) -> None:
        super().__init__(error.message)
        self.error = error
        self.call_id = call_id


def decode_value(raw: bytes) -> Json:
    """JSON to Python. Raises: InvalidRequest: not JSON, or nested beyond all reason."""
    try:
        value: Any = _value.decode(raw)
    except RecursionError as error:
        raise InvalidRequest("the JSON nests too deeply") from error
    except msgspec.ValidationError as error:
        # Of a value of any type, only a number can be beyond what is read.
        raise InvalidRequest(f"the JSON cannot be read: {endless_number(raw)}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest("not valid JSON") from error
    return value


def decode_strictly(raw: bytes) -> Json:
    """JSON to Python, for what is judged and then relayed as it came: both readers must find the same in it.

    Raises: InvalidRequest: see `strict_json`.
    """
    try:
        return strict_json(raw)
    except ValueError as error:
        raise InvalidRequest(f"the JSON cannot be read: {error}") from error


def decode_object(raw: bytes) -> JsonObject:
    """A JSON object to Python. Raises: InvalidRequest: not JSON, or not an object."""
    value = decode_value(raw)
    if not isinstance(value, dict):
        raise InvalidRequest("not a JSON object")
    return value


def decode_members(raw: bytes) -> dict[str, Raw]:
    """The members of a JSON object, each still raw. Raises: InvalidRequest: not a JSON object."""
    try:
        return _members.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest("not a JSON object") from error


def deeper_than(value: Json, limit: int) -> bool:
    """Whether containers nest deeper than `limit`."""
    level = _containers([value])
    for _ in range(limit):
        level = [inner for each in level for inner in _containers(each.values() if isinstance(each, dict) else each)]
    return bool(level)


def _containers(values: Iterable[Json]) -> "list[JsonObject | list[Json]]":
    return [each for each in values if isinstance(each, dict | list)]


def call_from_bytes(raw: bytes, *, depth: int) -> Call:
    """A request. Raises: Refused: not JSON, an array, too deep, or not JSON-RPC 2.0."""
    try:
        value = decode_value(raw)
    except InvalidRequest as error:
        # JSON it is that has a number which nobody can reckon with.
        reason = "INVALID_REQUEST" if isinstance(error.__cause__, msgspec.ValidationError) else "PARSE_ERROR"
        raise Refused(a2a_error(reason, error.message)) from error
    if deeper_than(value, depth):
        raise Refused(a2a_error("INVALID_REQUEST", f"the body nests deeper than {depth} levels", limit="json_depth"))
    if isinstance(value, list):
        raise Refused(a2a_error("INVALID_REQUEST", "A2A has no batches: send one request a body"))
    if not isinstance(value, dict):
        raise Refused(a2a_error("INVALID_REQUEST"))
    members = decode_members(raw)
    call_id = _id_of(members)
    method = value.get("method")
    if value.get("jsonrpc") != "2.0" or not isinstance(method, str):
        raise Refused(a2a_error("INVALID_REQUEST"), call_id)
    if not isinstance(value.get("params", {}), dict):
        raise Refused(a2a_error("INVALID_PARAMS", "params has to be an object"), call_id)
    params = decode_members(bytes(members["params"])) if "params" in members else {}
    return Call(id=call_id, method=method, params=params)


def _id_of(members: Mapping[str, Raw]) -> bytes:
    raw = bytes(members.get("id", b""))
    if not raw:
        raise Refused(a2a_error("INVALID_REQUEST", "the request needs an id: A2A has no notifications"))
    value = decode_value(raw)
    if isinstance(value, bool) or not isinstance(value, str | int | None) or len(raw) > LONGEST_ID:
        raise Refused(
            a2a_error("INVALID_REQUEST", f"id has to be a string or an integer of at most {LONGEST_ID} bytes")
        )
    return raw


def request_bytes(call_id: str, method: str, params: Mapping[str, Member]) -> bytes:
    """A request to an agent."""
    return encode({"jsonrpc": "2.0", "id": call_id, "method": method, "params": params})


def answer_bytes(call_id: bytes, result: bytes) -> bytes:
    """An answer with a result that is JSON already."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (call_id, result)


def error_bytes(call_id: bytes, error: GatewayError) -> bytes:
    """An answer that says what went wrong."""
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (call_id, encode(error_json(error)))


def result_from_bytes(raw: bytes, call_id: str, agent: str = "the agent") -> bytes:
    """The raw `result` of the answer of `agent` to the request `call_id`.

    Raises: UpstreamFailed: no JSON-RPC answer, or one to another request; else what the agent's error means.
    """
    try:
        members = decode_members(raw)
        answered = decode_value(bytes(members["id"])) if "id" in members else None
        error = decode_value(bytes(members["error"])) if "error" in members else None
    except InvalidRequest as problem:
        raise UpstreamFailed(f"{agent} answered with what is not JSON-RPC") from problem
    if error is not None:
        raise error_from_json(error, agent)
    if "result" not in members:
        raise UpstreamFailed(f"{agent} answered with neither a result nor an error")
    if answered != call_id:
        raise UpstreamFailed(f"{agent} answered another request than the one it was sent")
    return bytes(members["result"])


def event_bytes(data: bytes) -> bytes:
    """One server-sent event. Line breaks in JSON are only ever white space, and would end the line here."""
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"data: %b\n\n" % data
