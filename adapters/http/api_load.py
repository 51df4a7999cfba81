"""How the gateway is doing, and how it is made to do badly: load, breakers, memory, and injected faults over REST."""

from starlette.responses import Response

from adapters.http.api_call import Call, Recorder, answer
from adapters.http.api_ports import ChaosControl, LoadReader
from adapters.http.api_views import chaos_view, load_view
from gateway.core.chaos import ChaosOrder
from gateway.core.errors import NotFound
from gateway.core.faults import fault_from_text
from gateway.core.json import Json, json_text


class LoadEndpoints:
    def __init__(self, *, load: LoadReader, chaos: ChaosControl, recorder: Recorder) -> None:
        self._load = load
        self._chaos = chaos
        self._recorder = recorder

    async def load(self, call: Call) -> Response:
        return answer(load_view(self._load.load(call.tenant)))

    async def list_chaos(self, call: Call) -> Response:
        return answer({"injections": [chaos_view(each) for each in self._chaos.of(call.tenant)]})

    async def add_chaos(self, call: Call) -> Response:
        body = call.body
        target, fault = json_text(body.get("target")), json_text(body.get("fault"))
        async with self._recorder.change(call, "chaos.add", target, {**body, "fault": fault}):
            active = self._chaos.add(
                ChaosOrder(
                    tenant=call.tenant,
                    by=call.who.subject,
                    target=target,
                    fault=fault_from_text(fault),
                    share=_number(body.get("share"), 1.0),
                    for_s=_number(body.get("for_s"), 600.0),
                    seed=int(_number(body.get("seed"), 0)),
                )
            )
        return answer({"injection": chaos_view(active)}, 201)

    async def remove_chaos(self, call: Call) -> Response:
        injection_id = call.path("id")
        async with self._recorder.change(call, "chaos.remove", "", {"id": injection_id}):
            if not self._chaos.remove(call.tenant, injection_id):
                raise NotFound("no such injection is at work")
        return Response(status_code=204)


def _number(value: Json, default: float) -> float:
    return value if isinstance(value, int | float) else default
