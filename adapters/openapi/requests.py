"""From arguments to an HTTP request: OpenAPI's styles (3.1, "style values"), bodies, credentials. Pure.

A caller's value never changes where a request goes: in a path it is one segment, whatever it holds, and one that URLs
would swallow (`.` and `..`) is refused.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from adapters.openapi.forms import MULTIPART, multipart
from adapters.openapi.operations import ApiOperation, Parameter, RequestBody, is_structured, is_text_like
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object

_UNRESERVED = "-._~"
_RESERVED = ":/?#[]@!$&'()*+,;=" + _UNRESERVED
_DELIMITERS = {"spaceDelimited": "%20", "pipeDelimited": "%7C", "form": ","}
_HEADER_LENGTH = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """What is sent."""

    method: bytes
    target: str
    """Path and query below the service's address."""
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What goes along for the gateway's sake."""

    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    cookies: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Draft:
    path: str
    query: list[str] = field(default_factory=list[str])
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    cookies: list[str] = field(default_factory=list[str])


def request_for(
    operation: ApiOperation, arguments: Mapping[str, Json], credentials: Credentials, base_path: str = ""
) -> ApiRequest:
    """The request of a call. Raises: InvalidRequest: an argument is missing, unknown, or cannot be sent there."""
    _check_names(operation, arguments)
    draft = _Draft(operation.path)
    for each in operation.parameters:
        value = arguments.get(each.argument)
        if each.argument in arguments and (value is not None or each.location == "path"):
            _add(draft, each, value)
    if "{" in draft.path:
        raise InvalidRequest("the path of this operation has an expression no parameter fills")
    body, content_type = b"", ""
    if operation.body is not None and operation.body.argument in arguments:
        body, content_type = _body(operation.body, arguments[operation.body.argument])
    draft.query += [f"{_encoded(name)}={_encoded(value)}" for name, value in credentials.query]
    draft.cookies += [f"{name}={value}" for name, value in credentials.cookies]
    headers = [("accept", "application/json, */*;q=0.5"), *draft.headers, *credentials.headers]
    if content_type:
        headers.append(("content-type", content_type))
    if draft.cookies:
        headers.append(("cookie", "; ".join(draft.cookies)))
    target = base_path.rstrip("/") + draft.path
    return ApiRequest(
        method=operation.method.upper().encode(),
        target=target + (f"?{'&'.join(draft.query)}" if draft.query else ""),
        headers=tuple(headers),
        body=body,
    )


def _check_names(operation: ApiOperation, arguments: Mapping[str, Json]) -> None:
    known = {each.argument: each.required for each in operation.parameters}
    if operation.body is not None:
        known[operation.body.argument] = operation.body.required
    unknown = [name for name in arguments if name not in known]
    missing = [name for name, required in known.items() if required and name not in arguments]
    if unknown:
        raise InvalidRequest(f"there is no argument {unknown[0][:100]}; there are {', '.join(known) or 'none'}")
    if missing:
        raise InvalidRequest(f"{', '.join(missing)} must be given")


def _add(draft: _Draft, parameter: Parameter, value: Json) -> None:
    if parameter.as_json:
        value = _json(value)
    match parameter.location:
        case "path":
            draft.path = draft.path.replace(f"{{{parameter.name}}}", _in_path(parameter, value))
        case "query":
            draft.query += _in_query(parameter, value)
        case "header":
            draft.headers.append((parameter.name, _in_header(parameter, value)))
        case "cookie":
            draft.cookies += _in_query(parameter, value)


def _in_path(parameter: Parameter, value: Json) -> str:
    name = parameter.name
    between = {"simple": ",", "label": ".", "matrix": ";"}[parameter.style] if parameter.explode else ","
    start = {"simple": "", "label": ".", "matrix": ";"}[parameter.style]
    if isinstance(value, dict):
        pairs = [(_encoded(key), _encoded(_text(each))) for key, each in value.items()]
        joined = between.join(f"{key}={each}" for key, each in pairs) if parameter.explode else _flat(pairs)
        said = joined if parameter.style != "matrix" or parameter.explode else f"{_encoded(name)}={joined}"
    elif isinstance(value, list):
        entries = [_encoded(_text(each)) for each in value]
        named = parameter.style == "matrix"
        if named and parameter.explode:
            said = between.join(f"{_encoded(name)}={each}" for each in entries)
        else:
            said = (f"{_encoded(name)}=" if named else "") + between.join(entries)
    else:
        said = (f"{_encoded(name)}=" if parameter.style == "matrix" else "") + _encoded(_text(value))
    if not said or said in (".", "..") or (not start and said.replace("%2E", ".") in (".", "..")):
        raise InvalidRequest(f"{parameter.argument} cannot be empty, `.` or `..`: it is a part of the path")
    return start + said


