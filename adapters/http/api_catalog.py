"""What there is behind the gateway and who may call it, over REST."""

from collections.abc import Iterable

import orjson
from starlette.responses import Response

from adapters.http.api_call import Call, Recorder, answer
from adapters.http.api_configuration import Reload, refused_view
from adapters.http.api_ports import Directory, Explainer, Principals
from adapters.http.api_views import (
    capability_in_full,
    capability_view,
    issuer_view,
    not_offered_view,
    principal_view,
    rfc3339,
    upstream_view,
)
from gateway.core.errors import InvalidRequest, NotFound
from gateway.core.json import Json, JsonObject
from gateway.core.model import Capability, CapabilityKind, Principal
from gateway.core.ports.gateway import Gateway
from gateway.core.ports.world import Clock

_BUILT_IN = frozenset({"run"})
"""Owners that serve agents inside a run only; in a list of what somebody may call they would only puzzle."""

_MOST_MISSING = 100
"""Things the status tells are not offered."""
_KINDS: frozenset[CapabilityKind] = frozenset({"tool", "prompt", "resource", "template", "agent", "workflow"})


class CatalogEndpoints:
    def __init__(
        self,
        *,
        gateway: Gateway,
        directory: Directory,
        principals: Principals,
        explainer: Explainer,
        reload: Reload,
        recorder: Recorder,
        clock: Clock,
        version: str,
    ) -> None:
        self._gateway = gateway
        self._directory = directory
        self._principals = principals
        self._explainer = explainer
        self._reload = reload
        self._recorder = recorder
        self._clock = clock
        self._version = version
        self._started_at_us = clock.now_us()

    async def status(self, call: Call) -> Response:
        now_us, missing = self._clock.now_us(), self._directory.not_offered(call.tenant)
        return answer(
            {
                "version": self._version,
                "snapshot": self._gateway.version,
                "startedAt": rfc3339(self._started_at_us),
                "now": rfc3339(now_us),
                "uptimeSeconds": (now_us - self._started_at_us) // 1_000_000,
                "refusedConfiguration": refused_view(self._reload.refused, call.tenant),
                "upstreams": [upstream_view(each) for each in self._directory.upstreams(call.tenant)],
                "gaps": dict(self._gateway.gaps(call.tenant)),
                "issuers": [issuer_view(each) for each in self._directory.issuers()],
                "notOffered": [not_offered_view(each) for each in missing[:_MOST_MISSING]],
                "notOfferedCount": len(missing),
            }
        )

    async def list_tools(self, call: Call) -> Response:
        everything = self._callable(call.tenant)
        name = call.text("name")
        if name:
            everything = [each for each in self._directory.capabilities(call.tenant) if each.name == name]
            if not everything:
                raise NotFound("nothing of that name can be called")
        show = capability_in_full if name else capability_view
        subject = call.text("as")
        visible = self._visible_to(self._principal(call, subject)) if subject else None
        listed: list[Json] = [show(each) for each in everything if visible is None or each.name in visible]
        said: JsonObject = {"tools": listed, "gaps": dict(self._gateway.gaps(call.tenant))}
        if visible is not None:
            who = self._principal(call, subject)
            said["hidden"] = [*self._hidden(who, (each for each in everything if each.name not in visible))]
        return answer(said)

    async def list_principals(self, call: Call) -> Response:
        total = len(self._callable(call.tenant))
        shown: list[Json] = []
        for who in self._principals.all(call.tenant):
            visible = len(self._visible_to(who))
            shown.append({**principal_view(who), "visible": visible, "hidden": max(0, total - visible)})
        return answer({"principals": shown})

    async def explain(self, call: Call) -> Response:
        who = self._principal(call, call.required("as"))
        return answer(self._explainer.explain(who, call.required("call"), _arguments(call.text("args"))))

    async def reload(self, call: Call) -> Response:
        async with self._recorder.change(call, "config.reload"):
            said = await self._reload()
        return answer(said)

    def _principal(self, call: Call, subject: str) -> Principal:
        who = self._principals.find(call.tenant, subject)
        if who is None:
            raise NotFound("no such principal")
        return who

    def _callable(self, tenant: str) -> list[Capability]:
        return [each for each in self._directory.capabilities(tenant) if each.owner not in _BUILT_IN]

    def _visible_to(self, who: Principal) -> frozenset[str]:
        return frozenset(each.name for each in self._gateway.visible(who, _KINDS) if each.owner not in _BUILT_IN)

    def _hidden(self, who: Principal, capabilities: Iterable[Capability]) -> Iterable[Json]:
        for each in capabilities:
            why: JsonObject = self._explainer.explain(who, each.name, None)
            if why.get("decision") == "allow":
                # Access has nothing against it, so telling of its rule would send the reader the wrong way.
                why = {"decision": "deny", "rule": "not-access", "reason": "a policy other than access hides it"}
            yield {"name": each.name, "kind": each.kind, "owner": each.owner, "why": why}


def _arguments(text: str) -> "JsonObject | None":
    if not text:
        return None
    try:
        said: Json = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"args is not JSON: {error}") from error
    if not isinstance(said, dict):
        raise InvalidRequest("args is not a JSON object")
    return said
