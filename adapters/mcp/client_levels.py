"""Which log lines a legacy server is asked for, which is told so once for all of its calls (until 2025-11-25). Pure."""

from weakref import WeakKeyDictionary

from adapters.mcp.render import LOG_RANKS
from adapters.mcp.wire import LOG_LEVEL_KEY, Params, as_text, decode_members
from gateway.core.model import Request

_USUAL = "info"
"""What a client wants that never said, where another one of the same session did."""


def level_of(request: Request) -> str:
    """The lowest level a caller wants to hear of; empty where it did not say."""
    body = request.body
    if not isinstance(body, Params):
        return ""
    if body.said_before is not None:
        return body.said_before.level_set
    raw = bytes(body.members.get("_meta", b"{}"))
    if LOG_LEVEL_KEY.encode() not in raw:
        return ""
    level = as_text(decode_members(raw).get(LOG_LEVEL_KEY)) or ""
    return level if level in LOG_RANKS else ""


class LowestLevel:
    """Of those who use one session with a server: clients that said it once, and calls under way that say it each."""

    def __init__(self) -> None:
        self._clients: WeakKeyDictionary[object, str] = WeakKeyDictionary()
        self._calls: dict[int, str] = {}
        self._told = ""

    def want(self, number: int, level: str, client: object = None) -> str:
        """What the server is to be told before this call; empty where it knows, or nobody said anything.

        `client` stands for whoever said it once, as long as it is there; None: it is said of this call alone.
        """
        if client is not None:
            self._clients[client] = level
        elif level:
            self._calls[number] = level
        wanted = {*self._clients.values(), *self._calls.values()}
        if wanted <= {""} and not self._told:
            return ""
        lowest = min((each or _USUAL for each in wanted), key=LOG_RANKS.__getitem__, default="")
        if lowest in ("", self._told):
            return ""
        self._told = lowest
        return lowest

    def forget(self, number: int) -> None:
        """A call is over."""
        self._calls.pop(number, None)
