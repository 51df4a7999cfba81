"""How a server of the modern era (2026-07-28) is asked over HTTP: statelessly, everything in headers and body."""

from dataclasses import dataclass

from msgspec import Raw

from adapters.mcp.client_eras import about_from_discover
from adapters.mcp.client_exchange import Wire, message_from, trace_line
from adapters.mcp.client_params import Outgoing, own_meta
from adapters.mcp.client_wire import supported_versions
from adapters.mcp.headers import Mirror, encode_header, mirrors_of, param_headers
from adapters.mcp.wire import MODERN, Era, Params, decode_value, encode
from adapters.net.http1 import header_lines
from gateway.core.errors import DeadlineExceeded, GatewayError, Unavailable
from gateway.core.json import JsonObject, json_object
from gateway.core.model import READ_OPERATIONS, Capability, Emit, Request, ignore_event

_MOST_HEADS = 4096
_MOST_ASKED = 2
"""Times a server is asked who it is: one may refuse the version it names in the same breath as its own."""


@dataclass(frozen=True, slots=True)
class _Head:
    """What the headers of all requests to one capability have in common."""

    lines: bytes
    mirrors: tuple[Mirror, ...]
    """The arguments `Mcp-Param-*` headers repeat."""


class Modern:
    """Requests to one modern server. Closing a response is how a request is canceled, and needs nothing more."""

    era: Era = "modern"

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._heads: dict[str, _Head] = {}

    async def call(self, out: Outgoing, request: Request, capability: Capability, emit: Emit, deadline_s: float) -> Raw:
        """The result of a caller's request. Raises: see `Wire.result`."""
        number = self._wire.number()
        lines = self._lines(out, request, capability)
        replay = capability.effect == "read" or request.operation in READ_OPERATIONS
        response = await self._wire.post(lines, message_from(number, out), deadline_s=deadline_s, replay=replay)
        return await self._wire.result(number, lines, response, emit)

    async def discover(self, deadline_s: float) -> "JsonObject | None":
        """What the server says of itself; None where it is none of the modern era.

        Raises: Unavailable, DeadlineExceeded: an outage says nothing about the era.
        """
        for _ in range(_MOST_ASKED):
            try:
                return about_from_discover(await self.ask("server/discover", {}, deadline_s))
            except (Unavailable, DeadlineExceeded):
                raise
            except GatewayError as error:
                if MODERN not in supported_versions(error):
                    break
        return None

    async def ask(
        self, method: str, params: JsonObject, deadline_s: float, able: "JsonObject | None" = None
    ) -> JsonObject:
        """The result of a request in the gateway's own name, as a client that can be asked for `able`.

        Raises: see `Wire.result`.
        """
        number = self._wire.number()
        lines = self._wire.lines + header_lines([("mcp-protocol-version", MODERN), ("mcp-method", method)])
        members = {key: Raw(encode(value)) for key, value in {**params, "_meta": own_meta("modern", able)}.items()}
        message = message_from(number, Outgoing(method=method, members=members))
        response = await self._wire.post(lines, message, deadline_s=deadline_s, replay=True)
        return self._wire.answers.members(await self._wire.result(number, lines, response, ignore_event))

    def _lines(self, out: Outgoing, request: Request, capability: Capability) -> bytes:
        head = self._heads.get(out.method + out.name)
        if request.operation.startswith("task."):
            head = self._head(out, capability)  # as many as there are tasks
        elif head is None:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            head = self._heads[out.method + out.name] = self._head(out, capability)
        lines = head.lines
        body = request.body
        if isinstance(body, Params) and body.era == "modern":
            if body.headers:
                lines += header_lines(body.headers)
        elif head.mirrors:
            # This caller's protocol has no such headers, and the server insists on them.
            arguments = json_object(decode_value(bytes(out.members.get("arguments", Raw(b"{}")))))
            lines += header_lines(param_headers(head.mirrors, arguments).items())
        return lines + trace_line(request) if request.traceparent else lines

    def _head(self, out: Outgoing, capability: Capability) -> _Head:
        named = [("mcp-protocol-version", MODERN), ("mcp-method", out.method)]
        if out.name:
            named.append(("mcp-name", encode_header(out.name)))
        mirrors = mirrors_of(capability.input_schema) if out.method == "tools/call" else ()
        return _Head(self._wire.lines + header_lines(named), mirrors)
