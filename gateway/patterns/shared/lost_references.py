"""References that lead nowhere: to a field that a contract does not have, or that an answer turned out not to have.
Says names of fields, and never what stands in them. Pure."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.core.json import Json, JsonObject, json_object
from gateway.patterns.shared.references import TASK, is_reference, paths_in

_SHOWN_NAMES = 12
_NAME_CHARS = 64
_UNDECIDED = ("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "patternProperties", "dependentSchemas")
"""Keywords by which an object may have fields that its `properties` do not name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpromised:
    """A reference to a field that a contract does not name."""

    said: str
    never: bool
    """The contract takes no other fields than it names."""


def lost_in(value: Json, known: Mapping[str, Json]) -> dict[str, str]:
    """Every reference in `value` that finds nothing in what is known, and what there is in its place. What is there and
    null was found."""
    found = {f"${'.'.join(path)}": _lost(path, known) for path in paths_in(value)}
    return {reference: f"{reference}: {said}" for reference, said in found.items() if said}


def lacking_in(value: Json, answers: Mapping[str, Json]) -> str:
    """What to say of the references to answers that have no such field; empty where there are none. The task, and a
    stage that did not answer, may well lack something."""
    lost = lost_in(value, answers)
    return "; ".join(said for reference, said in lost.items() if _parts(reference)[0] in answers)


def unpromised_in(value: Json, contracts: Mapping[str, "JsonObject | None"]) -> Iterator[Unpromised]:
    """Every reference in `value` to a field that whoever it names does not promise. `contracts`: by stage."""
    for path in dict.fromkeys(paths_in(value)):
        schema = contracts.get(path[0])
        if schema is not None and (found := _unpromised(path, schema)) is not None:
            yield found


def meant(name: str, known: Iterable[str]) -> str:
    """What to add to a name that nobody has; empty where none is near."""
    near = difflib.get_close_matches(name, [*known], n=1, cutoff=0.6)
    return f" (did you mean ${near[0]}?)" if near else ""


def _parts(reference: str) -> list[str]:
    return reference.removeprefix("$").split(".")


def _lost(path: Sequence[str], known: Mapping[str, Json]) -> str:
    if path[0] not in known:
        return f"{path[0]} gave no answer"
    found = known[path[0]]
    for number, name in enumerate(path[1:], 1):
        if isinstance(found, dict) and name in found:
            found = found[name]
            continue
        answered = "answered with" if number == 1 and path[0] != TASK else "has"
        return f"{'.'.join(path[:number])} {answered} {_named(found)}; nothing of that name"
    return ""


def _named(found: Json) -> str:
    """Names of its fields, as far as a reference could name them."""
    names = sorted(name for name in json_object(found) if is_reference(f"${name}") and "." not in name)
    return _listed([name for name in names if len(name) <= _NAME_CHARS]) or "no fields"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _unpromised(path: Sequence[str], schema: JsonObject) -> Unpromised | None:
    said = schema
    for number, name in enumerate(path[1:], 1):
        named = json_object(said.get("properties"))
        if any(word in said for word in _UNDECIDED):
            return None
        if name in named:
            said = json_object(named[name])
            continue
        never = said.get("additionalProperties") is False
        if not named and not never:
            return None
        owner = ".".join(path[:number])
        promised = _listed([*named]) or "no fields"
        only = " and nothing else" if never else ", and not that"
        near = difflib.get_close_matches(name, named, n=1, cutoff=0.6)
        suggestion = meant(".".join(path[: number + 1]), [f"{owner}.{near[0]}"]) if near else ""
        told = f"${'.'.join(path)} leads nowhere: the contract of {owner} names {promised}{only}{suggestion}"
        return Unpromised(said=told, never=never)
    return None
