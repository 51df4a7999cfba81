"""What a test needs to stand where the gateway's core stands before an MCP upstream."""

import asyncio
from collections.abc import Mapping

from msgspec import Raw

from adapters.mcp.client_parts import ServerParts
from adapters.mcp.client_seal import Seal
from adapters.mcp.wire import (
    CLIENT_CAPABILITIES_KEY,
    CLIENT_INFO_KEY,
    MODERN,
    VERSION_KEY,
    Answer,
    Era,
    Params,
    decode_value,
    encode,
)
from adapters.net.tls import client_context
from gateway.core.content import Body, plain
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.limits import Budget, Limits
from gateway.core.model import Capability, Complete, Event, Operation, Request, Result, principal
from gateway.core.ports.upstream import Listing, Upstream
from gateway.core.ports.world import Secret

TLS = client_context()


class LoopClock:
    """The event loop's own clock, and a calendar that can be put forward."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def now_us(self) -> int:
        return 1_700_000_000_000_000 + self.ahead_us

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class DictSecrets:
    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def resolve(self, reference: str) -> Secret:
        if reference not in self._values:
            raise InvalidRequest(f"nothing is behind {reference}")
        return Secret(self._values[reference])


def parts(
    *, clock: LoopClock | None = None, limits: Limits | None = None, secrets: Mapping[str, str] | None = None
) -> ServerParts:
    own_clock = clock or LoopClock()
    return ServerParts(
        limits=limits or Limits(),
        clock=own_clock,
        secrets=DictSecrets(secrets or {}),
        seal=Seal(b"k" * 32, own_clock),
        tls=TLS,
    )


def tool(local: str = "refund", **changes: object) -> Capability:
    values: dict[str, object] = {"name": f"tool:shop/{local}", "kind": "tool", "owner": "shop", "local": local}
    return Capability(**(values | changes))  # type: ignore[arg-type]


def found(listing: Listing, name: str) -> Capability:
    return next(capability for capability in listing.capabilities if capability.name == name)


def params(era: Era, arguments: Json = None, *, meta: Mapping[str, Json] | None = None, **members: Json) -> Params:
    """What a client of `era` sends, with what its era demands in `_meta`."""
    own: JsonObject = dict(meta or {})
    if era == "modern":
        own = {
            VERSION_KEY: MODERN,
            CLIENT_INFO_KEY: {"name": "tester", "version": "9"},
            CLIENT_CAPABILITIES_KEY: {"elicitation": {"form": {}}},
            **own,
        }
    whole: JsonObject = {"name": "shop__refund", "arguments": {} if arguments is None else arguments, **members}
    if own:
        whole["_meta"] = own
    return Params({key: Raw(encode(value)) for key, value in whole.items()}, era=era)


def a_request(
    body: Body | None = None,
    *,
    operation: Operation = "call",
    within_s: float = 60.0,
    subject: str = "ana",
    **more: object,
) -> Request:
    values: dict[str, object] = {
        "id": "req_1",
        "principal": principal(subject),
        "capability": "tool:shop/refund",
        "operation": operation,
        "budget": Budget(deadline_s=asyncio.get_running_loop().time() + within_s),
        "body": body or plain({}),
    }
    return Request(**(values | more))  # type: ignore[arg-type]


class Seen:
    """Events in the order they came."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.first = asyncio.Event()

    async def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.first.set()


async def call(upstream: Upstream, capability: Capability, request: Request) -> Result:
    return await upstream.call(request, capability, Seen())


def said(result: Result) -> JsonObject:
    """The answer's members."""
    assert isinstance(result, Complete)
    assert isinstance(result.body, Answer)
    return json_object(decode_value(result.body.raw))


def structured(result: Result) -> JsonObject:
    return json_object(said(result).get("structuredContent"))
