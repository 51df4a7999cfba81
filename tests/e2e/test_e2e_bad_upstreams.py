"""Upstreams that lie, hang, die and print garbage: named to the caller, recorded, never quoted; nobody else suffers."""

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from anyio.from_thread import BlockingPortal

from tests.e2e import lying
from tests.e2e.conftest import Serve
from tests.e2e.gateways import Caller, Gateway, free_port, operator, text_of
from tests.fakes_upstreams import RawServer, raw_server

pytestmark = pytest.mark.anyio
T = TypeVar("T")

TOKEN = "tok-5b1c7e0f9a-of-the-upstream"
LOOSE = ("127.0.0.1", "Traceback", "secret-place", ".py", TOKEN, "site-packages")
STDIO = str(Path(__file__).with_name("stdio_server.py"))


@pytest.fixture(scope="module")
def upstream(portal: BlockingPortal) -> Generator[RawServer]:
    with portal.wrap_async_context_manager(raw_server(lying.behave)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(serve: Serve, upstream: RawServer, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """Honest and lying servers and agents side by side."""
    root = f"http://127.0.0.1:{upstream.port}"
    headers = {"x-upstream-token": "env:UPSTREAM_TOKEN"}
    names = ("shop", *lying.LIES, "eager", "odd-error", "page", "hang-always")
    servers: dict[str, Any] = {name: {"url": f"{root}/{name}", "headers": headers, "timeout_s": 60} for name in names}
    # The calls alone: all of them are listed at the same moment, which on a busy machine takes its time.
    servers["hang"]["tools"] = servers["hang-in-stream"]["tools"] = {"act": {"timeout_s": 3}}
    servers["hang-always"]["timeout_s"] = 3
    servers["shop"]["tools"] = {"look": {"tags": ["read"]}}
    servers["gone"] = {"url": f"http://127.0.0.1:{free_port()}/mcp"}
    mark = tmp_path_factory.mktemp("odd") / "died"
    servers["odd"] = {"command": [sys.executable, STDIO, str(mark)], "tools": {"silence": {"timeout_s": 1}}}
    servers["no-program"] = {"command": [str(mark.parent / "not-there")]}
    agents = {f"agent-{lie}": {"card": f"{root}/agent-{lie}", "timeout_s": 60} for lie in lying.AGENT_LIES}
    agents["agent-hang"]["timeout_s"] = 5
    agents["agent-liar"] = {"card": f"{root}/agent-liar"}
    return serve(
        {
            "servers": servers,
            "agents": agents,
            "roles": {"all": {"allow": ["*"]}, "few": {"allow": ["tool:shop/look"]}},
            "principals": {
                "ana": {"roles": ["all"], "key": "env:ANA_KEY"},
                "bob": {"roles": ["few"], "key": "env:BOB_KEY"},
            },
            "limits": {"result_bytes": 4_000_000, "list_timeout_s": 0.5},
            "egress": {"allow": ["127.0.0.0/8"], "ports": []},
        },
        UPSTREAM_TOKEN=TOKEN,
    )


@pytest.fixture
async def ana(gateway: Gateway) -> AsyncIterator[Caller]:
    """Whatever came before, her next call is answered."""
    async with Caller(gateway, "ana") as ana:
        yield ana
        with anyio.fail_after(120):
            assert text_of(await ana.call("shop__look", again=True)) == '{"arguments": {"again": true}}'


async def beside_a_healthy_call(gateway: Gateway, work: Callable[[], Awaitable[T]]) -> T:
    """What comes of `work`, while somebody else's call is answered as if nothing was."""
    found: list[T] = []

    async def bad() -> None:
        found.append(await work())

    with anyio.fail_after(120):
        async with Caller(gateway, "bob") as bob, anyio.create_task_group() as group:
            group.start_soon(bad)
            assert text_of(await bob.call("shop__look", n=1)) == '{"arguments": {"n": 1}}'
    return found[0]


def loose_talk_in(said: Any) -> list[str]:
    text = said if isinstance(said, str) else json.dumps(said)
    return [word for word in LOOSE if word in text]


def failure_in(said: dict[str, Any]) -> dict[str, Any]:
    """What a failed `tools/call` says of its failure."""
    assert said["result"]["isError"] is True
    error: dict[str, Any] = said["result"]["_meta"]["drawbridge/error"]
    return error


@pytest.mark.parametrize("lie", sorted(lying.LIES))
async def test_a_server_that_lies_is_named_and_nothing_of_it_repeated(lie: str, gateway: Gateway, ana: Caller) -> None:
    said = await beside_a_healthy_call(gateway, lambda: ana.call(f"{lie}__act", n=1))
    assert not loose_talk_in(said), said
    error = failure_in(said)
    assert error["code"] == lying.LIES[lie][1], error
    async with operator(gateway) as someone:
        record = await someone.record(error["record"])
    assert (record["capability"], record["outcome"], record["code"]) == (f"tool:{lie}/act", "error", error["code"])
    assert not loose_talk_in(record)


async def test_an_answer_nobody_asked_for_reaches_nobody(gateway: Gateway, ana: Caller) -> None:
    for _ in range(3):
        said = await beside_a_healthy_call(gateway, lambda: ana.call("eager__act"))
        assert text_of(said) == "first"


async def test_an_error_that_is_none_counts_as_the_servers_internal_error(gateway: Gateway, ana: Caller) -> None:
    said = await beside_a_healthy_call(gateway, lambda: ana.call("odd-error__act"))
    assert said["error"]["code"] == -32603
    assert not loose_talk_in(said)
    async with operator(gateway) as someone:
        found = await someone.records(2, call="tool:odd-error/act")
    assert [each["phase"] for each in found] == ["intent", "outcome"]


async def test_a_call_beside_one_that_hangs_is_answered_first(gateway: Gateway, ana: Caller) -> None:
    order: list[str] = []

    async def call(tool: str) -> None:
        await ana.call(tool)
        order.append(tool)

    with anyio.fail_after(120):
        async with anyio.create_task_group() as group:
            group.start_soon(call, "hang__act")
            group.start_soon(call, "shop__act")
    assert order == ["shop__act", "hang__act"]


@pytest.mark.parametrize("name", ["page", "gone", "hang-always", "no-program"])
async def test_a_server_that_could_not_be_listed_is_a_gap_with_its_name(
    name: str, gateway: Gateway, ana: Caller
) -> None:
    said = await beside_a_healthy_call(gateway, lambda: ana.call(f"{name}__act"))
    error = failure_in(said)
    assert (error["code"], error["upstream"]) == (1503, name)
    assert not loose_talk_in(said), said
    assert not [each for each in await ana.tools() if each.startswith(name)]
    async with operator(gateway) as someone:
        assert name in (await someone.api("/status")).json()["gaps"]
        record = await someone.record(error["record"])
    assert (record["outcome"], record["code"]) == ("error", 1503)


async def test_garbage_on_stdout_is_passed_over(gateway: Gateway, ana: Caller) -> None:
    for tool in ("odd__echo", "odd__noise", "odd__echo"):
        said = await beside_a_healthy_call(gateway, lambda tool=tool: ana.call(tool, n=7))
        assert text_of(said) == '{"n": 7}'


async def test_a_result_that_is_none_and_a_program_that_says_nothing(gateway: Gateway, ana: Caller) -> None:
    said = await beside_a_healthy_call(gateway, lambda: ana.call("odd__nonsense"))
    assert failure_in(said)["code"] == 1502
    said = await beside_a_healthy_call(gateway, lambda: ana.call("odd__silence"))
    assert failure_in(said)["code"] == 1504
    assert not loose_talk_in(said)


async def test_a_program_that_dies_in_a_call_is_started_again_for_the_next(gateway: Gateway, ana: Caller) -> None:
    said = await beside_a_healthy_call(gateway, lambda: ana.call("odd__die"))
    error = failure_in(said)
    assert error["code"] == 1502
    assert not loose_talk_in(said), said
    with anyio.fail_after(120):
        again = await ana.call("odd__die", n=2)
        while again["result"].get("isError"):
            # It says when it is started again; nothing but that may be the reason.
            assert failure_in(again)["code"] == 1503
            await anyio.sleep(failure_in(again)["retryAfterSeconds"])
            again = await ana.call("odd__die", n=2)
    assert text_of(again) == '{"n": 2}'
    async with operator(gateway) as someone:
        record = await someone.record(error["record"])
    assert (record["capability"], record["outcome"]) == ("tool:odd/die", "error")


@pytest.mark.parametrize("lie", lying.AGENT_LIES)
async def test_an_agent_that_lies_is_named_and_nothing_of_it_repeated(lie: str, gateway: Gateway, ana: Caller) -> None:
    said = await beside_a_healthy_call(gateway, lambda: ana.call(f"agents__agent-{lie}", message="hello"))
    assert not loose_talk_in(said), said
    error = failure_in(said)
    assert error["code"] == (1504 if lie == "hang" else 1502)
    async with operator(gateway) as someone:
        record = await someone.record(error["record"])
    assert (record["capability"], record["outcome"]) == (f"agent:agent-{lie}", "error")
    assert not loose_talk_in(record)


@pytest.mark.parametrize("method", ["SendMessage", "SendStreamingMessage"])
async def test_an_agents_lie_is_an_error_of_a2a_too(method: str, gateway: Gateway, ana: Caller) -> None:
    message = {"messageId": f"m-{method}", "role": "ROLE_USER", "parts": [{"text": "hello"}]}
    said = await beside_a_healthy_call(gateway, lambda: ana.a2a("agent-html", method, {"message": message}))
    info = said["error"]["data"][0]
    assert info["metadata"]["code"] == "1502"
    assert not loose_talk_in(said), said
    async with operator(gateway) as someone:
        assert (await someone.record(info["metadata"]["record"]))["outcome"] == "error"


async def test_a_configured_agent_whose_card_names_another_host_is_a_gap(gateway: Gateway, ana: Caller) -> None:
    said = await beside_a_healthy_call(gateway, lambda: ana.call("agents__agent-liar", message="hello"))
    assert failure_in(said)["code"] == 1503
    assert not loose_talk_in(said), said
    async with operator(gateway) as someone:
        assert "agent-liar" in (await someone.api("/status")).json()["gaps"]


def test_an_agent_whose_card_names_another_host_is_not_added(gateway: Gateway, upstream: RawServer) -> None:
    added = gateway.drawbridge("agents", "add", f"http://127.0.0.1:{upstream.port}/agent-liar", "--slug", "new-liar")
    assert added.returncode == 2
    assert "metadata.secret-place.example" in added.stderr
    assert "new-liar" not in gateway.drawbridge("agents", "list").stdout


async def test_what_is_sent_upstream_carries_the_servers_credential_and_not_the_callers(
    upstream: RawServer, ana: Caller
) -> None:
    claims = [("x-forwarded-user", "root"), ("x-drawbridge-subject", "root"), ("cookie", "session=1")]
    await ana.modern("tools/call", {"name": "shop__look", "arguments": {}}, *claims)
    # Servers that could not be listed are asked again meanwhile.
    calls = [each for each in upstream.exchanges if lying.message(each).get("method") == "tools/call"]
    sent = calls[-1].headers
    assert sent[b"x-upstream-token"] == TOKEN.encode()
    assert not {b"authorization", b"cookie", b"x-forwarded-user", b"x-drawbridge-subject"} & sent.keys()
    assert ana.key.encode() not in b"".join(sent.values())
