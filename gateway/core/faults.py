"""Faults on purpose: what goes wrong, for which calls, and what an answer looks like afterwards. Pure.

Chaos in a running gateway and scenarios in a test inject the same faults. Which calls a fault strikes follows from its
seed alone, so that what was seen once is seen again.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias, get_args

from gateway.core.content import EMPTY, Content, Part, Plain, text_part
from gateway.core.errors import GatewayError, InvalidRequest, UpstreamFailed
from gateway.core.json import Json, json_object
from gateway.core.labels import Labels
from gateway.core.limits import NOTHING_USED
from gateway.core.model import Accepted, Complete, Result

FaultKind: TypeAlias = Literal["delay", "kill", "error", "malformed", "empty", "wrong_schema", "falsehood"]
"""`delay`: it answers late; `kill`: it dies over the call, which never gets there; `error`: it answers that it failed;
`malformed`: its answer is cut off in the middle; `empty`: it says nothing; `wrong_schema`: its members have other
names; `falsehood`: one value in its answer is another."""

KINDS: dict[str, FaultKind] = {each: each for each in get_args(FaultKind)}
LONGEST_DELAY_S = 3600.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_REPLACES = "=>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong. Build with `fault_from_text`."""

    kind: FaultKind
    delay_s: float = 0.0
    message: str = ""
    """Of an `error`: what the target says."""
    patch: Json = None
    """Of a `falsehood`: a JSON merge patch (RFC 7396) on the structured answer."""
    said: str = ""
    instead: str = ""
    """Of a `falsehood` without a patch: `said` is replaced by it wherever it stands."""

    def __str__(self) -> str:
        """As `fault_from_text` reads it."""
        match self.kind:
            case "delay":
                return f"delay={self.delay_s:g}s"
            case "error" if self.message:
                return f"error={self.message}"
            case "falsehood":
                return f"falsehood={json.dumps(self.patch) if self.said == '' else f'{self.said}=>{self.instead}'}"
            case kind:
                return kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """A fault, and which calls it strikes."""

    id: str
    tenant: str
    """Whose calls; never another's."""
    target: str
    """Name of a capability, or a glob over names: `agent:refunds`, `tool:orders/*`."""
    fault: Fault
    share: float = 1.0
    """Of the calls, above 0 up to 1."""
    seed: int = 0

    def concerns(self, tenant: str, capability: str) -> bool:
        """Whether the call is one of those among which the struck ones are."""
        return tenant == self.tenant and (capability == self.target or fnmatchcase(capability, self.target))

    def strikes(self, call: str) -> bool:
        """Whether it strikes the call that `call` names, the same each time. The caller numbers its calls, or names
        them by what stays the same when everything is done again."""
        # Not a secret: the same calls are to be struck again.
        return self.share >= 1.0 or random.Random(f"{self.seed}:{self.id}:{call}").random() < self.share  # noqa: S311


def fault_from_text(text: str) -> Fault:
    """A fault as people write it: `delay=2s`, `kill`, `error`, `error="out of paper"`, `malformed`, `empty`,
    `wrong_schema`, `falsehood={"amount": 4799}`, `falsehood="47.99=>4799.00"`.

    Raises: InvalidRequest: says what would be right.
    """
    name, _, value = text.strip().partition("=")
    kind = KINDS.get(name)
    if kind is None:
        raise InvalidRequest(f"{name!r} is no fault; there are {', '.join(KINDS)}")
    if value[:1] == value[-1:] == '"' and len(value) > 1:
        value = value[1:-1]
    match kind:
        case "delay":
            return Fault(kind=kind, delay_s=_seconds(value))
        case "error":
            return Fault(kind=kind, message=value)
        case "falsehood":
            return _falsehood(value)
        case "kill" | "malformed" | "empty" | "wrong_schema":
            if value:
                raise InvalidRequest(f"the fault {kind} takes no value")
            return Fault(kind=kind)


def error_of(fault: Fault, target: str) -> GatewayError | None:
    """What a call ends with instead of being made; None where the fault lets it go."""
    if fault.kind != "kill":
        return None
    return UpstreamFailed(f"{target} died before it had answered")


