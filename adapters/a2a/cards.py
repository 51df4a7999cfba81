"""Cards as they are served: rendered once for each state of the catalog. Knows no HTTP beyond the entity tag."""

from dataclasses import dataclass
from hashlib import sha256

from adapters.a2a.publish import Face, card_of, published_card
from adapters.a2a.wire.envelope import encode
from gateway.core.errors import NotFound
from gateway.core.model import Capability, Principal, principal
from gateway.core.ports.gateway import Gateway

_ANYBODY = principal("anybody")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A card as bytes."""

    body: bytes
    etag: bytes


class Cards:
    """The published cards of agents and workflows."""

    def __init__(self, gateway: Gateway, face: Face) -> None:
        self._gateway = gateway
        self._public_url = face.public_url.rstrip("/")
        self._challenges = face.challenges
        self._rendered: dict[str, tuple[Capability, tuple[str, ...], Shown]] = {}

    def find(self, slug: str, who: Principal | None) -> Shown:
        """The card of what `who` may call; to nobody in particular, of anything. Raises: NotFound."""
        capability = self._visible(slug, who)
        if capability is None:
            self._rendered.pop(slug, None)
            raise NotFound(f"there is no agent called {slug}")
        rendered = self._rendered.get(slug)
        issuers = tuple(self._challenges.issuers)
        if rendered is None or rendered[0] is not capability or rendered[1] != issuers:
            rendered = (capability, issuers, self._render(slug, capability, issuers))
            self._rendered[slug] = rendered
        return rendered[2]

    def _visible(self, slug: str, who: Principal | None) -> Capability | None:
        if who is not None:
            visible = self._gateway.visible(who, frozenset({"agent", "workflow"}), slug)
            return next(iter(visible), None)
        return self._gateway.find(_ANYBODY, f"agent:{slug}") or self._gateway.find(_ANYBODY, f"workflow:{slug}")

    def _render(self, slug: str, capability: Capability, issuers: tuple[str, ...]) -> Shown:
        card = capability.definition
        if capability.kind == "workflow":
            card = card_of(
                slug,
                title=capability.title or slug,
                description=capability.description or f"The workflow {slug}.",
                tags=tuple(sorted(capability.tags)),
            )
        body = encode(published_card(card, slug, self._public_url, issuers))
        return Shown(body=body, etag=b'"%b"' % sha256(body).hexdigest().encode())
