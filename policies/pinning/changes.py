"""What is different between two definitions, place by place, for people to read. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from json import dumps

from gateway.core.json import Json, json_from
from policies.pinning.hidden_text import shown

_MOST_CHANGES = 200


class _Absent:
    """Nothing was there; null is something."""


_ABSENT = _Absent()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One place that differs."""

    at: str
    """Such as `inputSchema.properties.amount.maximum`."""
    before: str | None
    """As JSON, a text as it is, hidden characters spelled out; None where there was nothing."""
    after: str | None


def changes(before: Mapping[str, Json], after: Mapping[str, Json]) -> tuple[Change, ...]:
    """Where they differ, at most 200 places."""
    found: list[Change] = []
    for change in _changes(json_from(before), json_from(after), ""):
        found.append(change)
        if len(found) == _MOST_CHANGES:
            break
    return tuple(found)


def _changes(before: "Json | _Absent", after: "Json | _Absent", at: str) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _changes(before.get(key, _ABSENT), after.get(key, _ABSENT), f"{at}.{key}" if at else key)
    elif type(before) is not type(after) or _said(before) != _said(after):
        yield Change(at=at, before=_said(before), after=_said(after))


def _said(value: "Json | _Absent") -> str | None:
    if isinstance(value, _Absent):
        return None
    return shown(value if isinstance(value, str) else dumps(value, ensure_ascii=False, sort_keys=True))
