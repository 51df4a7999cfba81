"""What a server says of the token it wants (RFC 6750, section 3; RFC 9728, section 5.1). Pure; believes none of it."""

import re
from dataclasses import dataclass

MOST_SCOPES = 50
_LONGEST = 8 * 1024
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_ITEM = re.compile(rf"""[\s,]*({_WORD})(?:\s*=\s*("(?:[^"\\]|\\.)*"|[!#$%&'*+.^_`|~0-9A-Za-z:/-]+))?""")
_ESCAPED = re.compile(r"\\(.)")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """Of the scheme Bearer."""

    scopes: tuple[str, ...] = ()
    """What the token has to be good for."""
    metadata_url: str = ""
    """Where it is said who gives tokens."""
    insufficient: bool = False
    """The token that was shown counts, but not for this."""


NO_CHALLENGE = Challenge()


def challenge_from(header: str) -> Challenge:
    """The first Bearer challenge in `WWW-Authenticate`; an empty one where there is none."""
    said = _bearer(header[:_LONGEST])
    return Challenge(
        scopes=scopes_in(said.get("scope", "")),
        metadata_url=said.get("resource_metadata", ""),
        insufficient=said.get("error") == "insufficient_scope",
    )


def scopes_in(text: str) -> tuple[str, ...]:
    """Scopes as RFC 6749, section 3.3, writes them; none where one of them is none, or there are too many."""
    found = tuple(dict.fromkeys(text.split()))
    return found if len(found) <= MOST_SCOPES and all(map(_SCOPE.fullmatch, found)) else ()


def _bearer(header: str) -> dict[str, str]:
    said: dict[str, str] = {}
    inside, at = False, 0
    while item := _ITEM.match(header, at):
        at = item.end()
        name, value = item[1].lower(), item[2]
        if value is not None:
            if inside:
                said.setdefault(name, _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value)
        elif inside:
            break  # another scheme
        else:
            inside = name == "bearer"
        if not inside and header[at : at + 1] not in ("", ",", " "):
            # A credential in one piece (RFC 9110, "token68") is not for us.
            at = header.find(",", at)
            if at < 0:
                break
    return said
