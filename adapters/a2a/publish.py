"""The cards the gateway publishes: of foreign agents, with its own address in them, and of its workflows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adapters.a2a.card import DELEGATION, visible_text
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.ports.gateway import BareChallenges, Challenges

_BEARER: JsonObject = {"httpAuthSecurityScheme": {"scheme": "Bearer"}}
_ADDRESSES = ("url", "preferredTransport", "additionalInterfaces", "protocolVersion", "security")
"""How A2A 0.3 said where an agent is and how to get in; kept, they would lead around the gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """How the gateway shows itself to whoever looks for its agents."""

    public_url: str
    public_cards: bool = False
    """Cards are shown to anybody; otherwise only to who may call the agent."""
    challenges: Challenges = field(default_factory=BareChallenges)


def published_card(card: Mapping[str, Json], slug: str, public_url: str, issuers: Sequence[str] = ()) -> JsonObject:
    """The card as the gateway republishes it: the gateway's address and credentials, everything else as it was.

    A key of the gateway's gets in, or an access token of one of the `issuers`.

    Signatures go, because they cover the address (A2A 1.0, section 8.4).
    """
    kept = {name: value for name, value in card.items() if name not in _ADDRESSES and name != "signatures"}
    capabilities = json_object(kept.get("capabilities"))
    extensions = [
        each for each in json_list(capabilities.get("extensions")) if json_object(each).get("uri") != DELEGATION
    ]
    schemes = _schemes(issuers)
    return {
        **kept,
        **{name: visible_text(json_text(kept.get(name))) for name in ("name", "description")},
        "supportedInterfaces": [
            {"url": f"{public_url}/agents/{slug}", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
        ],
        "capabilities": {
            **{name: value for name, value in capabilities.items() if name != "extensions"},
            **({"extensions": extensions} if extensions else {}),
            "pushNotifications": False,
            "extendedAgentCard": False,
        },
        "securitySchemes": schemes,
        "securityRequirements": [{"schemes": {name: {"list": []}}} for name in schemes],
        "skills": [_published_skill(json_object(each)) for each in json_list(kept.get("skills"))],
    }


def _schemes(issuers: Sequence[str]) -> JsonObject:
    schemes: JsonObject = {"bearer": _BEARER}
    for number, issuer in enumerate(issuers, start=1):
        url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        schemes[f"issuer{number}"] = {"openIdConnectSecurityScheme": {"openIdConnectUrl": url}}
    return schemes


def card_of(slug: str, *, title: str, description: str, tags: tuple[str, ...] = ()) -> JsonObject:
    """A card for something that is an agent only at the gateway, to go through `published_card`."""
    skill: JsonObject = {"id": slug, "name": title, "description": description, "tags": [*tags] or ["workflow"]}
    return {
        "name": title,
        "description": description,
        "version": "1",
        "capabilities": {"streaming": True},
        "defaultInputModes": ["text/plain", "application/json"],
        "defaultOutputModes": ["text/plain", "application/json"],
        "skills": [skill],
    }


def _published_skill(skill: JsonObject) -> JsonObject:
    shown: JsonObject = {
        name: value for name, value in skill.items() if name not in ("securityRequirements", "security")
    }
    for name in ("name", "description"):
        shown[name] = visible_text(json_text(skill.get(name)))
    for name in ("tags", "examples"):
        if name in skill:
            shown[name] = [visible_text(json_text(each)) for each in json_list(skill.get(name))]
    return shown
