"""What was seen of the definitions servers give, and which of it counts as trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.core.json import Json

PinningMode = Literal["first_use", "approve", "off"]
"""`first_use`: what is seen first is trusted, a change waits for approval; `approve`: the first one waits as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One definition: as it was trusted, and as it was last seen. Kept for good, so that a definition that goes and
    comes back is still compared."""

    tenant: str
    """Of the server; `*` for every tenant's."""
    owner: str
    """Slug of the server."""
    name: str
    """`tool:orders/refund`, `prompt:orders/reply`, `instructions:orders`."""
    digest: str = ""
    """Of what is trusted; empty where nothing is yet."""
    definition: Mapping[str, Json] = field(default_factory=dict[str, Json], repr=False)
    """What is trusted."""
    approved_at_us: int = 0
    approved_by: str = ""
    """Empty where it was trusted because it was the first."""
    seen_digest: str
    seen: Mapping[str, Json] = field(default_factory=dict[str, Json], repr=False)
    """What the server said last, to whichever gateway asked last."""
    seen_at_us: int


class Pins(Protocol):
    """The pins of all servers."""

    async def all(self) -> tuple[Pin, ...]:
        """Every pin, ordered by tenant, owner and name."""
        ...

    async def see(self, pins: Sequence[Pin]) -> tuple[Pin, ...]:
        """Keep those that are unknown as they are given; of the others, only what was seen. Gives each as it is now."""
        ...

    async def approve(self, tenant: str, name: str, digest: str, *, at_us: int, by: str) -> Pin:
        """Trust what was last seen under a name.

        Raises: NotFound: no such pin; Conflict: what was last seen has another digest than `digest`.
        """
        ...
