"""The operations of a document, each as a tool: its name, what it takes, where in a request that goes. No I/O.

One operation that cannot be read costs itself and is named; the rest is served.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, cast

from pydantic import ValidationError

from adapters.openapi.document import Unresolved, resolved
from adapters.openapi.forms import MULTIPART, FormPart, form_schema
from adapters.openapi.models import operation_model, parameter_model
from adapters.openapi.outcomes import Outcome, outcome_of
from adapters.openapi.places import own_path, service_url
from adapters.openapi.schemas import SchemaReader
from adapters.openapi.settings import ServiceSettings
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

if TYPE_CHECKING:
    from openapi_pydantic.v3 import v3_0, v3_1

Location = Literal["path", "query", "header", "cookie"]
METHODS = ("get", "head", "options", "post", "put", "patch", "delete", "trace")
SAFE = frozenset({"get", "head", "options", "trace"})
IDEMPOTENT = SAFE | {"put", "delete"}
"""RFC 9110, 9.2.2."""
BODY = "body"
_BODIES = ("application/json", "application/x-www-form-urlencoded", MULTIPART, "text/plain")
_IGNORED_HEADERS = frozenset({"accept", "content-type", "authorization"})
"""OpenAPI, parameter object: in a header these mean nothing."""
_STYLES: Mapping[Location, tuple[str, ...]] = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]+")
_NAME_LENGTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument that goes into the path, the query, a header or a cookie."""

    argument: str
    name: str
    """In the request."""
    location: Location
    required: bool
    style: str
    explode: bool
    reserved: bool
    """Reserved characters of a query value are sent as they are."""
    as_json: bool
    """Its value is JSON text (`content`), whatever the style."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBody:
    """The argument that is the body."""

    argument: str
    media_type: str
    required: bool
    parts: Mapping[str, FormPart] = field(default_factory=dict[str, FormPart])
    """Of a form: what is sent otherwise than as text, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiOperation:
    """One operation."""

    name: str
    """Of the tool; unique in the document."""
    method: str
    """Lower case."""
    path: str
    """As in the document, with `{expressions}`."""
    parameters: tuple[Parameter, ...]
    body: RequestBody | None
    security: tuple[tuple[str, ...], ...]
    """Alternatives, each the security schemes a request needs together; empty where it needs none."""
    tags: frozenset[str]
    definition: JsonObject
    """As a tool, MCP's members."""
    outcome: Outcome | None = None
    """What a success looks like, where the document says so."""
    base_path: str | None = None
    """Below which it is served; None for where the service is."""


