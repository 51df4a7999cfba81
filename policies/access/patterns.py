"""Globs over gateway-wide capability names. Knows names and tags, nothing of what they stand for.

A pattern is `KIND:OWNER/LOCAL` (`tool:orders/*`), `KIND:OWNER` for agents and workflows (`agent:*`), `tag:NAME`, or
`*`. Owner and local name are matched apart, so no wildcard reaches from one owner into another. `*` stands for any
characters, `/` included, `**` for the same, `?` for one character; nothing else is special.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.core.model import Capability

KINDS = ("tool", "prompt", "resource", "method", "agent", "workflow")
_WITHOUT_LOCAL = frozenset({"agent", "workflow"})
LONGEST = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a pattern is held against."""

    kind: str
    """One of `KINDS`; templates count as resources."""
    owner: str
    local: str
    tags: frozenset[str] = frozenset()


def target_of(capability: Capability) -> Target:
    """How patterns see a capability."""
    return target_named(capability.name, capability.tags)


def target_named(name: str, tags: Iterable[str] = ()) -> Target:
    """How patterns see whatever is called `name`."""
    kind, _, rest = name.partition(":")
    owner, _, local = rest.partition("/")
    return Target(kind="resource" if kind == "template" else kind, owner=owner, local=local, tags=frozenset(tags))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A parsed pattern; build with `parse_pattern` or `exactly`."""

    text: str
    kind: str = "*"
    owner: str = "*"
    local: str = "*"
    tag: str = ""
    """Glob over tags; the other parts do not count where there is one."""
    literal: bool = False
    """Wildcards stand for themselves."""

    def matches(self, target: Target) -> bool:
        """Whether the pattern names the target."""
        if self.tag:
            return any(glob_matches(self.tag, tag) for tag in target.tags)
        if self.kind not in ("*", target.kind):
            return False
        if self.literal:
            return self.owner == target.owner and self.local == target.local
        return glob_matches(self.owner, target.owner) and glob_matches(self.local, target.local)

    @property
    def narrow(self) -> bool:
        """Whether it names some of an owner's entries only, so that an entry's own name decides."""
        return not self.tag and self.local != "*"

    def may_name_some_of(self, kind: str, owner: str) -> bool:
        """Whether it may name something of this kind and owner, whatever it is called."""
        return not self.tag and self.kind in ("*", kind) and glob_matches(self.owner, owner)

    def covers(self, other: "Pattern") -> bool:
        """Whether it certainly names everything `other` names. Errs towards no."""
        if self.tag or other.tag:
            return bool(self.tag and other.tag) and glob_covers(self.tag, other.tag)
        if self.kind not in ("*", other.kind):
            return False
        if self.literal:
            return other.literal and (self.owner, self.local) == (other.owner, other.local)
        return glob_covers(self.owner, other.owner) and glob_covers(self.local, other.local)


def parse_pattern(text: str) -> Pattern:
    """The pattern written as `text`.

    Raises: ValueError: it is none; the message says what would be.
    """
    if len(text) > LONGEST or not text.isprintable():
        raise ValueError(f"a pattern is at most {LONGEST} printable characters")
    if text in ("*", "**"):
        return Pattern(text=text)
    kind, colon, rest = text.partition(":")
    if not colon:
        raise ValueError(_without_kind(text))
    if not rest:
        raise ValueError(f"{text!r} names nothing after the colon; write {text + '*'!r} for all of them")
    if kind == "tag":
        return Pattern(text=text, tag=collapse(rest))
    if kind != "*" and kind not in KINDS:
        raise ValueError(f"{kind!r} is no kind; there are {', '.join(KINDS)}, tag and *")
    return _of_kind(text, kind, rest)


def _of_kind(text: str, kind: str, rest: str) -> Pattern:
    owner, slash, local = rest.partition("/")
    if kind in _WITHOUT_LOCAL:
        if slash:
            raise ValueError(f"{kind}s have no parts; write for example '{kind}:{owner or '*'}'")
        return Pattern(text=text, kind=kind, owner=collapse(owner))
    if not slash and collapse(owner) != "*":
        raise ValueError(f"{text!r} names no {'entry' if kind == '*' else kind}; write {text + '/*'!r} for all of them")
    if not owner or (slash and not local):
        raise ValueError(f"{text!r} is incomplete; write for example {f'{kind}:orders/*'!r}")
    return Pattern(text=text, kind=kind, owner=collapse(owner), local=collapse(local) if slash else "*")


def exactly(name: str) -> Pattern:
    """The pattern that names `name` and nothing else, whatever characters it has."""
    target = target_named(name)
    if target.kind in _WITHOUT_LOCAL:
        return Pattern(text=name, kind=target.kind, owner=target.owner)
    return Pattern(text=name, kind=target.kind, owner=target.owner, local=target.local, literal=True)


def glob_matches(glob: str, text: str) -> bool:
    """Whether `text` has the shape of `glob`. Takes at most len(glob) * len(text) steps."""
    if glob == "*":
        return True
    if "*" not in glob and "?" not in glob:
        return glob == text
    return _fits(glob, text, frozenset())


def glob_covers(glob: str, other: str) -> bool:
    """Whether everything `other` matches certainly matches `glob`: `other` read as text in which a wildcard is a
    character that only wildcards match."""
    return _fits(glob, other, frozenset("*"))


def collapse(glob: str) -> str:
    """The glob with `**` written as `*`."""
    while "**" in glob:
        glob = glob.replace("**", "*")
    return glob


def _fits(glob: str, text: str, unmatched_by_one: frozenset[str]) -> bool:
    """Greedy matching with one point to return to: going back beyond the last `*` can never help."""
    at_glob = at_text = 0
    star = -1
    star_text = 0
    while at_text < len(text):
        sign = glob[at_glob] if at_glob < len(glob) else ""
        if sign == "*":
            star, star_text = at_glob, at_text
            at_glob += 1
        elif sign and text[at_text] not in unmatched_by_one and sign in ("?", text[at_text]):
            at_glob += 1
            at_text += 1
        elif star >= 0:
            star_text += 1
            at_glob, at_text = star + 1, star_text
        else:
            return False
    return not glob[at_glob:].strip("*")


def _without_kind(text: str) -> str:
    if "/" in text:
        return f"{text!r} names no kind; write {'tool:' + text!r}"
    return f"{text!r} is no pattern; write for example 'tool:orders/*', 'agent:{text or 'refunds'}' or 'tag:read'"
