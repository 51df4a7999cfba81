"""One HTTP request at the MCP door: who sent it, by which way, and what it turned out to be."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Receive, Send

from adapters.mcp.classify import NOTHING_SAID, Headers, Message
from adapters.mcp.sessions import Session
from adapters.mcp.wire import Era
from gateway.core.ports.gateway import Identity


def _nothing() -> None:
    pass


@dataclass(slots=True, kw_only=True)
class Knock:
    """Filled in while it is understood; belongs to the one task that answers it. Not frozen: it is on the hot path."""

    identity: Identity
    headers: Headers
    """The last of each name."""
    lines: list[tuple[bytes, bytes]]
    """All of them."""
    scope: str
    """The part of the path after `/mcp/`, or empty."""
    receive: Receive
    send: Send
    era: Era = "legacy"
    message: Message = NOTHING_SAID
    session: Session | None = None
    last_word: Callable[[], None] = _nothing
    """See `LAST_WORD`; does nothing where the server has no such way."""
    wrapped: bool = False
    """The call came inside another's arguments, so that no header repeats its own."""