def _in_query(parameter: Parameter, value: Json) -> Iterator[str]:
    name, safe = _encoded(parameter.name), _RESERVED if parameter.reserved else _UNRESERVED
    if isinstance(value, dict):
        pairs = [(_encoded(key), _encoded(_text(each), safe)) for key, each in value.items()]
        if parameter.style == "deepObject":
            yield from (f"{name}%5B{key}%5D={each}" for key, each in pairs)
        elif parameter.explode:
            yield from (f"{key}={each}" for key, each in pairs)
        else:
            yield f"{name}={_flat(pairs, _DELIMITERS[parameter.style])}"
    elif isinstance(value, list):
        entries = [_encoded(_text(each), safe) for each in value]
        if parameter.style == "deepObject":
            yield from (f"{name}%5B%5D={each}" for each in entries)
        elif parameter.explode:
            yield from (f"{name}={each}" for each in entries)
        else:
            yield f"{name}={_DELIMITERS[parameter.style].join(entries)}"
    else:
        yield f"{name}={_encoded(_text(value), safe)}"


def _in_header(parameter: Parameter, value: Json) -> str:
    if isinstance(value, dict):
        pairs = [(key, _text(each)) for key, each in value.items()]
        said = ",".join(f"{key}={each}" for key, each in pairs) if parameter.explode else _flat(pairs)
    elif isinstance(value, list):
        said = ",".join(_text(each) for each in value)
    else:
        said = _text(value)
    if not said.isprintable() or not said.isascii() or len(said) > _HEADER_LENGTH:
        raise InvalidRequest(f"{parameter.argument} cannot be sent: a header takes plain ASCII on one line")
    return said


def _body(body: RequestBody, value: Json) -> tuple[bytes, str]:
    plain = body.media_type.partition(";")[0].strip().lower()
    if plain == "application/x-www-form-urlencoded":
        fields = _fields(body, value)
        return "&".join(f"{_encoded(name)}={_encoded(each)}" for name, each in fields).encode(), plain
    if plain == MULTIPART:
        return multipart(_form(body, value), body.parts, body.argument, _text)
    if is_structured(body.media_type):
        return _json(value).encode("utf-8", "replace"), body.media_type
    if not isinstance(value, str):
        raise InvalidRequest(f"{body.argument} must be a text")
    if is_text_like(body.media_type):
        return value.encode(), body.media_type
    try:
        return base64.b64decode(value, validate=True), body.media_type
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{body.argument} must be {body.media_type} in base64") from error


def _fields(body: RequestBody, value: Json) -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    for name, each in _form(body, value).items():
        fields += [(name, _text(one)) for one in (each if isinstance(each, list) else [each])]
    return fields


def _form(body: RequestBody, value: Json) -> JsonObject:
    if not isinstance(value, dict):
        raise InvalidRequest(f"{body.argument} must be an object")
    return value


def _flat(pairs: list[tuple[str, str]], between: str = ",") -> str:
    return between.join(part for pair in pairs for part in pair)


def _text(value: Json) -> str:
    """A value as a URL or a header says it; what is nested deeper than styles reach, as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return _json(value)


def _json(value: Json) -> str:
    # The standard library's, because it writes integers of any size.
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise InvalidRequest("an argument holds a number JSON has no word for") from error


def _encoded(text: str, safe: str = _UNRESERVED) -> str:
    return quote(text, safe=safe, errors="replace")


def credentials_for(
    schemes: JsonObject, security: tuple[tuple[str, ...], ...], known: Mapping[str, str]
) -> Credentials | None:
    """The credentials of the first alternative the gateway has everything for; None where it has none of them.

    `known`: by scheme, the secret itself; for HTTP Basic `user:password`.
    """
    if not security:
        return Credentials()
    for alternative in security:
        if all(name in known for name in alternative):
            return _together(schemes, alternative, known)
    return None


def _together(schemes: JsonObject, names: tuple[str, ...], known: Mapping[str, str]) -> Credentials:
    headers: list[tuple[str, str]] = []
    query: list[tuple[str, str]] = []
    cookies: list[tuple[str, str]] = []
    for name in names:
        scheme, secret = json_object(schemes.get(name)), known[name]
        if scheme.get("type") == "apiKey":
            place = {"query": query, "cookie": cookies}.get(str(scheme.get("in")), headers)
            place.append((str(scheme.get("name")), secret))
        elif str(scheme.get("scheme")).lower() == "basic":
            headers.append(("authorization", f"Basic {base64.b64encode(secret.encode()).decode()}"))
        else:
            # http bearer, oauth2 and openIdConnect all end in an access token.
            headers.append(("authorization", f"Bearer {secret}"))
    return Credentials(headers=tuple(headers), query=tuple(query), cookies=tuple(cookies))
