"""The forms a schema allows: references followed, alternatives apart, what is demanded together in one. Pure."""

from collections.abc import Mapping

from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.testing.contracts.comparison import types_of

MOST_FORMS = 24
_ROUNDS = 12
"""References and alternatives opened on the way to one form."""
_WHERE_SAID: Mapping[str, frozenset[str]] = {
    "object": frozenset(
        (
            *("properties", "required", "minProperties", "maxProperties", "additionalProperties", "patternProperties"),
            *("propertyNames", "dependentRequired", "dependentSchemas"),
        )
    ),
    "array": frozenset(("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains")),
    "number": frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
    "string": frozenset(("minLength", "maxLength", "pattern", "format")),
}
"""Keywords that are about one type and no other."""
_EITHER = ("anyOf", "oneOf")
_CONDITION = ("if", "then", "else")


def forms_of(schema: Json, root: JsonObject) -> list[JsonObject]:
    """Every form, in the order of the schema, without references, alternatives and conditions."""
    found: list[JsonObject] = []
    todo = [(json_object(schema), 0)]
    while todo and len(found) < MOST_FORMS:
        said, rounds = todo.pop(0)
        opened = _opened(said, root) if rounds < _ROUNDS else [said]
        if opened == [said]:
            found.append(said)
        else:
            todo = [*((each, rounds + 1) for each in opened), *todo]
    return found


def types_meant(said: JsonObject) -> frozenset[str]:
    """Types worth giving: those it names, else those its keywords are about; none where it says nothing."""
    if said.keys() & {"type", "const", "enum"}:
        return types_of(said)
    return frozenset(each for each, keywords in _WHERE_SAID.items() if keywords & said.keys())


def _opened(said: JsonObject, root: JsonObject) -> list[JsonObject]:
    if reference := json_text(said.get("$ref")):
        return [together(_without(said, "$ref"), _referred(reference, root))] if reference.startswith("#") else [said]
    for keyword in _EITHER:
        if either := json_list(said.get(keyword)):
            rest = _without(said, keyword)
            return [together(rest, json_object(each)) for each in either if each is not False]
    if "allOf" in said:
        whole = _without(said, "allOf")
        for each in json_list(said["allOf"]):
            whole = together(whole, json_object(each))
        return [whole]
    if "if" in said:
        rest = _without(said, *_CONDITION)
        held = together(json_object(said["if"]), json_object(said.get("then")))
        return [together(rest, held), together(rest, json_object(said.get("else")))]
    return [said]


def together(one: JsonObject, other: JsonObject) -> JsonObject:
    """What meets both, as far as a single schema can say it; of two bounds the other's counts."""
    whole = {**one, **other}
    if "properties" in one and "properties" in other:
        members, others = json_object(one["properties"]), json_object(other["properties"])
        both: JsonObject = {
            name: together(json_object(members[name]), json_object(others[name]))
            for name in members
            if name in others and isinstance(members[name], dict) and isinstance(others[name], dict)
        }
        whole["properties"] = {**members, **others, **both}
    for keyword in ("required", "allOf"):
        if keyword in one and keyword in other:
            whole[keyword] = [*json_list(one[keyword]), *json_list(other[keyword])]
    return whole


def _without(said: JsonObject, *keywords: str) -> JsonObject:
    return {name: each for name, each in said.items() if name not in keywords}


def _referred(reference: str, root: JsonObject) -> JsonObject:
    """What a JSON pointer (RFC 6901) of this document leads to; nothing where it leads nowhere."""
    found: Json = root
    for step in filter(None, reference.removeprefix("#").split("/")):
        name = step.replace("~1", "/").replace("~0", "~")
        items = {str(place): each for place, each in enumerate(json_list(found))}
        found = (items or json_object(found)).get(name)
    return json_object(found)
