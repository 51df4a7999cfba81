"""What can be seen across sections of the messages that start runs: where they come from, as whom they act, and that no
run starts itself over again."""

from collections.abc import Iterator, Mapping
from typing import cast

from gateway.config.document import child
from gateway.config.load import Configuration
from gateway.config.problems import Problem
from gateway.core.catalog import EVERY_TENANT


def starts_lead_somewhere(configuration: Configuration) -> Iterator[Problem]:
    """Every topic that starts a workflow is there, starts no other, and acts as somebody who may."""
    first: dict[tuple[str, str], str] = {}
    for slug, workflow in configuration.entries("workflows").items():
        yield from _no_bus(configuration, slug, workflow)
        for path, start in _starts(slug, workflow):
            problems = [*_unknown(configuration, path, start)]
            yield from problems
            if problems:
                continue
            yield from _unfit(configuration, path, start, workflow)
            named = (start.bus, start.topic)
            if named in first:
                message = f"{start.bus}/{start.topic} starts workflow {first[named]!r} already"
                expected = "one topic starts one workflow; let a router or another pattern share its messages out"
                yield configuration.problem(child(path, "topic"), message, expected=expected)
            first.setdefault(named, slug)


def runs_do_not_start_themselves(configuration: Configuration) -> Iterator[Problem]:
    """No message leads, by what its runs call and where they answer, to a message of the same topic."""
    workflows = configuration.entries("workflows")
    starts = [(slug, path, start) for slug, each in workflows.items() for path, start in _starts(slug, each)]
    leads: dict[str, set[str]] = {}
    for slug, _, start in starts:
        called = {name for each in _with_nested(slug, workflows) for name in _tools(configuration, workflows[each])}
        answered = {f"{start.bus}/{start.answers_to}"} if start.answers_to else set[str]()
        leads.setdefault(f"{start.bus}/{start.topic}", set()).update(called | answered)
    for _, path, start in starts:
        named = f"{start.bus}/{start.topic}"
        if named in _reached(named, leads):
            message = f"a run that {named} starts leads to another message on {named}, and so on for ever"
            expected = "let it answer on, and call, topics that start none of what started it"
            yield configuration.problem(path, message, expected=expected)


def _no_bus(configuration: Configuration, slug: str, workflow: object) -> Iterator[Problem]:
    """The bus of an event-driven workflow is there, and has topics."""
    buses, name = configuration.entries("buses"), _bus_of(workflow)
    path = child(child(child("workflows", slug), "event_driven"), "bus")
    if name and name not in buses:
        yield configuration.problem(path, f"there is no bus {name!r}", name=name, known=sorted(buses))
    elif name and not _topics(buses[name]):
        expected = f"write them under buses.{name}.topics"
        yield configuration.problem(path, f"bus {name} has no topics that could take tasks", expected=expected)


class _Start:
    """The fields of one entry, whatever its type."""

    def __init__(self, settings: object) -> None:
        self.bus: str = getattr(settings, "bus", "")
        self.topic: str = getattr(settings, "topic", "")
        self.principal: str = getattr(settings, "principal", "")
        self.answers_to: str = getattr(settings, "answers_to", None) or ""


def _unknown(configuration: Configuration, path: str, start: _Start) -> Iterator[Problem]:
    buses, principals = configuration.entries("buses"), configuration.entries("principals")
    bus = buses.get(start.bus)
    if bus is None:
        where = child(path, "bus")
        yield configuration.problem(where, f"there is no bus {start.bus!r}", name=start.bus, known=sorted(buses))
    else:
        topics = _topics(bus)
        if start.topic not in topics:
            message = f"bus {start.bus} has no topic {start.topic!r}"
            expected = "" if topics else f"write it under buses.{start.bus}.topics"
            where = child(path, "topic")
            yield configuration.problem(where, message, name=start.topic, known=topics, expected=expected)
    if start.principal not in principals:
        message = f"there is no principal {start.principal!r}"
        where = child(path, "principal")
        yield configuration.problem(where, message, name=start.principal, known=sorted(principals))


def _unfit(configuration: Configuration, path: str, start: _Start, workflow: object) -> Iterator[Problem]:
    bus = configuration.entries("buses")[start.bus]
    who = configuration.entries("principals")[start.principal]
    tenant = _tenant(who)
    if getattr(who, "kind", "") == "operator":
        message = f"{start.principal!r} is an operator, and messages act as none"
        yield configuration.problem(child(path, "principal"), message, expected="name a client or an agent")
    for kind, settings in (("bus", bus), ("workflow", workflow)):
        if _tenant(settings) not in (tenant, EVERY_TENANT):
            message = f"{start.principal!r} is of tenant {tenant!r}, and the {kind} of {_tenant(settings)!r}"
            expected = f"have both in one tenant, or the {kind} for everybody with `tenant: '*'`"
            yield configuration.problem(child(path, "principal"), message, expected=expected)
    own = {getattr(bus, "replies", ""): "replies", getattr(bus, "dead_letters", ""): "dead_letters"}
    if start.topic in own:
        message = f"{start.topic} is where bus {start.bus} has its {own[start.topic]}"
        yield configuration.problem(child(path, "topic"), message, expected="have them on different topics")


def _with_nested(slug: str, workflows: Mapping[str, object]) -> set[str]:
    """The workflow and every workflow it may give work to, however deep."""
    leads = {each: _targets(settings, "workflow:") & workflows.keys() for each, settings in workflows.items()}
    return {slug, *_reached(slug, leads)}


def _reached(begin: str, leads: Mapping[str, set[str]]) -> set[str]:
    """Everything one comes to from there."""
    found, ahead = set[str](), [*leads.get(begin, ())]
    while ahead:
        each = ahead.pop()
        if each not in found:
            found.add(each)
            ahead += leads.get(each, ())
    return found


def _targets(workflow: object, kind: str) -> set[str]:
    targets = cast("frozenset[str]", getattr(workflow, "targets", frozenset[str]()))
    return {each.removeprefix(kind) for each in targets if each.startswith(kind)}


def _tools(configuration: Configuration, workflow: object) -> set[str]:
    """What runs may call, the topics of an event-driven workflow's bus included."""
    name = _bus_of(workflow)
    topics = _topics(configuration.entries("buses").get(name))
    return _targets(workflow, "tool:") | {f"{name}/{topic}" for topic in topics}


def _bus_of(workflow: object) -> str:
    return str(getattr(getattr(workflow, "event_driven", None), "bus", ""))


def _topics(bus: object) -> list[str]:
    return sorted(cast("Mapping[str, object]", getattr(bus, "topics", {})))


def _starts(slug: str, workflow: object) -> Iterator[tuple[str, _Start]]:
    path = child(child("workflows", slug), "started_by")
    for index, each in enumerate(cast("tuple[object, ...]", getattr(workflow, "started_by", ()))):
        yield child(path, index), _Start(each)


def _tenant(settings: object) -> str:
    return str(getattr(settings, "tenant", ""))
