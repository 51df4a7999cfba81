"""Resource templates: one entry in a list, many resources behind it. Knows how a URI can hide where it leads."""

from dataclasses import replace
from urllib.parse import unquote

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


def uri_of(arguments: Json) -> str:
    """The URI a read asks for, or empty."""
    return json_text(json_object(arguments).get("uri"))


def is_plain(uri: str) -> bool:
    """Whether the URI names what its text says: no dot segments, however often they are escaped."""
    previous = ""
    while previous != uri:
        if any(segment in (".", "..") for segment in uri.replace("\\", "/").split("/")):
            return False
        previous, uri = uri, unquote(uri)
    return "\0" not in uri
