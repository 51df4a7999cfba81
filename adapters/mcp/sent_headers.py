"""What a client says in HTTP headers beside its body, as far as a server is told of it."""

from msgspec import Raw

from adapters.mcp.classify import ABSENT, NAME_HEADER, PARAM_PREFIX, Headers
from adapters.mcp.entries import Entry
from adapters.mcp.headers import check_params, param_headers
from adapters.mcp.knock import Knock
from adapters.mcp.wire import decode_value
from gateway.core.json import json_object
from gateway.core.model import Operation

TRACEPARENT_LENGTH = 55


def sent_on(knock: Knock, operation: Operation, entry: Entry | None) -> tuple[tuple[bytes, bytes], ...]:
    """Headers for the server beside its own; what a method's name mirrors, only whoever sent it knows."""
    named = knock.headers.get(NAME_HEADER) if operation == "method" else None
    more = () if named is None else ((NAME_HEADER, named.strip(b" \t")),)
    return (*_param_headers(knock, entry), *more)


def _param_headers(knock: Knock, entry: Entry | None) -> tuple[tuple[bytes, bytes], ...]:
    if not knock.wrapped:
        return _sent_headers(knock.headers)
    if entry is None or not entry.mirrors:
        return ()
    arguments = json_object(decode_value(bytes(knock.message.params.get("arguments", Raw(b"null")))))
    return as_sent(param_headers(entry.mirrors, arguments))


def as_sent(headers: dict[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    """Headers as they are sent."""
    return tuple((name.lower().encode(), value.encode()) for name, value in headers.items())


def _sent_headers(headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
    if PARAM_PREFIX not in b"\n".join(headers):
        return ()
    return tuple((name, value.strip(b" \t")) for name, value in headers.items() if name.startswith(PARAM_PREFIX))


def check_param_headers(knock: Knock, entry: Entry) -> None:
    """Raises: RpcRefusal: a header does not repeat the argument it mirrors."""
    arguments = json_object(decode_value(bytes(knock.message.params.get("arguments", Raw(b"null")))))
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in _sent_headers(knock.headers)}
    check_params(entry.mirrors, arguments, headers)


def traceparent_of(knock: Knock) -> str:
    """The caller's trace context, by its body before its header; what is not shaped like one is dropped."""
    raw = knock.message.meta.traceparent
    said = knock.headers.get(b"traceparent", b"") if raw is ABSENT else bytes(raw)[1:-1]
    if not said:
        return ""
    shaped = len(said) == TRACEPARENT_LENGTH and said.isascii() and said.count(b"-") == 3
    return said.decode() if shaped else ""