class Operations:
    """Reads a document."""

    def __init__(self, document: JsonObject, settings: ServiceSettings) -> None:
        self._document = document
        self._settings = settings
        self._url = service_url(document, settings.base_url)
        self._schemas = SchemaReader(document)
        self.found: dict[str, ApiOperation] = {}
        self.dropped: list[Json] = []
        """What could not be read: `kind`, `name`, `reason`."""

    def read(self) -> None:
        """Fill `found` and `dropped`."""
        for path, item in json_object(self._document.get("paths")).items():
            for method, shared, said in self._of(path, item):
                try:
                    operation = self._operation(path, method, shared, said)
                except (Unresolved, ValidationError) as error:
                    self._drop(f"{method.upper()} {path}", error)
                    continue
                if self._wanted(operation):
                    self.found[operation.name] = operation

    def _of(self, path: str, item: Json) -> Iterator[tuple[str, JsonObject, JsonObject]]:
        """Each method, with what all of them share and what it says itself."""
        try:
            found = resolved(self._document, item)
        except Unresolved as error:
            self._drop(path, error)
            return
        for method in METHODS:
            said = json_object(found.get(method))
            if said:
                yield method, found, said

    def _drop(self, name: str, error: Exception) -> None:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_input=False)[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        self.dropped.append({"kind": "tool", "name": name[:200], "reason": reason[:300]})

    def _wanted(self, operation: ApiOperation) -> bool:
        include, exclude = self._settings.include, self._settings.exclude
        if include and not any(_fits(each, operation) for each in include):
            return False
        return not any(_fits(each, operation) for each in exclude)

    def _operation(self, path: str, method: str, shared: JsonObject, said: JsonObject) -> ApiOperation:
        base_path = own_path(self._url, said, shared) if self._url else None
        raw = self._parameters(json_list(shared.get("parameters")), json_list(said.get("parameters")))
        outline: JsonObject = {
            "responses": {},
            **said,
            "parameters": [_outline(each) for each in raw],
            **({"requestBody": {"content": {}}} if "requestBody" in said else {}),
        }
        outline["responses"] = {}
        read = operation_model(json_text(self._document.get("openapi")))
        model = read.model_validate({name: each for name, each in outline.items() if name != "callbacks"})
        name = self._name(method, path, model.operationId or "")
        arguments = _Arguments(path, self._document)
        for each in raw:
            arguments.add(each, self._credential_names)
        body = arguments.body(self._body(said))
        schemas, definitions = self._schemas.alone(*arguments.schemas)
        security = model.security if model.security is not None else json_list(self._document.get("security"))
        outcome = None if method == "head" else outcome_of(self._document, said, self._schemas)
        return ApiOperation(
            name=name,
            method=method,
            path=path,
            parameters=tuple(arguments.parameters),
            body=body,
            security=tuple(tuple(each) for each in cast("list[dict[str, list[str]]]", security)),
            tags=frozenset(model.tags or ()),
            definition=_definition(name, method, model, arguments.schema(schemas, definitions), outcome),
            outcome=outcome,
            base_path=base_path,
        )

    def _parameters(self, common: list[Json], own: list[Json]) -> list[JsonObject]:
        """Those of the path, overridden by the operation's own of the same name and place."""
        found = [resolved(self._document, each) for each in (*common, *own)]
        return [*{(json_text(each.get("name")), json_text(each.get("in"))): each for each in found}.values()]

    def _body(self, said: JsonObject) -> JsonObject:
        return resolved(self._document, said.get("requestBody", {}))

    def _name(self, method: str, path: str, operation_id: str) -> str:
        wanted = _ILLEGAL.sub("_", operation_id or f"{method}{path}").strip("_") or method
        if len(wanted) <= _NAME_LENGTH and wanted not in self.found:
            return wanted
        digest = sha256(f"{method} {path}".encode()).hexdigest()[:8]
        return f"{wanted[: _NAME_LENGTH - 9]}_{digest}"

    @property
    def _credential_names(self) -> frozenset[tuple[str, str]]:
        """Parameters that carry credentials: the gateway's to send, not a caller's."""
        schemes = json_object(json_object(self._document.get("components")).get("securitySchemes"))
        keys = [json_object(each) for each in schemes.values()]
        return frozenset(
            (json_text(each.get("in")), json_text(each.get("name"))) for each in keys if each.get("type") == "apiKey"
        ) | {("header", name.lower()) for name in self._settings.headers}


class _Arguments:
    """What an operation takes, one name each."""

    def __init__(self, path: str, document: JsonObject) -> None:
        self._document = document
        self.parameters: list[Parameter] = []
        self.schemas: list[Json] = []
        self._names: list[str] = []
        self._required: list[Json] = []
        self._path = path

    def add(self, raw: JsonObject, credentials: frozenset[tuple[str, str]]) -> None:
        model = parameter_model().model_validate(_outline(raw))
        location: Location = model.param_in.value
        known = (location, model.name.lower() if location == "header" else model.name)
        if (location == "header" and model.name.lower() in _IGNORED_HEADERS) or known in credentials:
            return
        style = model.style or ("form" if location in ("query", "cookie") else "simple")
        if style not in _STYLES[location]:
            raise Unresolved(f"the {location} parameter {model.name} has the style {style}, which it cannot have")
        if location == "path" and f"{{{model.name}}}" not in self._path:
            return
        content = json_object(raw.get("content"))
        media = next(iter(content.values()), None)
        schema = json_object(media).get("schema", {}) if content else raw.get("schema", {})
        argument = self._argument(model.name, f"{model.name}_{location}")
        self._take(argument, schema, model.description or "", required=model.required or location == "path")
        self.parameters.append(
            Parameter(
                argument=argument,
                name=model.name,
                location=location,
                required=model.required or location == "path",
                style=style,
                explode=style == "form" if model.explode is None else model.explode,
                reserved=raw.get("allowReserved") is True,
                as_json=bool(content),
            )
        )

    def body(self, raw: JsonObject) -> RequestBody | None:
        content = json_object(raw.get("content"))
        media_type = next((each for each in _BODIES if each in content), "") or next(iter(content), "")
        if not media_type:
            return None
        argument, required = self._argument(BODY, f"request_{BODY}"), raw.get("required") is True
        media = json_object(content[media_type])
        parts: Mapping[str, FormPart] = {}
        schema = media.get("schema", {})
        if media_type.partition(";")[0].strip().lower() == MULTIPART:
            schema, parts = form_schema(self._document, schema, json_object(media.get("encoding")))
        if not is_text_like(media_type) and not is_structured(media_type):
            told = f"{media_type}, in base64"
            schema = cast("Json", {"type": "string", "contentEncoding": "base64", "description": told})
        self._take(argument, schema, json_text(raw.get("description")), required=required)
        return RequestBody(argument=argument, media_type=media_type, required=required, parts=parts)

    def schema(self, schemas: list[Json], definitions: JsonObject) -> JsonObject:
        """Of all of it."""
        said: JsonObject = {"type": "object", "properties": dict(zip(self._names, schemas, strict=True))}
        if self._required:
            said["required"] = self._required
        said["additionalProperties"] = False
        return {**said, "$defs": definitions} if definitions else said

    def _argument(self, wanted: str, otherwise: str) -> str:
        name = wanted if wanted not in self._names else otherwise
        while name in self._names:
            name += "_"
        return name

    def _take(self, argument: str, schema: Json, description: str, *, required: bool) -> None:
        told = json_object(schema)
        if description and "description" not in told:
            # Beside a reference it counts as well: JSON Schema 2020-12 reads both.
            schema = {**told, "description": description}
        self._names.append(argument)
        self.schemas.append(schema)
        if required:
            self._required.append(argument)


def is_structured(media_type: str) -> bool:
    """Whether a body of this type is made from a JSON value."""
    plain = media_type.partition(";")[0].strip().lower()
    return plain in _BODIES[:3] or plain.endswith(("/json", "+json"))


def is_text_like(media_type: str) -> bool:
    """Whether it is text as it is."""
    plain = media_type.partition(";")[0].strip().lower()
    return plain.startswith("text/") or plain.endswith(("/xml", "+xml", "/yaml", "/x-ndjson"))


def _outline(raw: JsonObject) -> JsonObject:
    """A parameter without its schemas and examples, which are read elsewhere."""
    return {name: each for name, each in raw.items() if name not in ("schema", "content", "example", "examples")} | {
        "schema": {}
    }


def _definition(
    name: str,
    method: str,
    model: "v3_0.Operation | v3_1.Operation",
    schema: JsonObject,
    outcome: Outcome | None,
) -> JsonObject:
    annotations: JsonObject = {"openWorldHint": True}
    if method in SAFE:
        annotations["readOnlyHint"] = True
    if method == "delete":
        annotations["destructiveHint"] = True
    if method in IDEMPOTENT:
        annotations["idempotentHint"] = True
    said = [model.summary or "", model.description if model.description != model.summary else ""]
    if model.deprecated:
        said.append("Deprecated.")
    definition: JsonObject = {"name": name}
    if model.summary:
        definition["title"] = model.summary
    definition["description"] = "\n\n".join(filter(None, said))
    definition["inputSchema"] = schema
    if outcome is not None:
        definition["outputSchema"] = outcome.schema
    return {**definition, "annotations": annotations}


def _fits(pattern: str, operation: ApiOperation) -> bool:
    kind, marked, tag = pattern.partition(":")
    if marked and kind == "tag":
        return any(fnmatchcase(each, tag) for each in operation.tags)
    method, spaced, path = pattern.partition(" ")
    if spaced:
        return fnmatchcase(operation.method, method.lower()) and fnmatchcase(operation.path, path)
    return fnmatchcase(operation.name, pattern)
