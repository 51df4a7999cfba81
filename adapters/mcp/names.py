"""Gateway-wide names as MCP clients see them, and back. Pure; knows nothing of who may see what.

Model APIs take `^[A-Za-z0-9_-]{1,64}$` for a tool, so that is what every name is brought down to, although MCP itself
allows more.
"""

import hashlib
import string
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from gateway.core.model import Capability, CapabilityKind

AGENTS = "agents"
WORKFLOWS = "workflows"
SEPARATOR = "__"
NAME_LENGTH = 64
DIGEST_LENGTH = 8

NamesMode = Literal["prefix", "conflict", "refuse"]
"""Where servers meet: `OWNER__NAME` always; only where two have the same name; or what has another's is not offered."""

_LEGAL = frozenset(string.ascii_letters + string.digits + "_-")
_SHELVES: Mapping[CapabilityKind, str] = {"agent": AGENTS, "workflow": WORKFLOWS}


def unprefixed(capabilities: Iterable[Capability]) -> frozenset[str]:
    """Gateway-wide names of what needs no prefix, because nothing else has its name. Agents and workflows always do,
    and so does what looks as if it had one.
    """
    own = [each for each in capabilities if each.kind not in _SHELVES and SEPARATOR not in each.local]
    count = Counter(_legal(each.local) for each in own)
    return frozenset(each.name for each in own if count[_legal(each.local)] == 1)


def contested(capabilities: Iterable[Capability]) -> dict[str, str]:
    """Gateway-wide names of what shares its name with another's, each with what it is and whose else."""
    same: dict[str, list[Capability]] = {}
    for each in capabilities:
        if each.kind not in _SHELVES:
            same.setdefault(_legal(each.local), []).append(each)
    return {
        each.name: f"{each.local} is offered by {', '.join(sorted({other.owner for other in several}))}: not listed"
        for several in same.values()
        if len(several) > 1
        for each in several
    }


def exposed_names(
    capabilities: Iterable[Capability], scope: str, bare: frozenset[str] = frozenset()
) -> dict[str, Capability]:
    """The name under which each capability is offered at `/mcp/{scope}`, or at `/mcp` where `scope` is empty; there,
    those in `bare` under their own.

    A name that needs no change keeps it, whatever else there is; one that was altered keeps the altered form while
    nothing else has it, and otherwise ends in hex digits of its digest. The order given does not matter.
    """
    plain: dict[str, Capability] = {}
    altered: dict[str, list[Capability]] = {}
    for each in capabilities:
        wanted = wanted_name(each, scope, bare)
        legal = _legal(wanted)
        if legal == wanted:
            plain[legal] = each
        else:
            altered.setdefault(legal, []).append(each)
    named = dict(plain)
    for legal in sorted(altered):
        same = sorted(altered[legal], key=lambda each: each.name)
        alone = len(same) == 1 and legal not in named and _fits(wanted_name(same[0], scope, bare))
        for each in same:
            named[legal if alone else _digested(legal, each.name, named)] = each
    return named


def wanted_name(capability: Capability, scope: str, bare: frozenset[str] = frozenset()) -> str:
    """The name before illegal characters and length are seen to."""
    shelf = _SHELVES.get(capability.kind)
    local = capability.local if shelf is None else capability.owner
    return local if scope or capability.name in bare else f"{shelf or capability.owner}{SEPARATOR}{local}"


def guessed_capability(exposed: str, scope: str, kind: CapabilityKind) -> str:
    """The gateway-wide name an exposed name stands for where the caller's own list does not hold it.

    What is not listed may still exist: then the gateway says why it is refused, and records that it was asked for.
    """
    owner, marked, local = (scope, SEPARATOR, exposed) if scope else exposed.partition(SEPARATOR)
    if not marked:
        return f"{kind}:{exposed}"
    if kind == "tool":
        if owner == AGENTS:
            return f"agent:{local}"
        if owner == WORKFLOWS:
            return f"workflow:{local}"
    return f"{kind}:{owner}/{local}"


def _legal(name: str) -> str:
    if len(name) <= NAME_LENGTH and name and _LEGAL.issuperset(name):
        return name
    return "".join(each if each in _LEGAL else "_" for each in name)[:NAME_LENGTH] or "_"


def _fits(wanted: str) -> bool:
    return 0 < len(wanted) <= NAME_LENGTH


def _digested(legal: str, name: str, taken: Mapping[str, Capability]) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    for length in range(DIGEST_LENGTH, NAME_LENGTH, DIGEST_LENGTH):
        tail = f"_{digest[:length]}"
        candidate = legal[: NAME_LENGTH - len(tail)] + tail
        if candidate not in taken:
            return candidate
    raise AssertionError("two capabilities share one gateway-wide name")  # no cover: names are unique keys
