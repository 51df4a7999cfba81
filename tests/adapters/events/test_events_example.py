"""The example of a worker answers calls through the gateway's side of the bus, and knows nothing of it."""

import anyio
import pytest

from adapters.events.settings import BusSettings
from adapters.events.upstream import BusUpstream
from examples.bus.worker import make_app
from gateway.app.buses import bus_from
from gateway.core.ports.bus import BusLimits
from tests.adapters.events.test_events_upstream import asked, called, value_of
from tests.brokers import valkey

pytestmark = pytest.mark.anyio


async def test_the_worker_answers_calls() -> None:
    with valkey() as url, anyio.fail_after(120):
        bus = bus_from(url, BusLimits())
        upstream = BusUpstream("scan", BusSettings.model_validate({"url": url, "topics": {"ocr": {}}}), bus)
        await upstream.capabilities()
        app = make_app(url)
        async with anyio.create_task_group() as group:
            group.start_soon(upstream.watch)
            assert app.broker is not None
            await app.broker.start()
            assert value_of(await called(upstream, asked(4))) == {"text": "The words of page 4."}
            failed = await called(upstream, asked(0, key="none"))
            assert getattr(failed, "is_error", False)
            await app.broker.stop()
            group.cancel_scope.cancel()
        await bus.aclose()
