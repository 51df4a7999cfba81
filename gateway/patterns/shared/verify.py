"""Ground truth: what an answer cites is looked up with an authoritative tool, and what cannot be resolved is named."""

import json
import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from gateway.core.errors import InvalidRequest
from gateway.core.fields import TakenOut, among, found_at, key_of, without
from gateway.core.json import Json, JsonObject, json_text
from gateway.core.ports.orchestration import Gap, Node, StepResult
from gateway.patterns.shared.settings import objects
from gateway.patterns.shared.work import Work, decided, side_by_side

Unresolved: TypeAlias = Literal["fail", "drop", "name"]
LOOKED_UP_AT_MOST = 64
"""Different values of one field; what is beyond that counts as not resolved."""
NAMED_AT_MOST = 20
"""Values that are named where they cannot be resolved."""
NAMED_CHARS = 200
_FIELD = re.compile(r"[A-Za-z0-9_-]+(\[\])?(\.[A-Za-z0-9_-]+(\[\])?)*")
_MODES: dict[str, Unresolved] = {"fail": "fail", "drop": "drop", "name": "name"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One field that has to be true."""

    field: str
    target: str
    """The tool that knows."""
    argument: str
    unresolved: Unresolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A result that was looked up: without what was dropped, failed where it must not stand."""

    result: StepResult
    gaps: tuple[Gap, ...] = ()


def checks_in(entry: JsonObject) -> tuple[Check, ...]:
    """What the setting `verify` of a stage or step asks for. Raises: InvalidRequest: a field is none."""
    checks: list[Check] = []
    for said in objects(entry.get("verify")):
        field = json_text(said.get("field"))
        if not _FIELD.fullmatch(field):
            raise InvalidRequest(f"{field!r} names no field: write `policy_id`, `pages[]`, `citations[].page`")
        checks.append(
            Check(
                field=field,
                target=f"tool:{json_text(said.get('tool'))}",
                argument=json_text(said.get("argument")) or "id",
                unresolved=_MODES.get(json_text(said.get("unresolved")), "name"),
            )
        )
    return tuple(checks)


def verified(checks: tuple[Check, ...], name: str, result: StepResult) -> Work[Verified]:
    """The result of the step `name`, looked up as far as the checks say."""
    gaps: list[Gap] = []
    for number, check in enumerate(checks, 1):
        if not result.ok:
            break
        bad = yield from _not_resolved(check, f"{name[:24]}-check{number}", result)
        if not bad:
            continue
        tool = check.target.partition(":")[2]
        named = ", ".join(_shown(each)[:NAMED_CHARS] for each in bad[:NAMED_AT_MOST])
        more = f" and {len(bad) - NAMED_AT_MOST} more" if len(bad) > NAMED_AT_MOST else ""
        reason = f"{check.field} {named}{more} cannot be resolved by {tool}"
        detail: JsonObject = {"step": name, "field": check.field, "values": bad[:NAMED_AT_MOST]}
        yield from decided("unresolved", check.unresolved, because=reason, detail=detail)
        if check.unresolved == "fail":
            result = replace(result, ok=False, error="failed", reason=reason)
            break
        gaps.append(Gap(step=f"{name}.{check.field}", target=check.target, error="failed", reason=reason))
        if check.unresolved == "drop":
            result = _dropped(result, check.field, bad)
    return Verified(result=result, gaps=tuple(gaps))


def confirms(result: StepResult) -> bool:
    """Whether a lookup found something: an answer that says more than null, empty, or false."""
    return result.ok and _says_something(result.value)


def _not_resolved(check: Check, name: str, result: StepResult) -> Work[list[Json]]:
    """Values at the field that the tool does not know, each once."""
    values = list({key_of(each): each for each in found_at(result.value, check.field)}.values())
    nodes = {
        f"{name}-{number}": Node(target=check.target, input={check.argument: value}, labels=result.labels)
        for number, value in enumerate(values[:LOOKED_UP_AT_MOST], 1)
    }
    looked_up = yield from side_by_side(nodes)
    known = [confirms(looked_up[each]) for each in nodes]
    return [value for value, is_known in zip(values, known, strict=False) if not is_known] + values[LOOKED_UP_AT_MOST:]


def _dropped(result: StepResult, field: str, bad: list[Json]) -> StepResult:
    """The result without what is bad; words and writes that mention it go too."""
    value = without(result.value, field, bad)
    told = [each if isinstance(each, str) else json.dumps(each) for each in bad]
    text = "" if any(each in result.text for each in told) else result.text
    summary = "" if any(each in result.summary for each in told) else result.summary
    writes = {
        key: each for key, each in result.writes.items() if not _mentions(each, frozenset(map(key_of, bad)), told)
    }
    taken_out = (*result.taken_out, TakenOut(field=field, values=tuple(map(key_of, bad))))
    return replace(result, value=value, text=text, summary=summary, writes=writes, taken_out=taken_out)


def _mentions(value: Json, bad: frozenset[str], told: list[str]) -> bool:
    """Whether what is bad stands in the value, by itself or among words."""
    if isinstance(value, dict):
        return any(_mentions(each, bad, told) for each in value.values())
    if isinstance(value, list):
        return any(_mentions(each, bad, told) for each in value)
    return among(value, bad) or (isinstance(value, str) and any(each in value for each in told))


def _says_something(value: Json) -> bool:
    if isinstance(value, dict):
        return any(_says_something(each) for each in value.values())
    if isinstance(value, list):
        return any(_says_something(each) for each in value)
    return value is not None and value is not False and value != ""


def _shown(value: Json) -> str:
    return value if isinstance(value, str) else key_of(value)
