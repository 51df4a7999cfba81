"""What can only be seen across sections: names that are taken, reserved, or lead nowhere.

Looks at sections by the names of their fields alone, because each belongs to a part this room does not know.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import cast

from pydantic import BaseModel

from gateway.config.document import child
from gateway.config.load import Check, Configuration
from gateway.config.name_checks import somebody_can_answer, somebody_is_charged, workers_named
from gateway.config.problems import Problem
from gateway.config.start_checks import runs_do_not_start_themselves, starts_lead_somewhere
from gateway.core.slugs import RESERVED, is_slug

OWNERS = ("servers", "buses", "agents", "workflows")
"""Sections whose keys share one namespace of slugs."""
ROLES = (
    *("planner", "executor", "synthesiser", "classifier", "judge", "critic", "reconciler", "goal_checker"),
    "summariser",
)
"""Settings of a workflow that name an agent where they are a text."""
BUILT_IN = frozenset({"run"})
"""Owners that are there without being configured."""

_ROLE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9_.@+-]{1,128}")
_WILDCARDS = re.compile(r"[*?]")
_SECTION_OF = {
    "tool": "servers",
    "prompt": "servers",
    "resource": "servers",
    "agent": "agents",
    "workflow": "workflows",
}


def standard_checks(registered: Mapping[str, Collection[str]] | None = None) -> tuple[Check, ...]:
    """Every check there is. `registered` names slugs that exist without being configured, by section: agents added by
    their card's URL."""
    known = dict(registered or {})
    return (
        legal_names,
        one_namespace(known),
        roles_exist,
        keys_tell_apart,
        targets_exist(known),
        workers_named(known),
        somebody_can_answer,
        somebody_is_charged(known),
        patterns_name_something(known),
        starts_lead_somewhere,
        runs_do_not_start_themselves,
        somebody_may_knock,
    )


def legal_names(configuration: Configuration) -> Iterator[Problem]:
    """Slugs, role names and principals' names can be written everywhere they have to be."""
    for section in OWNERS:
        for slug in configuration.entries(section):
            if not is_slug(slug):
                yield configuration.problem(
                    child(section, slug),
                    f"{slug!r} is not a legal name here",
                    expected="use 1 to 24 lower case letters, digits and hyphens",
                )
            elif slug in RESERVED:
                yield configuration.problem(
                    child(section, slug), f"{slug!r} is reserved", expected=f"so are {', '.join(sorted(RESERVED))}"
                )
    for section, legal in (("roles", _ROLE), ("principals", _NAME), ("sets", _ROLE)):
        for name in configuration.entries(section):
            if not legal.fullmatch(name):
                expected = "use letters, digits, `_`, `.` and `-`"
                yield configuration.problem(
                    child(section, name), f"{name!r} is not a legal name here", expected=expected
                )


def one_namespace(registered: Mapping[str, Collection[str]]) -> Check:
    """No two of servers, buses, agents and workflows have the same slug."""

    def check(configuration: Configuration) -> Iterator[Problem]:
        first: dict[str, str] = {}
        for section in OWNERS:
            for slug in configuration.entries(section):
                path = child(section, slug)
                if slug in first:
                    where = f"{first[slug]} in line {configuration.line_of(first[slug])}"
                    expected = "servers, buses, agents and workflows share their names; rename one of them"
                    yield configuration.problem(path, f"the name {slug!r} is taken by {where}", expected=expected)
                first.setdefault(slug, path)
        for section, slugs in registered.items():
            for slug in sorted(first.keys() & set(slugs)):
                message = f"the name {slug!r} is taken by a registered entry of {section}"
                yield configuration.problem(first[slug], message, expected="remove or rename one of them")

    return check


def roles_exist(configuration: Configuration) -> Iterator[Problem]:
    """Every role somebody has is written down."""
    roles = configuration.entries("roles")
    for section in ("principals", "agents"):
        for name, settings in configuration.entries(section).items():
            for index, role in enumerate(_texts(settings, "roles")):
                if role not in roles:
                    path = child(child(child(section, name), "roles"), index)
                    yield configuration.problem(path, f"there is no role {role!r}", name=role, known=roles)


def keys_tell_apart(configuration: Configuration) -> Iterator[Problem]:
    """A key says who calls, so that no two refer to the same."""
    first: dict[str, str] = {}
    for section in ("principals", "agents"):
        for name, settings in configuration.entries(section).items():
            key: object = getattr(settings, "key", None)
            path = child(child(section, name), "key")
            if isinstance(key, str) and key and (other := first.setdefault(key, path)) != path:
                message = f"{other} is the same, and a key says who calls"
                yield configuration.problem(path, message, expected="one of its own; `drawbridge keys mint` makes them")


