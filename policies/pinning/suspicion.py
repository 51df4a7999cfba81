"""Definitions that talk to the model instead of about the tool: found by rule, and said to be. Pure; forbids nothing.

Each rule is a bounded expression over one text, tried without case on what a person sees and with hidden characters
gone, so that neither splits a word in two. Rules find what attacks on tool descriptions have in common; a description
that is merely bossy is found as well, and one that is clever enough is not. That is why a change is held whatever it
says, and a flag only makes somebody look.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.core.json import Json, json_from
from policies.pinning.hidden_text import hidden_count, without_hidden

_MOST_FLAGS = 20
_LONGEST = 20_000
"""Characters of one text that are looked at."""
_EXCERPT = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One thing that is odd about a definition."""

    rule: str
    at: str
    """Path of the text, such as `inputSchema.properties.note.description`."""
    excerpt: str
    """What was found, for people; nothing hidden in it."""


_OF_ORDERS = r"(?:instructions?|rules?|prompts?|guidelines|polic(?:y|ies)|restrictions?|messages?)"
_TELL = r"(?:tell|mention|inform|reveal|show|notify|ask)(?:ing)?|telling"
_SECRETS = (
    r"(?:api[ _-]?keys?|passwords?|credentials?|private[ _-]?keys?|access[ _-]?tokens?|secrets?\b|system prompt"
    r"|(?:whole|full|entire|previous) (?:conversation|chat|history))"
)

RULES: Mapping[str, tuple[str, str]] = {
    "override": (
        "sets aside what the model was told",
        rf"\b(?:ignore|disregard|forget|override|bypass)\b.{{0,40}}\b{_OF_ORDERS}\b",
    ),
    "secrecy": (
        "wants something kept from the person",
        rf"\b(?:do not|don'?t|never|without|must not|avoid)\b.{{0,30}}\b(?:{_TELL})\b"
        r".{0,20}\b(?:user|human|person|anyone|them|him|her)\b",
    ),
    "voice": (
        "speaks in another's voice",
        r"<\s*/?\s*(?:important|system|secret|instructions?|assistant|admin|developer)\s*/?\s*>"
        r"|\[/?INST\]|<\|[a-z_]{2,20}\|>|^\s*#{0,6}\s*(?:system|assistant|developer)\s*(?:prompt|message)?\s*:",
    ),
    "first": (
        "wants something done before or beside the tool's own work",
        r"\b(?:before|after|whenever|prior to|instead of)\b.{0,40}\b(?:us(?:e|ing)|call(?:ing)?|invok(?:e|ing))\b"
        r".{0,30}\b(?:tools?|functions?|anything)\b.{0,80}\b(?:must|first|always|should|read|call|send|use)\b"
        r"|\byou (?:must|should|have to) (?:always|first|also)\b.{0,40}\b(?:call|read|send|use|invoke|include|pass)\b",
    ),
    "persona": (
        "gives the model another role",
        r"\b(?:you are now|from now on,? you|act as (?:a|an|the)\b|pretend (?:to be|you))",
    ),
    "secrets": (
        "asks for what is secret",
        r"\b(?:send|include|pass|append|forward|copy|attach|provide|put|read|upload|leak)\b.{0,60}" + _SECRETS,
    ),
    "files": (
        "names files that hold secrets",
        r"~/\.(?:ssh|aws|config|kube|gnupg|netrc|cursor)|\bid_(?:rsa|ed25519)\b|/etc/(?:passwd|shadow)"
        r"|\bmcp\.json\b|(?<![\w.])\.env\b",
    ),
    "comment": ("has a comment no client shows", r"<!--"),
    "encoded": ("holds a long encoded piece", r"[A-Za-z0-9+/=_-]{160,}"),
}
"""Name to what it means and what it looks for. Beside these, `hidden`: characters nobody sees."""
HIDDEN = "hidden"

_COMPILED = {
    name: re.compile(pattern, re.IGNORECASE | re.DOTALL | re.MULTILINE) for name, (_, pattern) in RULES.items()
}


def flags_in(definition: Mapping[str, Json]) -> tuple[Flag, ...]:
    """What is odd about a definition, at most 20 things."""
    found: list[Flag] = []
    for at, text in _texts(json_from(definition), ""):
        found += _flags(at, text)
        if len(found) >= _MOST_FLAGS:
            break
    return tuple(found[:_MOST_FLAGS])


def meaning_of(rule: str) -> str:
    """What a flag of this rule says of a definition, in a few words."""
    return "holds characters nobody sees" if rule == HIDDEN else RULES[rule][0]


def _flags(at: str, text: str) -> Iterator[Flag]:
    hidden = hidden_count(text)
    if hidden:
        yield Flag(rule=HIDDEN, at=at, excerpt=f"{hidden} of {len(text)} characters")
    seen = without_hidden(text[:_LONGEST])
    for rule, pattern in _COMPILED.items():
        match = pattern.search(seen)
        if match is not None:
            yield Flag(rule=rule, at=at, excerpt=" ".join(match.group().split())[:_EXCERPT])


def _texts(value: Json, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _texts(each, f"{at}[{index}]")
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(each, f"{at}.{key}" if at else key)
