"""Whether whoever asks to hear of a resource's changes may be told of them: judged like any call, before it begins."""

import anyio
from anyio import lowlevel

from adapters.mcp.calls import Calls
from adapters.mcp.knock import Knock
from adapters.mcp.refusals import (
    METHOD_NOT_FOUND,
    RESOURCE_NOT_FOUND,
    RpcRefusal,
    lacks_scope,
    refusal_from,
    scope_refusal,
)
from adapters.mcp.views import View
from gateway.core.errors import DeadlineExceeded, Exhausted, GatewayError, Unavailable, UpstreamFailed
from gateway.core.json import json_from, json_object
from gateway.core.model import Event
from gateway.core.ports.gateway import Gateway

JUDGED_S = 5.0
"""Longest a subscription waits for the verdict on it; one that takes longer is followed when it comes."""


class Subscribing:
    """Judges subscriptions to resources."""

    def __init__(self, gateway: Gateway, calls: Calls) -> None:
        self._gateway = gateway
        self._calls = calls

    async def check(self, knock: Knock, view: View, uri: str) -> None:
        """Raises: RpcRefusal: there is no such resource, its server tells of no changes, or the caller may not hear."""
        entry = view.resource(uri)[1]
        if entry is None:
            raise RpcRefusal(RESOURCE_NOT_FOUND, "Resource not found", data={"uri": uri})
        about = json_from(self._gateway.about(entry.capability.owner))
        declared = json_object(json_object(about.get("capabilities")).get("resources"))
        if "capabilities" in about and declared.get("subscribe") is not True:
            raise RpcRefusal(METHOD_NOT_FOUND, "its server tells of no changes of resources")
        with anyio.move_on_after(JUDGED_S) as judging:

            async def begun(event: Event) -> None:
                judging.cancel()
                await lowlevel.checkpoint()

            try:
                await self._calls.follow(knock, view, uri, begun)
            except (Unavailable, UpstreamFailed, DeadlineExceeded, Exhausted):
                return  # it is followed once it is to be had
            except GatewayError as error:
                raise (scope_refusal(error) if lacks_scope(error) else refusal_from(error)) from error

    async def still(self, knock: Knock, view: View, uri: str) -> bool:
        """Whether the changes of a resource that are told may be told on; one that is not listed is judged again."""
        if view.places.lists(uri):
            return True
        try:
            await self.check(knock, view, uri)
        except RpcRefusal:
            return False
        return True

    async def allowed(self, knock: Knock, view: View, uris: frozenset[str]) -> frozenset[str]:
        """Those of the resources whose changes may be told. Raises: RpcRefusal: one of them needs a wider token."""
        found: set[str] = set()
        wider: list[RpcRefusal] = []

        async def check(uri: str) -> None:
            try:
                await self.check(knock, view, uri)
            except RpcRefusal as refusal:
                wider.extend([refusal] if refusal.scopes else [])
            else:
                found.add(uri)

        async with anyio.create_task_group() as group:
            for uri in uris:
                group.start_soon(check, uri)
        if wider:
            raise wider[0]
        return frozenset(found)
