"""The listening side's outermost layer: which door a request goes to, and whether it may go anywhere at all.

Plain ASGI. Nothing but Host, Origin and the path is looked at here; doors read bodies and credentials themselves.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import orjson
import structlog

from adapters.http.settings import ListenSettings

log = structlog.get_logger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Door: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

Resources: TypeAlias = Callable[[str], Mapping[str, Any] | None]

WELL_KNOWN = "/.well-known/oauth-protected-resource"
HARMLESS = frozenset(
    {
        *(b"accept", b"accept-encoding", b"accept-language", b"cache-control", b"connection"),
        *(b"content-length", b"content-type", b"transfer-encoding", b"user-agent", b"traceparent", b"tracestate"),
        *(b"mcp-method", b"mcp-name", b"mcp-protocol-version", b"mcp-session-id", b"a2a-version", b"a2a-extensions"),
    }
)
"""Headers that nearly every request has and that claim no identity: looked at no further."""
DECIDING = frozenset({b"host", b"origin", b"authorization"})
"""Of two copies one reader takes the first and another the last: neither is taken (of Host: RFC 9112, section 3.2)."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
ON_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost", "0.0.0.0", "::"})  # noqa: S104 - compared, not bound
"""Addresses to listen on under which this machine reaches the gateway by a loopback name: health probes do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """Which `Host` and `Origin` values are answered: the defence against DNS rebinding, on loopback too."""

    hosts: frozenset[bytes]
    origins: frozenset[bytes]

    def refusal(self, host: bytes, origin: bytes) -> str:
        """Why a request may not be served; empty if it may."""
        if host not in self.hosts and host.lower() not in self.hosts:
            return "this gateway does not answer to that Host; add it to gateway.allowed_hosts"
        if origin and origin.lower() not in self.origins:
            return "this Origin may not call the gateway; add it to gateway.allowed_origins"
        return ""


def hosts_from(settings: ListenSettings, port: int) -> Hosts:
    """The values a gateway listening on `port` answers to."""
    names = {settings.host, *LOOPBACK} if settings.host in ON_LOOPBACK else {settings.host}
    hosts = {f"{name}:{port}" for name in names} | (names if port == 80 else set[str]())
    if settings.public_url:
        hosts.add(urlsplit(settings.public_url).netloc)
    hosts.update(settings.allowed_hosts)
    origins = {f"http://{host}" for host in hosts} | set(settings.allowed_origins)
    if settings.public_url:
        origins.add(settings.public_url)
    return Hosts(hosts=_lowered(hosts), origins=_lowered(origins))


@dataclass(slots=True, kw_only=True)
class Health:
    """What the probes say. `ready` turns true once every upstream has answered or failed for the first time; as long as
    the storage does not answer, nobody is to be sent here."""

    ready: bool = False
    stopping: bool = False
    gaps: Callable[[], Mapping[str, str]] = field(default=dict[str, str])
    open_breakers: Callable[[], int] = field(default=int)
    conflicts: Callable[[], int] = field(default=int)
    """Things that are there and cannot be offered as the configuration has them."""
    storage_answers: Callable[[], bool] = field(default=lambda: True)
    refuses: Callable[[], bool] = field(default=bool)
    """Whether what the file says could not come into force: an older configuration is."""

    @property
    def status(self) -> str:
        """`ready`, or what stands in the way."""
        if self.stopping:
            return "stopping"
        if not self.ready:
            return "starting"
        return "ready" if self.storage_answers() else "the storage does not answer"


class Server:
    """The ASGI application."""

    def __init__(
        self,
        *,
        mcp: Door,
        a2a: Door,
        api: Door,
        hosts: Hosts,
        health: Health,
        stripped: Callable[[bytes], bool],
        resources: Resources | None = None,
        connect: Door | None = None,
    ) -> None:
        """`resources`: what is published of the resource at a path (RFC 9728), if anything."""
        self._resources = resources
        self._connect = connect
        self._mcp = mcp
        self._a2a = a2a
        self._api = api
        self._hosts = hosts
        self._health = health
        self._stripped = stripped

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        found, twice = self._looked_at(scope)
        if twice:
            message = f"the header {twice.decode()} came more than once"
            await respond(send, 400, {"error": {"message": message}})
            return
        origin = found.get(b"origin", b"")
        refusal = self._hosts.refusal(found.get(b"host", b""), origin)
        if refusal:
            await respond(send, 421 if not origin else 403, {"error": {"message": refusal}})
            return
        door = self._door(scope["path"])
        if door is None:
            await self._other(scope, send)
            return
        try:
            await door(scope, receive, send)
        except Exception:
            # Doors answer for their own errors. What still gets here breaks the connection, or becomes the server's
            # bare status 500: neither says a word of what it was.
            log.exception("door failed", path=scope["path"])
            raise

    def _looked_at(self, scope: Scope) -> tuple[dict[bytes, bytes], bytes]:
        """The headers that decide, and one of them that came twice; headers that claim an identity are taken away."""
        found: dict[bytes, bytes] = {}
        twice = b""
        claims = False
        for name, value in scope["headers"]:
            if name in HARMLESS:
                continue
            if name in DECIDING:
                twice = name if name in found else twice
                found[name] = value
            elif self._stripped(name):
                claims = True
        if claims:
            scope["headers"] = [pair for pair in scope["headers"] if not self._stripped(pair[0])]
        return found, twice

    def _door(self, path: str) -> Door | None:
        if path.startswith("/mcp"):
            return self._mcp
        if path.startswith("/agents/"):
            return self._a2a
        if path.startswith("/api/"):
            return self._api
        return self._connect if path.startswith("/oauth/") else None

    async def _other(self, scope: Scope, send: Send) -> None:
        path = scope["path"]
        if path == "/healthz":
            await respond(send, 200, {"status": "ok"})
        elif path == "/readyz":
            status = self._health.status
            said = {
                "status": status,
                "gaps": len(self._health.gaps()),
                "breakers": self._health.open_breakers(),
                "conflicts": self._health.conflicts(),
                "configuration": "refused" if self._health.refuses() else "in force",
            }
            await respond(send, 200 if status == "ready" else 503, said)
        elif path.startswith(WELL_KNOWN):
            await self._resource(path.removeprefix(WELL_KNOWN) or "/", send)
        else:
            message = "nothing is here; the doors are /mcp, /mcp/{server}, /agents/{name} and /api/v1"
            await respond(send, 404, {"error": {"message": message}})

    async def _resource(self, path: str, send: Send) -> None:
        """For everybody: it says where to get a token, which who asks does not have yet."""
        said = None if self._resources is None else self._resources(path)
        if said is None:
            await respond(send, 404, {"error": {"message": "no issuer's tokens are taken here"}})
        else:
            await respond(send, 200, said)


async def respond(send: Send, status: int, body: Mapping[str, Any]) -> None:
    """Answer with a JSON document."""
    raw = orjson.dumps(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(raw))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": raw})


def _lowered(values: Iterable[str]) -> frozenset[bytes]:
    return frozenset(value.lower().encode() for value in values)
