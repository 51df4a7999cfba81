"""Keys over REST."""

from starlette.responses import Response

from adapters.http.api_call import Call, Recorder, answer
from adapters.http.api_ports import KeyOrder, Keys
from adapters.http.api_views import key_view
from gateway.core.errors import NotFound
from gateway.core.json import JsonObject, json_list, json_text
from gateway.core.model import PrincipalKind
from gateway.core.ports.world import Clock

_KINDS: dict[str, PrincipalKind] = {"client": "client", "agent": "agent", "operator": "operator"}


class KeyEndpoints:
    def __init__(self, *, keys: Keys, recorder: Recorder, clock: Clock) -> None:
        self._keys = keys
        self._recorder = recorder
        self._clock = clock

    async def list_keys(self, call: Call) -> Response:
        return answer({"keys": [key_view(key) for key in await self._keys.all(call.tenant)]})

    async def mint_key(self, call: Call) -> Response:
        seconds = call.body.get("expires_in_s")
        order = KeyOrder(
            subject=json_text(call.body.get("subject")),
            kind=_KINDS[json_text(call.body.get("kind"), "client")],
            tenant=call.tenant,
            roles=frozenset(json_text(role) for role in json_list(call.body.get("roles"))),
            expires_at_us=self._clock.now_us() + seconds * 1_000_000 if isinstance(seconds, int) else None,
            note=json_text(call.body.get("note")),
        )
        detail: JsonObject = {"subject": order.subject, "kind": order.kind, "roles": [*sorted(order.roles)]}
        async with self._recorder.change(call, "keys.mint", detail=detail):
            key, secret = await self._keys.mint(order)
        return answer({"key": key_view(key), "secret": secret.reveal()}, 201)

    async def revoke_key(self, call: Call) -> Response:
        key_id = call.path("id")
        async with self._recorder.change(call, "keys.revoke", detail={"key": key_id}):
            if not await self._keys.revoke(call.tenant, key_id):
                raise NotFound("no such key, or it was revoked before")
        return Response(status_code=204)
