"""Agent cards: what a foreign card must be before it is believed, and what is shown of it.

A card is written by an outsider and read by models and people, so its text is bounded, and what cannot be seen is
taken out of it. Knows nothing of HTTP: a card is fetched through a callable, which brings the egress guard with it.
"""

import unicodedata
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeAlias
from urllib.parse import urlsplit

from adapters.a2a.wire.envelope import decode_object, deeper_than
from adapters.net.address import Address, address_from_url
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, canonical_json, json_list, json_object, json_text

FetchCard: TypeAlias = Callable[[str], Awaitable[bytes]]
"""The body behind a URL, bounded in size and time. Raises: GatewayError."""

WELL_KNOWN = "/.well-known/agent-card.json"
DELEGATION = "urn:drawbridge:delegation:1"
"""Extension under which an agent is handed a token for the step it works on."""
PROTOCOL_MAJOR = "1"
LARGEST_CARD = 256 * 1024
DEEPEST_CARD = 32
MOST_SKILLS = 256
LONGEST_NAME = 200
LONGEST_TEXT = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """A skill, as it may be shown."""

    id: str
    name: str
    description: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCard:
    """A card that was found acceptable, and what the gateway goes by. Texts are safe to show."""

    raw: bytes = field(repr=False)
    """Exactly as fetched."""
    card: JsonObject = field(repr=False)
    digest: str
    """SHA-256, hex, of the canonical JSON."""
    name: str
    description: str
    version: str
    url: str
    """Where calls go."""
    route: str = ""
    """`tenant` of the interface, to be sent with every request (A2A 1.0, multi-tenancy)."""
    streaming: bool = False
    extensions: frozenset[str] = frozenset()
    skills: tuple[Skill, ...] = ()
    interfaces: tuple[str, ...] = ()
    """`BINDING VERSION at URL`, for people."""
    security: tuple[str, ...] = ()
    """Names of the security schemes it declares."""


def card_url(address: str) -> str:
    """Where the card is, given its own URL or that of its host."""
    parts = urlsplit(address)
    if parts.path.endswith(".json"):
        return address
    return parts._replace(path=parts.path.rstrip("/") + WELL_KNOWN, query="", fragment="").geturl()


def check_card(raw: bytes, fetched_from: str, *, url: str = "") -> CheckedCard:
    """What a card says, once it has been found acceptable; `url` replaces the address it names.

    Raises: InvalidRequest: names the field, what is wrong with it, and what would be right.
    """
    if len(raw) > LARGEST_CARD:
        raise InvalidRequest(f"the card has {len(raw)} bytes; at most {LARGEST_CARD} are read")
    try:
        card = decode_object(raw)
        digest = sha256(canonical_json(card)).hexdigest()
    except (InvalidRequest, ValueError, RecursionError) as error:
        raise InvalidRequest("what was fetched is no agent card: it is not a JSON object") from error
    if deeper_than(card, DEEPEST_CARD):
        raise InvalidRequest(f"the card nests deeper than {DEEPEST_CARD} levels")
    place, interface = _interface(card)
    named = json_text(interface.get("url"))
    capabilities = json_object(card.get("capabilities"))
    if not url:
        _check_address(f"{place}.url", named, fetched_from)
    return CheckedCard(
        raw=raw,
        card=card,
        digest=digest,
        name=_required(card, "name", LONGEST_NAME),
        description=_required(card, "description", LONGEST_TEXT),
        version=_required(card, "version", LONGEST_NAME),
        url=url or named,
        route=json_text(interface.get("tenant")),
        streaming=capabilities.get("streaming") is True,
        extensions=frozenset(
            json_text(json_object(each).get("uri")) for each in json_list(capabilities.get("extensions"))
        ),
        skills=_skills(card),
        interfaces=tuple(_described(json_object(each)) for each in json_list(card.get("supportedInterfaces"))),
        security=tuple(sorted(visible_text(each) for each in json_object(card.get("securitySchemes")))),
    )


