"""Arguments a set has settled: taken out of the schema that is shown, put into the call, held to the real schema. Pure.

A caller can neither see nor overrule them. What is said of a call that does not fit names arguments the caller gave,
and nothing that was settled for it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend  # pyright: ignore[reportUnknownVariableType] - partial stubs
from referencing import Registry
from referencing.exceptions import Unresolvable

from adapters.mcp.headers import Mirror
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.pointers import referred_to

_NOTHING_ELSE: Registry[Any] = Registry()
"""References lead nowhere outside the schema."""
# A server's own expressions, tried on a caller's text by a machine that backtracks, could stop the gateway. The server
# will judge by them itself.
_LEFT_TO_THE_SERVER = {"pattern": None, "patternProperties": None, "uniqueItems": None}
_validator = cast("Callable[..., Any]", extend(Draft202012Validator, _LEFT_TO_THE_SERVER))

_CONDITIONS = ("if", "then", "else", "not")
_LEFT_OUT = ("examples", "default", "const", "enum")
"""Of a whole object: they would show what is settled."""
_MOST_REFERENCES = 16
_EXCERPT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """What is settled for callers of one tool or prompt."""

    fixed: Mapping[str, Json]
    hidden: frozenset[str]
    """Every argument callers do not see; those that are fixed among them."""
    schema: Mapping[str, Json] | None = field(default=None, repr=False)
    """The tool's own."""
    mirrors: tuple[Mirror, ...] = ()
    """Arguments `Mcp-Param-*` headers repeat, by the tool's own schema."""

    def filled(self, arguments: JsonObject) -> JsonObject:
        """The arguments of the real call. Raises: InvalidRequest: a caller's own are wrong."""
        for name in arguments:
            if name in self.hidden:
                raise InvalidRequest(f"there is no argument {name}")
        filled = {**arguments, **self.fixed}
        for problem in problems(self.schema, filled, self.hidden):
            raise InvalidRequest(problem)
        return filled


def problems(schema: Mapping[str, Json] | None, arguments: JsonObject, hidden: frozenset[str]) -> Iterator[str]:
    """Why arguments do not fit a schema, without a word of what is hidden; what cannot be told the server will say."""
    error = None if schema is None else _first_error(schema, arguments)
    if error is not None:
        yield _said(error, hidden)


def _first_error(schema: Mapping[str, Json], value: Json) -> ValidationError | None:
    # One is enough, and finding all of them may take long.
    try:
        return next(_validator(dict(schema), registry=_NOTHING_ELSE).iter_errors(value), None)
    except (Unresolvable, RecursionError, TypeError, ValueError, AttributeError):
        return None


def without_arguments(schema: Mapping[str, Json], names: frozenset[str], fixed: Mapping[str, Json]) -> JsonObject:
    """An input schema that does not know these arguments of the object it describes, some of which are fixed.

    What holds only for other values than the fixed ones is left out; what depends on a hidden argument in a way that
    cannot be told without it is left to the real schema, to which calls are held as well.
    """
    return _without_unused(json_object(_Hiding(names, fixed, dict(schema)).of(dict(schema), _MOST_REFERENCES)))


def with_descriptions(schema: Mapping[str, Json], told: Mapping[str, str]) -> JsonObject:
    """An input schema that says this of its arguments."""
    properties = json_object(dict(schema).get("properties"))
    said: JsonObject = {
        name: {**json_object(each), "description": told[name]} if name in told else each
        for name, each in properties.items()
    }
    return {**schema, "properties": said} if properties else dict(schema)


def _without_unused(schema: JsonObject) -> JsonObject:
    """Without definitions nothing refers to any more: they would tell of what was taken out."""
    for member in ("$defs", "definitions"):
        kept = json_object(schema.get(member))
        used = {**kept}
        while True:
            rest: JsonObject = {**schema, member: used}
            unused = [name for name in used if f"'#/{member}/{name}" not in str(_but(rest, member, name))]
            if not unused:
                break
            for name in unused:
                del used[name]
        if kept:
            schema = {**schema, member: used}
            if not used:
                del schema[member]
    return schema


def _but(schema: JsonObject, member: str, name: str) -> JsonObject:
    return {**schema, member: {other: each for other, each in json_object(schema[member]).items() if other != name}}


class _Hiding:
    """Takes arguments out of every schema that is about the same object."""

    def __init__(self, names: frozenset[str], fixed: Mapping[str, Json], root: JsonObject) -> None:
        self._names = names
        self._fixed = fixed
        self._root = root

    def of(self, schema: Json, references: int) -> Json:
        if not isinstance(schema, dict):
            return schema
        found: JsonObject = {}
        below: list[Json] = []
        for keyword, held in schema.items():
            if keyword in _LEFT_OUT or (keyword in _CONDITIONS and self._mentioned(schema)):
                continue
            if keyword in ("properties", "dependentSchemas"):
                found[keyword] = {name: each for name, each in json_object(held).items() if name not in self._names}
            elif keyword == "required":
                found[keyword] = self._shown(held)
            elif keyword == "dependentRequired":
                needed = json_object(held).items()
                found[keyword] = {name: self._shown(each) for name, each in needed if name not in self._names}
            elif keyword == "allOf":
                below += [self.of(each, references) for each in json_list(held)]
            elif keyword in ("anyOf", "oneOf"):
                below.append({"anyOf": [self.of(each, references) for each in self._possible(json_list(held))]})
            elif keyword == "$ref" and references and (target := referred_to(self._root, held)) is not None:
                below.append(self.of(target, references - 1))
            else:
                found[keyword] = held
        return {**found, "allOf": below} if below else found

    def _shown(self, names: Json) -> list[Json]:
        return [each for each in json_list(names) if each not in self._names]

    def _possible(self, branches: list[Json]) -> list[Json]:
        """Those the fixed values do not rule out; all where they rule out every one."""
        return [each for each in branches if self._allows(json_object(each))] or branches

    def _allows(self, branch: JsonObject) -> bool:
        properties = json_object(branch.get("properties"))
        return all(
            _first_error(json_object(properties.get(name)), value) is None for name, value in self._fixed.items()
        )

    def _mentioned(self, schema: JsonObject) -> bool:
        said = str([schema.get(keyword) for keyword in _CONDITIONS])
        return any(repr(name) in said for name in self._names)


def _said(error: ValidationError, hidden: frozenset[str]) -> str:
    path = [str(step) for step in error.absolute_path]
    if path and path[0] not in hidden:
        return f"{'.'.join(path)}: {error.message[:_EXCERPT]}"
    if error.validator == "required" and not path:
        needed, given = cast("Json", error.validator_value), cast("Json", error.instance)
        missing = [str(name) for name in json_list(needed) if name not in json_object(given)]
        shown = [name for name in missing if name not in hidden]
        if shown:
            return f"{', '.join(shown)} must be given"
    if path:
        return "what was settled for this tool does not fit it any more: tell the operator of the gateway"
    return "the arguments do not fit the tool's schema"
