"""Pins over REST: what servers say of their tools, how that differs from what is trusted, and trusting it."""

from starlette.responses import Response

from adapters.http.api_call import Call, Recorder, answer
from adapters.http.api_ports import PinKeeper
from gateway.core.errors import InvalidRequest, NotFound
from gateway.core.json import Json, json_list, json_object, json_text

_STATES = ("", "approved", "changed", "new", "waiting")


class PinEndpoints:
    def __init__(self, *, pins: PinKeeper, recorder: Recorder) -> None:
        self._pins = pins
        self._recorder = recorder

    async def list_pins(self, call: Call) -> Response:
        state, server, name = call.text("state"), call.text("server"), call.text("name")
        if state not in _STATES:
            raise InvalidRequest(f"state is one of {', '.join(_STATES[1:])}")
        found = [
            each
            for each in self._pins.pins(call.tenant, name=name)
            if (not state or each["state"] == state or (state == "waiting" and each["state"] != "approved"))
            and (not server or each["server"] == server)
        ]
        if name and not found:
            raise NotFound(f"nothing called {name} was ever seen")
        return answer({"pins": [*found]})

    async def approve_pins(self, call: Call) -> Response:
        approved: list[Json] = []
        for each in map(json_object, json_list(call.body.get("pins"))):
            name, digest = json_text(each.get("name")), json_text(each.get("digest"))
            async with self._recorder.change(call, "tools.approve", name, {"digest": digest}):
                approved.append(await self._pins.approve(call.tenant, name, digest, by=call.who.subject))
        return answer({"pins": approved})
