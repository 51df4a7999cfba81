"""Whose definitions are pinned, and pins as the REST API shows them."""

from collections.abc import Sequence

from adapters.http.api_views import rfc3339
from gateway.app.sections import Sections
from gateway.core.json import Json, JsonObject, json_from
from policies.pinning.keeper import Pinning, PinView, Watched
from policies.pinning.suspicion import Flag, meaning_of


class PinsOfGateway:
    """See `api_ports.PinKeeper`."""

    def __init__(self, pinning: Pinning) -> None:
        self._pinning = pinning

    def pins(self, tenant: str, *, name: str = "") -> Sequence[JsonObject]:
        found = self._pinning.views(tenant, name=name)
        if name:
            return [{**_view(each), "definition": json_from(each.pin.seen)} for each in found]
        return [_view(each) for each in found]

    async def approve(self, tenant: str, name: str, digest: str, *, by: str) -> JsonObject:
        return _view(await self._pinning.approve(tenant, name, digest, by=by))


def watched(sections: Sections) -> dict[str, Watched]:
    """Whose definitions are pinned, and how."""
    # The file of an OpenAPI document is the operator's own: it is held to nothing unless that is asked for.
    return {
        slug: Watched(tenant=each.tenant, mode="off" if each.openapi and not each.pins_itself else each.pinning)
        for slug, each in sections.servers.items()
    }


def _view(view: PinView) -> JsonObject:
    pin = view.pin
    changed: list[Json] = [{"at": each.at, "before": each.before, "after": each.after} for each in view.changes]
    return {
        "name": pin.name,
        "server": pin.owner,
        "state": view.state,
        "offered": view.offered,
        "digest": pin.seen_digest,
        "seenAt": rfc3339(pin.seen_at_us),
        "trustedDigest": pin.digest,
        "trustedAt": rfc3339(pin.approved_at_us),
        "trustedBy": pin.approved_by or ("first use" if pin.digest else ""),
        "changes": changed,
        "flags": [_flag(each) for each in view.flags],
    }


def _flag(flag: Flag) -> JsonObject:
    return {"rule": flag.rule, "meaning": meaning_of(flag.rule), "at": flag.at, "excerpt": flag.excerpt}
