"""Resource templates: one entry in a list, many resources behind it."""

from dataclasses import replace

from gateway.core.json import Json, json_object, json_text
from gateway.core.model import AgentClass, Capability
from policies.access.compiler import Compiler
from policies.access.rules import Rule


def narrow_rules(compiler: Compiler, agent: AgentClass, template: Capability) -> list[Rule]:
    """Rules that name some resources of the template's owner and not others, so that the URI decides."""
    return [
        rule
        for rule in compiler.concerning(agent)
        if rule.pattern.narrow and rule.pattern.may_name_some_of("resource", template.owner)
    ]


def named_resource(template: Capability, uri: str) -> Capability:
    """The resource `uri` as if the owner had listed it."""
    return replace(template, name=f"resource:{template.owner}/{uri}", kind="resource", local=uri)


def templates_of(unlisted: Capability) -> list[Capability]:
    """The templates that what is not listed may have been made from."""
    return [
        replace(unlisted, name=name, kind="template", local=name.partition("/")[2], made_from=())
        for name in unlisted.made_from
    ]


def uri_of(arguments: Json) -> str:
    """The URI a read asks for, or empty."""
    return json_text(json_object(arguments).get("uri"))
