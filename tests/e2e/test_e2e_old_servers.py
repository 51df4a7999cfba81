"""Stateful servers of before 2026 behind a gateway: started again they are heard again, and told what they wait for."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitCompleteNotification, ElicitResult, ListRootsResult, Root
from pydantic import FileUrl

from tests.e2e.conftest import Serve
from tests.e2e.gateways import META, ROOT, Caller, Gateway, answer_in, free_port, key_of, text_of, until
from tests.e2e.old_server import NOTE, PAGE

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
        self._process.wait(timeout=60)

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
        with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
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


@asynccontextmanager
async def old_client(gateway: Gateway, **more: Any) -> AsyncGenerator[Client]:
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key_of('ana')}"}, timeout=WITHIN_S) as http:
        transport = streamable_http_client(f"{gateway.url}/mcp", http_client=http)
        async with Client(transport, mode="legacy", **more) as client:
            yield client


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
    async with old_client(gateway, message_handler=handle) as client:
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
            while "old__look_4" not in [each.name for each in (await client.list_tools()).tools]:  # noqa: ASYNC110
                await anyio.sleep(0.05)


DEPRECATED = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")


def levels(old: OldProcess) -> list[str]:
    return [each for each in old.heard() if each.startswith("level")]


@DEPRECATED
async def test_the_lowest_log_level_of_those_who_share_a_session_is_told_once_a_change(
    gateway: Gateway, old: OldProcess
) -> None:
    before = len(levels(old))
    with anyio.fail_after(WITHIN_S):
        async with old_client(gateway) as first, old_client(gateway) as second:
            await first.call_tool("old__look", {})
            assert levels(old)[before:] == [], "a server says what it likes until somebody wants something else"
            await first.set_logging_level("error")  # pyright: ignore[reportDeprecated]
            await second.set_logging_level("debug")  # pyright: ignore[reportDeprecated]
            for client in (first, first, second, second, first):
                await client.call_tool("old__look", {})
            await second.set_logging_level("warning")  # pyright: ignore[reportDeprecated]
            await second.call_tool("old__look", {})
        async with Caller(gateway, "ana") as modern:
            await modern.call("old__look", meta={f"{META}logLevel": "info"})
    assert levels(old)[before:] == ["level error", "level debug", "level warning", "level info"]


@DEPRECATED
async def test_a_server_hears_that_its_clients_roots_changed_and_is_told_the_new_ones(
    gateway: Gateway, old: OldProcess
) -> None:
    """This one asks at once, beside the call that brought the word."""
    roots = ["file:///a"]

    async def tell(context: Any) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=FileUrl(each)) for each in roots])

    with anyio.fail_after(WITHIN_S):
        async with old_client(gateway, list_roots_callback=tell) as client:
            assert text(await client.call_tool("old__where", {})) == "file:///a"
            roots[0] = "file:///b"
            await client.send_roots_list_changed()  # pyright: ignore[reportDeprecated]
            for _ in range(2):
                assert text(await client.call_tool("old__where", {})) == "file:///b"
    assert old.heard().count("roots") == 1


async def test_a_notification_nobody_knows_reaches_its_call_whatever_log_lines_are_wanted(gateway: Gateway) -> None:
    async with Caller(gateway, "ana") as ana:
        modern = await ana.modern("tools/call", {"name": "old__pulse", "arguments": {}})
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "e2e", "version": "1"}}
        opened = await ana.send("/mcp", rpc("initialize", hello))
        session = ("mcp-session-id", opened.headers["mcp-session-id"])
        await ana.send("/mcp", rpc("logging/setLevel", {"level": "emergency"}), session)
        legacy = await ana.send("/mcp", rpc("tools/call", {"name": "old__pulse", "arguments": {}}), session)
    for answer in (modern, legacy):
        assert events_in(answer)[0] == {"jsonrpc": "2.0", "method": "notifications/vendor/pulse", "params": {"beat": 1}}


@DEPRECATED
async def test_a_page_a_server_wants_opened_is_put_to_each_client_in_the_words_of_its_time(
    gateway: Gateway, old: OldProcess
) -> None:
    done = anyio.Event()
    able: dict[str, Any] = {f"{META}clientCapabilities": {"elicitation": {"url": {}}}}
    pay: dict[str, Any] = {"name": "old__pay", "arguments": {}}

    async def handle(message: Any) -> None:
        if isinstance(message, ElicitCompleteNotification):
            assert message.params.elicitation_id == "e-1"
            done.set()

    async def decline(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="decline")

    old.do("forget")
    with anyio.fail_after(WITHIN_S):
        more: dict[str, Any] = {"message_handler": handle, "elicitation_callback": decline}
        async with old_client(gateway, **more) as client, Caller(gateway, "ana") as modern:
            await client.set_logging_level("emergency")  # pyright: ignore[reportDeprecated]
            with pytest.raises(MCPError) as refused:
                await client.call_tool("old__pay", {})
            assert (refused.value.error.code, refused.value.error.data) == (
                -32042,
                {"elicitations": [{"mode": "url", "message": PAGE.message, "url": PAGE.url, "elicitationId": "e-1"}]},
            )
            unable = answer_in(await modern.modern("tools/call", pay))
            assert unable["error"]["code"] == -32021
            asked = answer_in(await modern.modern("tools/call", {**pay, "_meta": able}))["result"]
            ((key, question),) = asked["inputRequests"].items()
            page = {"mode": "url", "message": PAGE.message, "url": PAGE.url}
            assert (asked["resultType"], question) == (
                "input_required",
                {"method": "elicitation/create", "params": page},
            )
            await told_again_and_again(old, "pay", done)
            answers = {"inputResponses": {key: {"action": "accept"}}, "requestState": asked["requestState"]}
            again = answer_in(await modern.modern("tools/call", {**pay, **answers, "_meta": able}))
            assert text_of(again) == "seen"
            assert text(await client.call_tool("old__pay", {})) == "seen"


def rpc(method: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def events_in(answer: httpx2.Response) -> list[Any]:
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]


def text(result: Any) -> str:
    return str(result.content[0].text)
