"""Batches of MCP 2025-03-26: of servers over each transport, and of clients, through a gateway of its own process."""

import json
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest

from tests.e2e.gateways import ROOT, Gateway, key_of, operator
from tests.fakes_mcp_servers import served
from tests.revisions.batching import Batching, OlderBatching
from tests.revisions.client import CAPABILITIES, RevisionClient
from tests.revisions.contents import MODERN, PROMPTS, QUESTION, READ, RESOURCES, SAMPLED, SKILLS, URI, VERSIONS
from tests.revisions.server import Servers

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

REVISION = "2025-03-26"
SERVERS = ("batching", "older-batching", "stdio-batching")


@pytest.fixture(scope="module")
def servers() -> Servers:
    return Servers(**{"batching": Batching(), "older-batching": OlderBatching()})


@pytest.fixture(scope="module")
def gateway(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    with served(servers) as url:
        root = url.removesuffix("/mcp")
        configuration = {
            "servers": {
                **{name: {"url": f"{root}/{name}"} for name in SERVERS[:2]},
                "stdio-batching": {
                    "command": [sys.executable, "-m", "tests.revisions.batching"],
                    "env": {"PYTHONPATH": str(ROOT)},
                },
            },
            "roles": {
                "all": {"allow": ["tool:*/*", "prompt:*/*", "resource:*/**", "method:*/skills/*"]},
                "few": {"allow": ["tool:batching/every"]},
            },
            "principals": {
                **{name: {"roles": ["all"], "key": f"env:{name.upper()}_KEY"} for name in ("ana", "eve")},
                "bob": {"roles": ["few"], "key": "env:BOB_KEY"},
            },
        }
        with Gateway(tmp_path_factory.mktemp("batches"), configuration, environment={}) as gateway:
            yield gateway


@asynccontextmanager
async def connected(gateway: Gateway, version: str, path: str, who: str = "ana") -> AsyncGenerator[RevisionClient]:
    """A client that has greeted the gateway, and finds nothing wrong with what it hears."""
    headers = {"authorization": f"Bearer {key_of(who)}", "accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(
        base_url=gateway.url, headers=headers, trust_env=False, timeout=60, verify=False
    ) as http:
        client = RevisionClient(version, http, path)
        await client.begin()
        yield client
        assert client.complaints == []


@pytest.mark.parametrize(("server", "version"), [*zip(SERVERS, (MODERN, REVISION, VERSIONS[0]), strict=True)])
async def test_a_server_that_sends_arrays_is_heard_as_if_it_sent_each_message_alone(
    gateway: Gateway, servers: Servers, version: str, server: str
) -> None:
    call: dict[str, Any] = {"name": "every", "arguments": {"n": 1}, "_meta": {"progressToken": "mine"}}
    async with connected(gateway, version, f"/mcp/{server}") as client:
        assert sorted(each["name"] for each in (await client.request("tools/list"))["tools"]) == ["ask", "every"]
        assert (await client.request("prompts/list"))["prompts"] == PROMPTS
        assert (await client.request("resources/list"))["resources"] == RESOURCES
        assert (await client.request("tools/call", call))["content"]
        steps = [each for each in client.told if each["method"] == "notifications/progress"]
        assert [each["params"]["progress"] for each in steps] == [1, 2]
        assert {each["method"] for each in client.told} == {"notifications/progress"}
        assert (await client.request("resources/read", {"uri": URI}))["contents"] == READ["contents"]
        assert (await client.request("skills/list", {"depth": 1}))["skills"] == SKILLS["skills"]
        asked = await client.request("tools/call", {"name": "ask", "arguments": {}})
    assert asked["content"] == [{"type": "text", "text": "The model says Paris."}]
    assert [each["params"]["messages"][0]["content"]["text"] for each in client.asked] == [QUESTION]
    assert [each.complaints for each in servers.by_name.values() if each.complaints] == []


class Batcher:
    """A client of 2025-03-26 that sends batches."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self.session: dict[str, str] = {}

    async def begin(self) -> None:
        params = {
            "protocolVersion": REVISION,
            "capabilities": CAPABILITIES,
            "clientInfo": {"name": "b", "version": "1"},
        }
        hello = await self._http.post("/mcp", json=asks(0, "initialize", **params))
        assert hello.json()["result"]["protocolVersion"] == REVISION
        self.session = {"mcp-session-id": hello.headers["mcp-session-id"]}

    async def post(self, *elements: Any) -> httpx2.Response:
        return await self._http.post("/mcp", json=[*elements], headers=self.session)

    async def hear(self, *elements: Any) -> AsyncGenerator[dict[str, Any]]:
        """What comes on the stream that answers a batch."""
        async with self._http.stream("POST", "/mcp", json=[*elements], headers=self.session) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))


@asynccontextmanager
async def batcher(gateway: Gateway, who: str) -> AsyncGenerator[Batcher]:
    headers = {"authorization": f"Bearer {key_of(who)}", "accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(
        base_url=gateway.url, headers=headers, trust_env=False, timeout=120, verify=False
    ) as http:
        client = Batcher(http)
        await client.begin()
        yield client


def asks(request_id: Any, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def calls(request_id: Any, name: str, **more: Any) -> dict[str, Any]:
    return asks(request_id, "tools/call", name=name, arguments={}, **more)


def tells(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


async def test_each_call_of_a_batch_is_judged_and_recorded_by_itself(gateway: Gateway) -> None:
    async with batcher(gateway, "bob") as bob, operator(gateway) as olga:
        answer = await bob.post(
            calls(1, "batching__every"),
            calls(2, "batching__ask"),
            calls(3, "batching__nothing"),
            asks(4, "vendor/unknown"),
            "no message",
            asks(5, "ping"),
        )
        records = await olga.records(5, subject="bob")  # a greeting, an intent, three outcomes
    assert answer.status_code == 200
    said = {each["id"]: each for each in one_by_one(answer.content)}
    codes = {each: said[each].get("error", {}).get("code", 0) for each in said}
    assert codes == {1: 0, 2: 0, 3: -32602, 4: -32601, None: -32600, 5: 0}
    assert said[1]["result"]["content"]
    assert not said[1]["result"].get("isError")
    assert said[2]["result"]["isError"] is True
    assert said[2]["result"]["_meta"]["drawbridge/error"]["code"] == 1403
    found = {(each["capability"], each["outcome"]) for each in records if each["phase"] == "outcome"}
    assert found == {
        ("tool:batching/every", "ok"),
        ("tool:batching/ask", "denied"),
        ("tool:batching/nothing", "error"),
    }


async def test_what_has_no_answer_is_taken_and_what_is_of_another_revision_refused(gateway: Gateway) -> None:
    async with batcher(gateway, "ana") as ana:
        told = await ana.post(tells("notifications/initialized"), tells("notifications/roots/list_changed"))
        with_hello = await ana.post(asks(1, "ping"), asks(2, "initialize", protocolVersion=REVISION))
        empty = await ana.post()
    assert (told.status_code, told.content) == (202, b"")
    assert [(each.status_code, each.json()["id"]) for each in (with_hello, empty)] == [(400, None)] * 2
    async with connected(gateway, "2025-06-18", "/mcp") as later:
        refused = await later.post([asks(1, "ping")])
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32602)


async def test_two_clients_with_equal_ids_answer_what_each_is_asked_in_a_batch_of_answers(gateway: Gateway) -> None:
    """Both have their calls under way before either answers."""
    names = [f"{server}__ask" for server in SERVERS]
    asked: dict[str, list[Any]] = {"ana": [], "eve": []}
    both = anyio.Event()
    heard: dict[str, list[dict[str, Any]]] = {"ana": [], "eve": []}

    async def talk(who: str) -> None:
        async with (
            batcher(gateway, who) as client,
            aclosing(
                client.hear(*(calls(number, name) for number, name in enumerate(names)), asks("p", "ping"))
            ) as stream,
        ):
            async for message in stream:
                if "method" not in message:
                    heard[who].append(message)
                    continue
                asked[who].append(message["id"])
                if [*map(len, asked.values())] == [len(names)] * 2:
                    both.set()
                if len(asked[who]) == len(names):
                    await both.wait()
                    said = {"role": "assistant", "content": {"type": "text", "text": who}, "model": "m"}
                    answers = [{"jsonrpc": "2.0", "id": each, "result": said} for each in asked[who]]
                    assert (await client.post(*answers)).status_code == 202

    with anyio.fail_after(120):
        async with anyio.create_task_group() as group:
            for who in asked:
                group.start_soon(talk, who)
    for who, answers in heard.items():
        assert {each["id"] for each in answers} == {0, 1, 2, "p"}
        texts = {each["result"]["content"][0]["text"] for each in answers if each["id"] != "p"}
        assert texts == {f"The model says {who}."}


async def test_a_call_of_a_batch_is_taken_back_by_another_while_its_neighbour_goes_on(gateway: Gateway) -> None:
    answers: dict[Any, dict[str, Any]] = {}
    questions: list[Any] = []
    elements = (calls(1, "batching__ask"), calls(2, "batching__ask"), calls(3, "batching__every"))
    with anyio.fail_after(120):
        async with batcher(gateway, "ana") as ana, aclosing(ana.hear(*elements)) as stream:
            async for message in stream:
                if "method" not in message:
                    answers[message["id"]] = message
                    continue
                questions.append(message["id"])
                if len(questions) == 2:
                    taken = await ana.post(tells("notifications/cancelled", requestId=1))
                    replies = [{"jsonrpc": "2.0", "id": each, "result": SAMPLED} for each in questions]
                    assert [taken.status_code, (await ana.post(*replies)).status_code] == [202, 202]
    assert answers.keys() == {1, 2, 3}
    assert answers[1]["error"]["code"] == -32800
    assert answers[2]["result"]["content"] == [{"type": "text", "text": "The model says Paris."}]


def test_a_client_over_stdio_sends_batches_too(gateway: Gateway) -> None:
    file = gateway.data / "keys" / "client-ana.key"
    file.touch(mode=0o600)
    file.write_text(key_of("ana"))
    hello = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": "b", "version": "1"}}
    lines: list[Any] = [
        asks(0, "initialize", **hello),
        [tells("notifications/initialized"), asks(1, "ping"), calls(2, "stdio-batching__every"), 7],
    ]
    command = [sys.executable, "-m", "gateway", "mcp", "--client", "ana", "--config", str(gateway.config)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    heard: list[dict[str, Any]] = []
    with subprocess.Popen(command, cwd=gateway.folder, env=gateway.environment, **pipes) as program:
        # What is not answered once the client hangs up soon never is: it stays until it has heard everything.
        overdue = threading.Timer(120, program.kill)
        overdue.start()
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        program.stdin.flush()
        while len(heard) < 4 and (line := program.stdout.readline()):
            heard += [each for each in one_by_one(line) if "method" not in each]
        program.stdin.close()
        overdue.cancel()
    answers = {each["id"]: each for each in heard}
    assert answers.keys() == {0, 1, 2, None}
    assert answers[0]["result"]["protocolVersion"] == REVISION
    assert answers[2]["result"]["content"]


def one_by_one(said: bytes) -> list[dict[str, Any]]:
    """The messages of one answer: of a stream, which a slow one becomes, of an array, or the one it is."""
    if said[:1] not in (b"[", b"{"):
        return [json.loads(line[6:]) for line in said.splitlines() if line.startswith(b"data: ")]
    found: list[dict[str, Any]] = json.loads(said if said[:1] == b"[" else b"[%b]" % said)
    return found