def targets_exist(registered: Mapping[str, Collection[str]]) -> Check:
    """Whatever a workflow may call or a set offers is there, tools as far as their server."""

    def check(configuration: Configuration) -> Iterator[Problem]:
        known = {section: {*configuration.entries(section), *registered.get(section, ())} for section in OWNERS}
        known["servers"] |= known["buses"]
        for slug, settings in configuration.entries("workflows").items():
            for path, section, name in _targets(child("workflows", slug), settings):
                owner = name.partition("/")[0] if section == "servers" else name
                if owner not in known[section]:
                    yield _nobody(configuration, path, owner, section, known)
                elif section == "servers" and "/" not in name:
                    expected = f"write the server and the tool: {name}/TOOL"
                    yield configuration.problem(path, f"{name!r} names no tool", expected=expected)
        for slug, settings in configuration.entries("sets").items():
            for path, section, name in _targets_below(child("sets", slug), settings):
                owner = name.partition("/")[0]
                if owner not in known[section]:
                    yield _nobody(configuration, path, owner, section, known)

    return check


def _nobody(
    configuration: Configuration, path: str, owner: str, section: str, known: Mapping[str, Collection[str]]
) -> Problem:
    message = f"there is no {section.removesuffix('s')} {owner!r}"
    return configuration.problem(path, message, name=owner, known=sorted(known[section]))


def patterns_name_something(registered: Mapping[str, Collection[str]]) -> Check:
    """Patterns of roles whose owner does not exist: legal, but nothing will ever match them."""

    def check(configuration: Configuration) -> Iterator[Problem]:
        for role, settings in configuration.entries("roles").items():
            for effect in ("allow", "deny"):
                for index, entry in enumerate(_items(settings, effect)):
                    path = child(child(child("roles", role), effect), index)
                    pattern = entry if isinstance(entry, str) else str(getattr(entry, "call", ""))
                    yield from _unmatched(configuration, path, pattern, registered)

    return check


def somebody_may_knock(configuration: Configuration) -> Iterator[Problem]:
    """A configuration without principals is legal, and lets nobody in but minted keys."""
    if not configuration.entries("principals"):
        yield Problem(
            message="there is no principal, so nobody can knock but with a minted key",
            path="principals",
            severity="warning",
            expected="write for example `principals: {ana: {roles: [support], key: env:ANA_KEY}}`",
        )


def _unmatched(
    configuration: Configuration, path: str, pattern: str, registered: Mapping[str, Collection[str]]
) -> Iterator[Problem]:
    kind, colon, rest = pattern.partition(":")
    owner = rest.partition("/")[0]
    sections = (_SECTION_OF[kind],) if kind in _SECTION_OF else OWNERS if kind == "*" and colon else ()
    named = " or ".join(section.removesuffix("s") for section in sections if section != "buses")
    sections = (*sections, "buses") if kind == "tool" else sections
    known = {slug for each in sections for slug in (*configuration.entries(each), *registered.get(each, ()))}
    known |= BUILT_IN
    if not sections or any(fnmatchcase(slug, owner.replace("[", "[[]")) for slug in known):
        return
    message = f"{pattern!r} matches nothing: there is no {named} {owner!r}"
    if _WILDCARDS.search(owner):
        yield configuration.problem(path, message, severity="warning")
    else:
        yield configuration.problem(path, message, severity="warning", name=owner, known=sorted(known - BUILT_IN))


def _targets(path: str, settings: object) -> Iterator[tuple[str, str, str]]:
    """Every target of a workflow: its path, the section it is in, and its name."""
    for name, section in (("agents", "agents"), ("tools", "servers"), ("workflows", "workflows")):
        for index, text in enumerate(_texts(settings, name)):
            yield child(child(path, name), index), section, text
    for name in ROLES:
        text = getattr(settings, name, "")
        if isinstance(text, str) and text:
            yield child(path, name), "agents", text
    fallback = cast("Mapping[str, object]", getattr(settings, "fallback", None) or {})
    for failed, instead in fallback.items():
        if isinstance(instead, str):
            yield child(child(path, "fallback"), failed), "servers" if "/" in instead else "agents", instead
    yield from _targets_below(path, settings)


def _targets_below(path: str, value: object) -> Iterator[tuple[str, str, str]]:
    """Targets of everything in there that names one by `agent`, `tool` or `workflow`, however deep."""
    if isinstance(value, BaseModel):
        for name, inner in value:
            if name in _SECTION_OF and isinstance(inner, str):
                if inner:
                    yield child(path, name), _SECTION_OF[name], inner
            else:
                yield from _targets_below(child(path, name), inner)
    elif isinstance(value, Mapping):
        for name, inner in cast("Mapping[str, object]", value).items():
            yield from _targets_below(child(path, name), inner)
    elif isinstance(value, tuple):
        for index, inner in enumerate(cast("tuple[object, ...]", value)):
            yield from _targets_below(child(path, index), inner)


def _items(settings: object, name: str) -> Iterable[object]:
    return cast("Iterable[object]", getattr(settings, name, None) or ())


def _texts(settings: object, name: str) -> list[str]:
    return [str(each) for each in _items(settings, name)]
