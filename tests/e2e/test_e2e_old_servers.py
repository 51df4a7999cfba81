"""Stateful servers of before 2026 behind a gateway: started again they are heard again, and told what they wait for."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Generator
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.conftest import Serve
from tests.e2e.gateways import ROOT, Gateway, free_port, key_of, until
from tests.e2e.old_server import NOTE

pytestmark = pytest.mark.anyio
WITHIN_S = 120


class OldProcess:
    """The server, which can be started again at the same address."""

    def __init__(self) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        port = self.url.rpartition(":")[2]
        self._process = subprocess.Popen([sys.executable, "-m", "tests.e2e.old_server", port], cwd=ROOT)
        until(self._is_up, lambda: "the old server did not start")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=20)

    def _is_up(self) -> bool:
        try:
            self.heard()
        except OSError:
            return False
        return True

    def heard(self) -> list[str]:
        return self._ask("GET", "/heard")

    def do(self, what: str) -> None:
        self._ask("POST", f"/do/{what}")

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(self.url + path, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def old() -> Generator[OldProcess]:
    server = OldProcess()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def gateway(serve: Serve, old: OldProcess) -> Gateway:
    return serve(
        {
            "servers": {"old": {"url": f"{old.url}/mcp"}},
            "roles": {"all": {"allow": ["*"]}},
            "principals": {"ana": {"roles": ["all"], "key": "env:ANA_KEY"}},
            "limits": {"refresh_s": 3600},
        }
    )


async def came_to_pass(reached: Callable[[], Any]) -> None:
    """Patient: a gateway whose server is away waits longer each time before it looks again."""
    with anyio.fail_after(WITHIN_S):
        while not await anyio.to_thread.run_sync(reached):  # noqa: ASYNC110 - another process gets there
            await anyio.sleep(0.1)


async def told_again_and_again(old: OldProcess, what: str, told: anyio.Event) -> None:
    """Streams open on their own time: the server does it until somebody has heard."""
    with anyio.fail_after(WITHIN_S):
        while not told.is_set():
            await anyio.to_thread.run_sync(old.do, what)
            with anyio.move_on_after(0.5):
                await told.wait()


@pytest.mark.filterwarnings("ignore:resources/subscribe is removed")
async def test_a_server_that_was_started_again_is_heard_again_and_told_again(gateway: Gateway, old: OldProcess) -> None:
    """Its lists are read once an hour here, so that only its own word can have done it."""
    told: dict[str, anyio.Event] = {}

    def begin() -> None:
        told.update({name: anyio.Event() for name in ("tools/list_changed", "resources/updated")})

    async def handle(message: Any) -> None:
        name = str(getattr(message, "method", "")).removeprefix("notifications/")
        if name in told:
            told[name].set()

    begin()
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key_of('ana')}"}, timeout=60) as http:
        transport = streamable_http_client(f"{gateway.url}/mcp", http_client=http)
        async with Client(transport, mode="legacy", message_handler=handle) as client:
            await client.subscribe_resource(NOTE)  # pyright: ignore[reportDeprecated] - it is of the era
            await came_to_pass(lambda: "subscribe" in old.heard())
            await told_again_and_again(old, "touch", told["resources/updated"])
            old.kill()
            old.start()
            await came_to_pass(lambda: "subscribe" in old.heard())
            begin()
            await told_again_and_again(old, "touch", told["resources/updated"])
            await told_again_and_again(old, "grow", told["tools/list_changed"])
            with anyio.fail_after(WITHIN_S):
                while "old__look_1" not in [each.name for each in (await client.list_tools()).tools]:  # noqa: ASYNC110
                    await anyio.sleep(0.05)