def distorted(result: Result, injection: Injection) -> Result:
    """The answer as the fault leaves it, labelled by the injection, so that one sees how far it spreads. The same
    object where the fault finds nothing in it to change."""
    fault = injection.fault
    if isinstance(result, Accepted) or fault.kind in ("delay", "kill"):
        return result
    labels = result.labels.join(Labels(untrusted=frozenset({f"chaos:{injection.id}"})))
    if fault.kind == "error":
        failed = Plain(Content(parts=(text_part(fault.message or "it failed"),)))
        usage = result.usage if isinstance(result, Complete) else NOTHING_USED
        return Complete(body=failed, is_error=True, labels=labels, usage=usage)
    said = result.body.content()
    changed = _distorted(said, fault)
    return result if changed == said else replace(result, body=Plain(changed), labels=labels)


def merge_patched(value: Json, patch: Json) -> Json:
    """`value` with a JSON merge patch applied (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    patched = dict(json_object(value))
    for name, change in patch.items():
        if change is None:
            patched.pop(name, None)
        else:
            patched[name] = merge_patched(patched.get(name), change)
    return patched


def _distorted(said: Content, fault: Fault) -> Content:
    match fault.kind:
        case "malformed":
            whole = said.text if said.structured is None else json.dumps(said.structured, ensure_ascii=False)
            return Content(parts=(text_part(whole[: len(whole) // 2]),))
        case "wrong_schema":
            return _changed(said, _renamed)
        case "falsehood" if fault.said:
            return _changed(said, lambda value: _replaced(value, fault.said, fault.instead))
        case "falsehood":
            return _changed(said, lambda value: merge_patched(value, fault.patch) if isinstance(value, dict) else value)
        case _:
            return EMPTY


def _changed(said: Content, change: Callable[[Json], Json]) -> Content:
    """The content with every value in it changed: servers say the same as text and as data, and so do liars."""
    parts = tuple(_changed_part(part, change) for part in said.parts)
    return replace(said, parts=parts, structured=None if said.structured is None else change(said.structured))


def _changed_part(part: Part, change: Callable[[Json], Json]) -> Part:
    if part.kind == "data":
        return replace(part, data=change(part.data))
    if part.kind != "text":
        return part
    try:
        value: Json = json.loads(part.text) if part.text[:1] in "[{" else part.text
    except ValueError:
        value = part.text
    changed = change(value)
    if changed == value:
        return part
    return replace(part, text=changed if isinstance(changed, str) else json.dumps(changed, ensure_ascii=False))


def _renamed(value: Json) -> Json:
    return {f"{name}_": each for name, each in value.items()} if isinstance(value, dict) else value


def _replaced(value: Json, said: str, instead: str) -> Json:
    """Numbers as well, where the whole of one is what is replaced: 47.99 in an amount is no text."""
    match value:
        case str():
            return value.replace(said, instead)
        case dict():
            return {name: _replaced(each, said, instead) for name, each in value.items()}
        case list():
            return [_replaced(each, said, instead) for each in value]
        case bool() | None:
            return value
        case _:
            return _number(instead) if str(value) == said else value


def _number(text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _seconds(text: str) -> float:
    number = text.rstrip("msh")
    unit = text[len(number) :]
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError) as error:
        raise InvalidRequest("delay takes a time such as 200ms, 2s or 1m") from error
    if not 0 < seconds <= LONGEST_DELAY_S:
        raise InvalidRequest(f"delay takes a time above 0, up to {LONGEST_DELAY_S:g} s")
    return seconds


def _falsehood(text: str) -> Fault:
    if text.startswith("{"):
        try:
            patch: Json = json.loads(text)
        except ValueError as error:
            raise InvalidRequest("the falsehood is no valid JSON merge patch") from error
        return Fault(kind="falsehood", patch=patch)
    said, arrow, instead = text.partition(_REPLACES)
    if not arrow or not said or said == instead:
        raise InvalidRequest('falsehood takes a JSON merge patch such as {"amount": 4799}, or "47.99=>4799.00"')
    return Fault(kind="falsehood", said=said, instead=instead)
