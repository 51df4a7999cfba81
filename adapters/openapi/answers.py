"""From an HTTP answer to a result: JSON as a value, text as text, anything else as bytes. No I/O."""

import base64
from dataclasses import replace

import orjson

from adapters.openapi.outcomes import Outcome, unforeseen
from gateway.core.content import Content, Part, Plain, text_part
from gateway.core.json import Json, JsonObject
from gateway.core.labels import Labels
from gateway.core.model import Complete

ERROR_BYTES = 8 * 1024
"""Most of an error's body that is told."""


def result_of(status: int, content_type: str, body: bytes, labels: Labels, outcome: Outcome | None = None) -> Complete:
    """The result of a call that was answered; one with another status than 2xx is an error of the tool.

    `outcome`: what a success was announced to look like.
    """
    if not 200 <= status < 300:
        return Complete(body=Plain(_error(status, content_type, body)), is_error=True, labels=labels)
    content = _content(status, content_type, body)
    if outcome is not None:
        content = replace(content, structured=_held(outcome, status, content_type, body, content))
    return Complete(body=Plain(content, size_bytes=len(body)), labels=labels)


def _held(outcome: Outcome, status: int, content_type: str, body: bytes, content: Content) -> JsonObject:
    if content.structured is not None or body.strip() == b"null":
        return outcome.held(content.structured, len(body))
    if not body:
        return unforeseen(f"HTTP status {status}, without a body")
    return unforeseen(f"it is no JSON but {content_type.partition(';')[0].strip().lower()[:100] or 'of no type'}")


def _content(status: int, content_type: str, body: bytes) -> Content:
    if not body:
        return Content(parts=(text_part(f"HTTP status {status}, without a body"),))
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.endswith(("/json", "+json")):
        value = _json(body)
        if value is not None:
            return Content(parts=(text_part(body.decode("utf-8", "replace")),), structured=value)
    if media_type.startswith("text/") or media_type.endswith(("/json", "+json", "/xml", "+xml", "/yaml")):
        return Content(parts=(text_part(body.decode("utf-8", "replace")),))
    raw = base64.b64encode(body).decode()
    return Content(parts=(Part(kind="raw", raw=raw, media_type=media_type or "application/octet-stream"),))


def _error(status: int, content_type: str, body: bytes) -> Content:
    text = body[:ERROR_BYTES].decode("utf-8", "replace") if _readable(content_type) else f"{len(body)} bytes"
    cut = f" … ({len(body)} bytes in all)" if len(body) > ERROR_BYTES and _readable(content_type) else ""
    if 300 <= status < 400:
        text = "it redirects to another address, which is not followed"
    return Content(
        parts=(text_part(f"HTTP status {status}: {text or 'without a body'}{cut}"),), metadata={"status": status}
    )


def _readable(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return not media_type or media_type.startswith("text/") or media_type.endswith(("json", "xml", "yaml"))


def _json(body: bytes) -> Json:
    try:
        value: Json = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value
