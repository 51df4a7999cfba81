"""The headers that mirror a modern request's body: written, read, and held against it. Pure.

MCP 2026-07-28, transports, "headers". The SDK has the same, but importing any part of it imports all of it, which takes
longer than everything else at the start of the gateway and of the stdio front; the tests hold the two together.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from adapters.mcp.refusals import HEADER_MISMATCH, INVALID_PARAMS, RpcRefusal
from adapters.mcp.wire import CLIENT_CAPABILITIES_KEY, VERSION_KEY
from gateway.core.json import Json, JsonObject, json_object

VERSION_HEADER = "mcp-protocol-version"
METHOD_HEADER = "mcp-method"
NAME_HEADER = "mcp-name"
TASK_METHODS = ("tasks/get", "tasks/update", "tasks/cancel")
"""Of the extension `io.modelcontextprotocol/tasks` (SEP-2663)."""
NAMED_BY: Mapping[str, str] = {
    **{"tools/call": "name", "prompts/get": "name", "resources/read": "uri"},
    **dict.fromkeys(TASK_METHODS, "taskId"),
}
"""By method, the member of `params` that `Mcp-Name` mirrors."""

_ANNOTATION = "x-mcp-header"
_MIRRORED_TYPES = ("string", "integer", "boolean")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2
_WHOLE_NUMBER = re.compile(r"(-?[0-9]+)(?:\.0+)?")

# Members of a JSON Schema (2020-12) that hold schemas, by how they hold them. Whatever else there is holds data, in
# which an annotation means nothing; a `$ref` is not followed.
_ONE_SCHEMA = frozenset(
    [
        *("additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then"),
        *("unevaluatedItems", "unevaluatedProperties"),
    ]
)
_SCHEMAS_IN_A_LIST = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_SCHEMAS_BY_NAME = frozenset(("$defs", "definitions", "dependentSchemas", "patternProperties"))

_OPENING, _CLOSING = "=?base64?", "?="

Path = tuple[str, ...]
"""Names of properties from an object inwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """An argument of a tool that a header repeats."""

    path: Path
    header: str
    """`Mcp-Param-...`, spelt as the schema has it."""
    integer: bool


class _Unusable(Exception):
    """A schema annotates what it must not."""


def encode_header(text: str) -> str:
    """`text` as the value of a mirroring header: as it is where a header can carry it, else between sentinels."""
    plain = text.isascii() and text.isprintable() and text == text.strip(" ")
    if plain and _between_sentinels(text) is None:
        return text
    return f"{_OPENING}{base64.b64encode(text.encode()).decode()}{_CLOSING}"


def decode_header(value: str) -> str | None:
    """What `encode_header` was given; None where the value between sentinels is nothing it would have written."""
    inner = _between_sentinels(value)
    if inner is None:
        return value
    try:
        decoded = base64.b64decode(inner, validate=True)
        text = decoded.decode()
    except ValueError:
        return None
    # Two spellings of one name would let one reader see a name where another sees none.
    return text if base64.b64encode(decoded).decode() == inner else None


def mirrors_of(schema: Mapping[str, Json] | None) -> tuple[Mirror, ...]:
    """Which arguments an input schema has mirrored. None of them where one annotation breaks the rules: clients must
    drop such a tool, so nobody may be held to its headers.
    """
    if schema is None:
        return ()
    try:
        mirrors = tuple(_mirror(path, found) for path, found in _schemas_in(dict(schema)) if _ANNOTATION in found)
    except _Unusable:
        return ()
    return mirrors if len({each.header.lower() for each in mirrors}) == len(mirrors) else ()


def param_headers(mirrors: tuple[Mirror, ...], arguments: JsonObject) -> dict[str, str]:
    """The `Mcp-Param-*` headers of a call with these arguments."""
    texts = {each.header: _text_of(_at(each.path, arguments)) for each in mirrors}
    return {header: encode_header(text) for header, text in texts.items() if text is not None}


