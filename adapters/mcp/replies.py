"""The plain HTTP beneath the MCP door: reading a body within its bound, and answers that need no exchange."""

from starlette.types import Receive, Send

from adapters.mcp.classify import Headers
from adapters.mcp.exchange import JSON_TYPE, HeaderLines
from adapters.mcp.refusals import INVALID_REQUEST, RpcRefusal, error_bytes

CLOSE = (b"connection", b"close")
ALLOW_POST: HeaderLines = ((b"allow", b"POST"),)
ALLOW_ALL: HeaderLines = ((b"allow", b"GET, POST, DELETE"),)


class ClientLeft(Exception):
    """The client went away before its request was whole."""


async def read_body(receive: Receive, headers: Headers, most: int) -> bytes:
    """The request's body. Raises: RpcRefusal: larger than `most` bytes, said as soon as that is known; ClientLeft."""
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and (len(announced) > 18 or int(announced) > most):
        raise _too_large(most)
    event = await receive()
    if not event.get("more_body"):
        if event["type"] == "http.disconnect":
            raise ClientLeft
        body: bytes = event["body"]
        if len(body) > most:
            raise _too_large(most)
        return body
    return await _read_on(receive, event["body"], most)


async def _read_on(receive: Receive, first: bytes, most: int) -> bytes:
    body = bytearray(first)
    while True:
        if len(body) > most:
            raise _too_large(most)
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientLeft
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    if len(body) > most:
        raise _too_large(most)
    return bytes(body)


def accepted_types(accept: bytes) -> tuple[bool, bool]:
    """Whether a client takes JSON, and whether it takes server-sent events (RFC 9110, section 12.5.1)."""
    kinds = {each.partition(b";")[0].strip().lower() for each in accept.split(b",")} - {b""}
    if not kinds or b"*/*" in kinds:
        return True, True
    return bool(kinds & {b"application/json", b"application/*"}), bool(kinds & {b"text/event-stream", b"text/*"})


async def refuse(send: Send, refusal: RpcRefusal, http: int, headers: HeaderLines = ()) -> None:
    """A JSON-RPC error to nobody's request."""
    body = error_bytes(refusal.request_id, refusal.code, refusal.message, refusal.data)
    await reply(send, http, (JSON_TYPE, *headers), body)


async def reply(send: Send, http: int, headers: HeaderLines = (), body: bytes = b"") -> None:
    """A whole HTTP answer."""
    lines = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": http, "headers": lines})
    await send({"type": "http.response.body", "body": body})


def _too_large(most: int) -> RpcRefusal:
    return RpcRefusal(INVALID_REQUEST, f"the body is larger than {most} bytes", http=413)
