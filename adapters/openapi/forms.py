"""Forms with files (`multipart/form-data`): which members are files, how a caller gives one, how it is sent. Pure."""

import base64
import binascii
import mimetypes
import secrets as random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from adapters.openapi.document import resolved
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text

MULTIPART = "multipart/form-data"
_BINARY = frozenset({"binary", "base64", "byte"})
_ANY_BYTES = "application/octet-stream"
_NAME_LENGTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class FormPart:
    """One member of a form that is sent otherwise than as text."""

    media_type: str
    """Empty where the document does not say."""
    is_file: bool


def form_schema(document: JsonObject, schema: Json, encoding: JsonObject) -> tuple[Json, Mapping[str, FormPart]]:
    """The schema of a form as callers fill it in, files in base64, and what of it is sent how. Raises: Unresolved."""
    found = resolved(document, schema)
    members: JsonObject = {}
    parts: dict[str, FormPart] = {}
    for name, each in json_object(found.get("properties")).items():
        said = json_object(encoding.get(name))
        wanted = json_text(said.get("contentType")).partition(",")[0].strip()
        own = resolved(document, each)
        one = resolved(document, own.get("items", {})) if own.get("type") == "array" else own
        if _is_file(one):
            media_type = wanted or json_text(one.get("contentMediaType"))
            known = "*" not in media_type and media_type != _ANY_BYTES
            parts[name] = FormPart(media_type=media_type if known else "", is_file=True)
            given = _given(json_text(one.get("description")) or json_text(own.get("description")))
            members[name] = {**own, "items": given} if own.get("type") == "array" else given
            continue
        if wanted:
            parts[name] = FormPart(media_type=wanted, is_file=False)
        members[name] = each
    return ({**found, "properties": members}, parts) if parts else (schema, parts)


def _is_file(schema: JsonObject) -> bool:
    """OpenAPI 3.0 has the format `binary`, 3.1 a media type or an encoding of the content."""
    if schema.get("type", "string") != "string":
        return False
    held = "contentMediaType" in schema or "contentEncoding" in schema
    return held or json_text(schema.get("format")) in _BINARY


def _given(description: str) -> JsonObject:
    data: JsonObject = {"type": "string", "contentEncoding": "base64"}
    named: JsonObject = {
        "type": "object",
        "properties": {"data": data, "filename": {"type": "string"}, "media_type": {"type": "string"}},
        "required": ["data"],
        "additionalProperties": False,
    }
    told = "A file in base64, alone or with its name."
    return {"description": f"{description}\n\n{told}" if description else told, "anyOf": [data, named]}


def multipart(
    value: JsonObject, parts: Mapping[str, FormPart], argument: str, text_of: Callable[[Json], str]
) -> tuple[bytes, str]:
    """The body, and its content type (RFC 7578). Raises: InvalidRequest: a file is none."""
    boundary = random.token_hex(16)
    said: list[bytes] = []
    for name, each in value.items():
        for one in each if isinstance(each, list) else [each]:
            said += _part(boundary, name, one, parts.get(name), f"{argument}.{name[:100]}", text_of)
    return b"".join(said) + f"--{boundary}--\r\n".encode(), f"{MULTIPART}; boundary={boundary}"


def _part(
    boundary: str, name: str, value: Json, part: FormPart | None, argument: str, text_of: Callable[[Json], str]
) -> Iterator[bytes]:
    disposition = f'form-data; name="{_quoted(name)}"'
    media_type = "" if part is None else part.media_type
    if part is not None and part.is_file:
        data, filename, own_type = _file(value, argument)
        filename = filename or name
        disposition += f'; filename="{_quoted(filename)}"'
        media_type = own_type or media_type or mimetypes.guess_type(filename)[0] or _ANY_BYTES
    else:
        data = text_of(value).encode()
        if isinstance(value, dict) and not media_type:
            media_type = "application/json"
    yield f"--{boundary}\r\ncontent-disposition: {disposition}\r\n".encode()
    yield f"content-type: {media_type}\r\n\r\n".encode() if media_type else b"\r\n"
    yield data + b"\r\n"


def _file(value: Json, argument: str) -> tuple[bytes, str, str]:
    """The bytes, the name and the media type a caller gave."""
    named = json_object(value) if isinstance(value, dict) else {"data": value}
    filename, media_type = json_text(named.get("filename")), json_text(named.get("media_type"))
    if not all(each.isascii() and each.isprintable() for each in (media_type,)) or len(filename) > _NAME_LENGTH:
        raise InvalidRequest(f"{argument} has a name or a media type that cannot be sent")
    data = named.get("data")
    try:
        return base64.b64decode(data if isinstance(data, str) else "!", validate=True), filename, media_type
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{argument} must be a file in base64") from error


def _quoted(text: str) -> str:
    """WHATWG, HTML, multipart/form-data: these three are escaped, and everything else is itself."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
