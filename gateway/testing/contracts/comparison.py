"""Whether whatever meets one JSON Schema meets another as well, and if not, where. Pure.

Errs on one side only: what it lets pass is safe, and where it cannot tell (conditions, negations, patterns that differ)
it says so. Formats and annotations do not count, as in validation.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.pointers import referred_to

_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_NOT_COMPARED = frozenset(
    {
        *("not", "if", "then", "else", "dependentSchemas", "dependentRequired", "propertyNames", "patternProperties"),
        *("contains", "minContains", "maxContains", "prefixItems", "unevaluatedItems", "unevaluatedProperties"),
        *("$dynamicRef", "multipleOf", "uniqueItems", "oneOf"),
    }
)
"""Keywords of the tighter schema that are not looked into: it is said that they differ, unless both have the same."""
_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Gap:
    """A place at which a value that was right may be wrong."""

    path: str
    """`amount`, `lines[].price`; empty for the value itself."""
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.why}" if self.path else self.why


def gaps(wide: Json, tight: Json) -> list[Gap]:
    """Where a value that meets `wide` may not meet `tight`; empty where every one does."""
    return list(dict.fromkeys(_Comparison(json_object(wide), json_object(tight)).gaps(wide, tight, "", 0)))


@dataclass(frozen=True, slots=True)
class Member:
    """What a schema says of a field."""

    schema: Json
    required: bool


def member_at(schema: Json, path: Sequence[str]) -> Member | None:
    """What a schema says of a field, by the names on the way to it (`[]` for every entry of a list); None where it
    says nothing of it."""
    found, required, root = schema, True, json_object(schema)
    for name in path:
        said = _followed(found, root)
        if name == "[]":
            if "items" not in said:
                return None
            found = said["items"]
            continue
        properties = json_object(said.get("properties"))
        if name not in properties:
            return None
        required = required and name in json_list(said.get("required"))
        found = properties[name]
    return Member(_followed(found, root) or found, required)


def types_of(schema: Json) -> frozenset[str]:
    """Types a value that meets the schema may have; as far as `type`, `enum` and `const` say."""
    said = json_object(schema)
    named = said.get("type")
    types = {each for each in ([named] if isinstance(named, str) else json_list(named)) if isinstance(each, str)}
    if not types:
        values = [said["const"]] if "const" in said else json_list(said.get("enum"))
        types = {_type_of(each) for each in values} or set(_TYPES)
    return frozenset(types | ({"integer"} if "number" in types else set()))


def _type_of(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"


def _followed(schema: Json, root: JsonObject, depth: int = 0) -> JsonObject:
    """The schema itself, a reference inside its document followed."""
    said = json_object(schema)
    reference = json_text(said.get("$ref"))
    if not reference.startswith("#") or depth > _DEEPEST:
        return said
    rest = {name: each for name, each in said.items() if name != "$ref"}
    return {**_followed(referred_to(root, reference), root, depth + 1), **rest}


class _Comparison:
    """Of two documents, whose references lead into them."""

    def __init__(self, wide: JsonObject, tight: JsonObject) -> None:
        self._wide = wide
        self._tight = tight

    def gaps(self, wide: Json, tight: Json, path: str, depth: int) -> Iterator[Gap]:
        if tight is True or tight == {} or wide is False:
            return
        if tight is False:
            yield Gap(path, "nothing is taken here any more")
            return
        if depth > _DEEPEST:
            yield Gap(path, "is nested too deeply to be compared")
            return
        one, other = _followed(wide, self._wide), _followed(tight, self._tight)
        if one != other or _refers(one):
            yield from self._alternatives(one, other, path, depth)

    def _alternatives(self, one: JsonObject, other: JsonObject, path: str, depth: int) -> Iterator[Gap]:
        if alternatives := json_list(one.get("anyOf")):
            rest = {name: each for name, each in one.items() if name != "anyOf"}
            for each in alternatives:
                yield from self.gaps({**rest, **_followed(each, self._wide)}, other, path, depth + 1)
            return
        if alternatives := json_list(other.get("anyOf")):
            rest = {name: each for name, each in other.items() if name != "anyOf"}
            yield from self.gaps(one, rest, path, depth + 1)
            if not any(not [*self.gaps(one, each, path, depth + 1)] for each in alternatives):
                yield Gap(path, "fits none of the alternatives for certain")
            return
        for each in json_list(other.get("allOf")):
            yield from self.gaps(one, each, path, depth + 1)
        for each in json_list(one.get("allOf")):
            one = {**_followed(each, self._wide), **one}
        yield from self._plain(one, other, path, depth)

    def _plain(self, one: JsonObject, other: JsonObject, path: str, depth: int) -> Iterator[Gap]:
        values = _values(one)
        if values is not None and _values(other) is not None:
            new = [each for each in values if not any(_same(each, known) for known in _values(other) or [])]
            if new:
                yield Gap(path, f"may be {', '.join(map(_shown, new))}, which is not among the values")
            return
        if _values(other) is not None:
            yield Gap(path, f"may be anything, and only {', '.join(map(_shown, _values(other) or []))} will do")
            return
        if values is None:
            before, after = types_of(one), types_of(other)
            if before - after:
                yield Gap(path, f"may be {_types(before)}, and has to be {_types(after)}")
                return
            yield from _bounds(one, other, path, before)
        elif any(_type_of(each) not in types_of(other) for each in values):
            yield Gap(path, f"may be {_types(types_of(one))}, and has to be {_types(types_of(other))}")
            return
        elif _bounded(other) and values:
            yield Gap(path, "has bounds its values are not compared with")
        yield from _not_compared(one, other, path)
        if "object" in types_of(one):
            yield from self._object(one, other, path, depth)
        if "array" in types_of(one) and "items" in other:
            yield from self.gaps(one.get("items", True), other["items"], f"{path}[]", depth + 1)

    def _object(self, one: JsonObject, other: JsonObject, path: str, depth: int) -> Iterator[Gap]:
        before, after = json_object(one.get("properties")), json_object(other.get("properties"))
        given = json_list(one.get("required"))
        for name in json_list(other.get("required")):
            if isinstance(name, str) and name not in given:
                yield Gap(_below(path, name), "may be missing" if name in before else "is not there")
        rest = other.get("additionalProperties", True)
        for name, schema in before.items():
            yield from self.gaps(schema, after.get(name, rest), _below(path, name), depth + 1)
        others = one.get("additionalProperties", True)
        if others is False:
            return
        for name, schema in after.items():
            if name not in before:
                yield from self.gaps(others, schema, _below(path, name), depth + 1)
        yield from self.gaps(others, rest, _below(path, "*"), depth + 1)


def _refers(schema: Json) -> bool:
    """Whether the same words may stand for something else in another document."""
    if isinstance(schema, dict):
        return "$ref" in schema or any(map(_refers, schema.values()))
    return isinstance(schema, list) and any(map(_refers, schema))


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _values(schema: JsonObject) -> "list[Json] | None":
    if "const" in schema:
        return [schema["const"]]
    return json_list(schema["enum"]) if "enum" in schema else None


def _same(one: Json, other: Json) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _bounded(schema: JsonObject) -> bool:
    return any(name in schema for name in (*_LEAST, *_MOST, "pattern", "properties", "required", "items"))


def _bounds(one: JsonObject, other: JsonObject, path: str, types: frozenset[str]) -> Iterator[Gap]:
    for name in (*_LEAST, *_MOST):
        wanted = other.get(name)
        if not isinstance(wanted, int | float) or not types & _about(name):
            continue
        known = one.get(name)
        holds = isinstance(known, int | float) and (known >= wanted if name in _LEAST else known <= wanted)
        if not holds:
            yield Gap(
                path, f"{name} is {_shown(known) if known is not None else 'not bounded'}, and has to be {wanted}"
            )
    if "pattern" in other and "string" in types and one.get("pattern") != other["pattern"]:
        yield Gap(path, f"has to match {json_text(other['pattern'])}")


def _about(keyword: str) -> frozenset[str]:
    if keyword.endswith("imum"):
        return frozenset({"integer", "number"})
    kinds: Mapping[str, str] = {"Length": "string", "Items": "array", "Properties": "object"}
    return frozenset({next(kind for end, kind in kinds.items() if keyword.endswith(end))})


def _not_compared(one: JsonObject, other: JsonObject, path: str) -> Iterator[Gap]:
    for name in sorted(_NOT_COMPARED & other.keys()):
        if one.get(name) != other[name] or _refers(other[name]):
            yield Gap(path, f"{name} cannot be compared")


def _types(types: frozenset[str]) -> str:
    named = [each for each in _TYPES if each in types and not (each == "integer" and "number" in types)]
    return "anything" if types >= frozenset(_TYPES) else " or ".join(named)


def _shown(value: Json) -> str:
    return repr(value) if isinstance(value, str) else str(value)