def visible_text(text: str) -> str:
    """`text` without what a person would not see: controls, format and private characters, variation selectors."""
    return "".join(character for character in text if _visible(character))


def _visible(character: str) -> bool:
    if character in "\n\t" or " " <= character <= "~":
        return True
    if "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef":
        return False
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _required(fields: JsonObject, name: str, longest: int, place: str = "") -> str:
    value = fields.get(name)
    shown = f"{place}{name}"
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequest(f"the card lacks {shown}: it has to be a text", detail={"field": shown})
    return _bounded(value, shown, longest)


def _bounded(text: str, shown: str, longest: int) -> str:
    if len(text) > longest:
        raise InvalidRequest(
            f"the card's {shown} has {len(text)} characters; at most {longest} are accepted", detail={"field": shown}
        )
    return visible_text(text)


def _interface(card: JsonObject) -> tuple[str, JsonObject]:
    """The interface to call, and its place in the card."""
    interfaces = json_list(card.get("supportedInterfaces"))
    for index, each in enumerate(interfaces):
        interface = json_object(each)
        major = json_text(interface.get("protocolVersion")).partition(".")[0]
        if interface.get("protocolBinding") == "JSONRPC" and major == PROTOCOL_MAJOR:
            return f"supportedInterfaces[{index}]", interface
    offered = ", ".join(_described(json_object(each)) for each in interfaces[:5]) or "nothing"
    raise InvalidRequest(
        f"the card's supportedInterfaces has no JSONRPC interface of A2A 1.x; it offers {offered}",
        detail={"field": "supportedInterfaces"},
    )


def _described(interface: JsonObject) -> str:
    binding, version, url = (
        visible_text(json_text(interface.get(name)))[:LONGEST_NAME] or "?"
        for name in ("protocolBinding", "protocolVersion", "url")
    )
    return f"{binding} {version} at {url}"


def _check_address(field_name: str, url: str, fetched_from: str) -> None:
    """An agent answers for its own host only: a card that names another would have its calls sent there."""
    own = address_from_url(fetched_from)
    expected = _origin(own)
    try:
        named = address_from_url(url)
    except InvalidRequest:
        host = "no address that can be called"
    else:
        if (named.secure, named.host) == (own.secure, own.host):
            return
        host = _origin(named)
    raise InvalidRequest(
        f"the card's {field_name} names {host}, but the card was fetched from {expected}; it has to be on {expected} "
        "(any port), or set `url` in the agent's entry to say where to call it",
        detail={"field": field_name, "host": host, "expected": expected},
    )


def _origin(address: Address) -> str:
    """Scheme and host; ports are left to the agent."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{'https' if address.secure else 'http'}://{host}"


def _skills(card: JsonObject) -> tuple[Skill, ...]:
    skills = json_list(card.get("skills"))
    if not skills or len(skills) > MOST_SKILLS:
        raise InvalidRequest(f"the card has to have 1 to {MOST_SKILLS} skills", detail={"field": "skills"})
    return tuple(_skill(json_object(each), f"skills[{index}].") for index, each in enumerate(skills))


def _skill(skill: JsonObject, place: str) -> Skill:
    return Skill(
        id=_required(skill, "id", LONGEST_NAME, place),
        name=_required(skill, "name", LONGEST_NAME, place),
        description=_bounded(json_text(skill.get("description")), f"{place}description", LONGEST_TEXT),
        tags=tuple(
            _bounded(json_text(tag), f"{place}tags", LONGEST_NAME) for tag in json_list(skill.get("tags"))[:MOST_SKILLS]
        ),
    )


def knows_delegation(card: Json) -> bool:
    """Whether a card declares that its agent knows what to do with a step's token."""
    extensions = json_list(json_object(json_object(card).get("capabilities")).get("extensions"))
    return any(json_object(each).get("uri") == DELEGATION for each in extensions)
