"""What can be seen across sections of names beside those of targets: who failed, who may write, who is to answer, and
whom a budget or a price is for.

Looks at sections by the names of their fields alone, as `checks` does.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import cast

from pydantic import BaseModel

from gateway.config.document import child
from gateway.config.load import Check, Configuration
from gateway.config.problems import Problem

CALLER = "caller"
"""Who is asked where no role is: whoever started the run."""


def workers_named(registered: Mapping[str, Collection[str]]) -> Check:
    """Whoever a workflow's `fallback` and `scratchpad` name is there."""

    def check(configuration: Configuration) -> Iterator[Problem]:
        agents = _known(configuration, "agents", registered)
        slugs = agents | _known(configuration, "workflows", registered)
        servers = _known(configuration, "servers", registered) | _known(configuration, "buses", registered)
        for workflow, settings in configuration.entries("workflows").items():
            at = child("workflows", workflow)
            for failed in _mapping(settings, "fallback"):
                server, slash, _ = failed.partition("/")
                if slash and server not in servers:
                    path = child(child(at, "fallback"), failed)
                    message = f"there is no server {server!r} from whose tool anybody could take over"
                    yield configuration.problem(path, message, name=server, known=sorted(servers))
                elif not slash and failed not in agents:
                    message = f"there is no agent {failed!r} from which anybody could take over"
                    path = child(child(at, "fallback"), failed)
                    yield configuration.problem(path, message, name=failed, known=sorted(agents))
            for key, rule in _mapping(settings, "scratchpad").items():
                for name in ("writers", "readers"):
                    for index, slug in enumerate(getattr(rule, name, ())):
                        if slug in slugs or slug.partition("/")[0] in servers:
                            continue
                        path = child(child(child(child(at, "scratchpad"), key), name), index)
                        message = f"there is no agent {slug!r}"
                        yield configuration.problem(path, message, name=slug, known=sorted(slugs))

    return check


def somebody_can_answer(configuration: Configuration) -> Iterator[Problem]:
    """Roles that are asked and that nobody here has a name for: legal, as tokens may bring others, and probably not
    meant. A question to nobody waits until its time is up."""
    roles = configuration.entries("roles")
    for workflow, settings in configuration.entries("workflows").items():
        at = child("workflows", workflow)
        asked = [(child(child(at, "router"), "person"), getattr(getattr(settings, "router", None), "person", ""))]
        for index, stage in enumerate(getattr(settings, "stages", ())):
            path = child(child(child(child(at, "stages"), index), "approve"), "role")
            asked.append((path, getattr(getattr(stage, "approve", None), "role", "")))
        for path, role in asked:
            if role and role != CALLER and role not in roles:
                message = f"there is no role {role!r}: perhaps nobody can answer, and the question waits in vain"
                yield configuration.problem(path, message, severity="warning", name=role, known=[*roles])


def somebody_is_charged(registered: Mapping[str, Collection[str]]) -> Check:
    """Budgets and prices of agents and tools that are not there: legal, as they may come, and nothing counts there."""

    def check(configuration: Configuration) -> Iterator[Problem]:
        agents = _known(configuration, "agents", registered)
        servers = _known(configuration, "servers", registered) | _known(configuration, "buses", registered)
        for section in ("budgets", "prices"):
            settings = configuration.sections.get(section)
            for slug in _mapping(settings, "agents"):
                if slug not in agents:
                    path, message = child(child(section, "agents"), slug), f"there is no agent {slug!r}"
                    yield configuration.problem(path, message, severity="warning", name=slug, known=sorted(agents))
            for tool in _mapping(settings, "tools"):
                server = tool.partition("/")[0]
                if server not in servers:
                    path, message = child(child(section, "tools"), tool), f"there is no server {server!r}"
                    yield configuration.problem(path, message, severity="warning", name=server, known=sorted(servers))

    return check


def _known(configuration: Configuration, section: str, registered: Mapping[str, Collection[str]]) -> set[str]:
    return {*configuration.entries(section), *registered.get(section, ())}


def _mapping(settings: object, name: str) -> Mapping[str, BaseModel]:
    return cast("Mapping[str, BaseModel]", getattr(settings, name, None) or {})