def check_params(mirrors: tuple[Mirror, ...], arguments: JsonObject, headers: Mapping[str, str]) -> None:
    """Hold `Mcp-Param-*` headers, by lower-case name, against the arguments. Raises: RpcRefusal: they disagree."""
    for each in mirrors:
        said, value = headers.get(each.header.lower()), _at(each.path, arguments)
        text = _text_of(value)
        if text is None and said is None:
            continue
        argument = ".".join(each.path)
        if said is None:
            raise _mismatch(f"the header {each.header} is missing, and the argument {argument} is there")
        # Whoever routes on such a header would route on a value the call does not have.
        if text is None:
            raise _mismatch(f"the header {each.header} is there, and no argument {argument} it could repeat")
        decoded = decode_header(said)
        if decoded is None or not (decoded == text or (each.integer and _same_number(decoded, value))):
            raise _mismatch(f"the header {each.header} does not repeat the argument {argument}")


def check_envelope(method: str, params: JsonObject, headers: Mapping[str, str]) -> None:
    """Hold a modern request's headers, by lower-case name, against its body; which versions are spoken is not judged.

    Raises: RpcRefusal: `params._meta` lacks what each request must carry, or a header does not say what the body says.
    """
    meta = json_object(params.get("_meta"))
    missing = [key for key in (VERSION_KEY, CLIENT_CAPABILITIES_KEY) if key not in meta]
    if missing:
        raise RpcRefusal(INVALID_PARAMS, f"params._meta must carry {' and '.join(missing)}", http=400)
    # An absent header disagrees with everything, a null in the body too.
    if VERSION_HEADER not in headers or headers[VERSION_HEADER] != meta[VERSION_KEY]:
        raise _mismatch(f"the header {VERSION_HEADER} does not repeat the protocol version in params._meta")
    if headers.get(METHOD_HEADER) != method:
        raise _mismatch(f"the header {METHOD_HEADER} does not repeat the method")
    named_by = NAMED_BY.get(method)
    name, said = params.get(named_by) if named_by else None, headers.get(NAME_HEADER)
    if name is not None and (said is None or decode_header(said) != name):
        raise _mismatch(f"the header {NAME_HEADER} does not repeat params.{named_by}")


def _mismatch(said: str) -> RpcRefusal:
    return RpcRefusal(HEADER_MISMATCH, said, http=400)


def _between_sentinels(value: str) -> str | None:
    if not value.startswith(_OPENING) or not value.endswith(_CLOSING) or len(value) < len(_OPENING + _CLOSING):
        return None
    return value[len(_OPENING) : -len(_CLOSING)]


def _schemas_in(schema: JsonObject) -> Iterator[tuple[Path | None, JsonObject]]:
    """Every schema in a schema, itself first; without a path where more than `properties` leads to it.

    Not recursive: how deep a server nests its schema is not ours to bound here.
    """
    waiting: list[tuple[Path | None, Json]] = [((), schema)]
    for path, found in waiting:
        if not isinstance(found, dict):
            continue
        yield path, found
        for keyword, held in found.items():
            if keyword == "properties":
                waiting += [(None if path is None else (*path, name), each) for name, each in json_object(held).items()]
            elif keyword in _ONE_SCHEMA:
                waiting.append((None, held))
            elif keyword in _SCHEMAS_IN_A_LIST and isinstance(held, list):
                waiting += [(None, each) for each in held]
            elif keyword in _SCHEMAS_BY_NAME:
                waiting += [(None, each) for each in json_object(held).values()]


def _mirror(path: Path | None, schema: JsonObject) -> Mirror:
    token, kind = schema[_ANNOTATION], schema.get("type")
    if not path or not isinstance(token, str) or not _TOKEN.fullmatch(token) or kind not in _MIRRORED_TYPES:
        raise _Unusable
    return Mirror(path=path, header=f"Mcp-Param-{token}", integer=kind == "integer")


def _at(path: Path, arguments: JsonObject) -> Json:
    found: Json = arguments
    for name in path:
        found = json_object(found).get(name)
    return found


def _text_of(value: Json) -> str | None:
    """An argument as a header says it; None where there is none, or none a header could say."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        return None
    try:
        return str(value)
    except ValueError:
        return None  # more digits than Python writes


def _same_number(text: str, value: Json) -> bool:
    """Whether a header names the same integer in another spelling: 42.0 is 42."""
    spelt = _WHOLE_NUMBER.fullmatch(text)
    if spelt is None or isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
        return False
    try:
        return int(spelt[1]) == int(value)
    except ValueError:
        return False  # more digits than Python reads
