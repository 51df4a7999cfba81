"""The outermost layer: which door, which Host, which Origin, and what a door never gets to see."""

from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from adapters.http.server import Health, Message, Receive, Scope, Send, Server, hosts_from, respond
from adapters.http.settings import ListenSettings
from adapters.identity.headers import is_identity_header

pytestmark = pytest.mark.anyio
SOUND = {"gaps": 0, "breakers": 0, "conflicts": 0, "configuration": "in force"}


class Recorder:
    """A door that remembers what it was shown, and answers with its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[Scope] = []
        self.failure: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope)
        if self.failure is not None:
            raise self.failure
        await respond(send, 200, {"door": self.name})


class Listening:
    """A server with three doors, asked in memory."""

    def __init__(self, settings: ListenSettings | None = None) -> None:
        self.mcp, self.a2a, self.api = Recorder("mcp"), Recorder("a2a"), Recorder("api")
        self.health = Health()
        self.server = Server(
            mcp=self.mcp,
            a2a=self.a2a,
            api=self.api,
            hosts=hosts_from(settings or ListenSettings(), 8640),
            health=self.health,
            stripped=is_identity_header,
        )

    async def ask(
        self, path: str, headers: Iterable[tuple[bytes, bytes]] = (), *, host: bytes = b"127.0.0.1:8640"
    ) -> tuple[int, Any]:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        async def send(message: Message) -> None:
            sent.append(message)

        scope: Scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", host), *headers]}
        await self.server(scope, receive, send)
        return sent[0]["status"], orjson.loads(sent[1]["body"])


@pytest.mark.parametrize(
    ("path", "door"), [("/mcp", "mcp"), ("/mcp/orders", "mcp"), ("/agents/help", "a2a"), ("/api/v1/status", "api")]
)
async def test_each_path_leads_to_its_door(path: str, door: str) -> None:
    assert await Listening().ask(path) == (200, {"door": door})


async def test_a_path_without_a_door_says_where_the_doors_are() -> None:
    status, body = await Listening().ask("/nothing")
    assert status == 404
    assert "/mcp" in body["error"]["message"]


@pytest.mark.parametrize(
    ("name", "value"),
    [(b"host", b"127.0.0.1:8640"), (b"host", b"evil.example"), (b"authorization", b"Bearer x"), (b"origin", b"")],
)
async def test_a_header_that_decides_and_comes_twice_reaches_no_door(name: bytes, value: bytes) -> None:
    """RFC 9112, section 3.2, for Host: another reader may have gone by the other copy."""
    listening = Listening()
    usual = [(b"authorization", b"Bearer a"), (b"origin", b"http://127.0.0.1:8640")]
    status, _ = await listening.ask("/mcp", [*usual, (name, value)])
    assert (status, listening.mcp.seen) == (400, [])


@pytest.mark.parametrize("host", [b"evil.example", b"127.0.0.1:80", b"", b"127.0.0.1:8640.evil.example"])
async def test_a_host_it_does_not_answer_to_reaches_no_door(host: bytes) -> None:
    listening = Listening()
    status, _ = await listening.ask("/mcp", host=host)
    assert (status, listening.mcp.seen) == (421, [])


@pytest.mark.parametrize("host", [b"127.0.0.1:8640", b"LOCALHOST:8640", b"[::1]:8640"])
async def test_loopback_answers_to_all_its_names(host: bytes) -> None:
    assert (await Listening().ask("/mcp", host=host))[0] == 200


async def test_a_foreign_origin_reaches_no_door_and_an_allowed_one_does() -> None:
    listening = Listening(ListenSettings(allowed_origins=("http://localhost:6274",)))
    assert (await listening.ask("/mcp", [(b"origin", b"http://evil.example")]))[0] == 403
    assert listening.mcp.seen == []
    assert (await listening.ask("/mcp", [(b"origin", b"http://localhost:6274")]))[0] == 200


async def test_the_public_url_is_answered_to() -> None:
    settings = ListenSettings(host="0.0.0.0", public_url="https://gateway.example.com/", allowed_hosts=("inner:8640",))
    listening = Listening(settings)
    assert (await listening.ask("/mcp", host=b"gateway.example.com"))[0] == 200
    assert (await listening.ask("/mcp", host=b"inner:8640"))[0] == 200
    assert (await listening.ask("/mcp", host=b"localhost"))[0] == 421
    assert settings.public_url == "https://gateway.example.com"


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
async def test_who_listens_everywhere_answers_the_probes_of_its_own_machine(address: str) -> None:
    """The health check of a container asks by 127.0.0.1, whatever the container listens on."""
    listening = Listening(ListenSettings(host=address))
    assert await listening.ask("/healthz", host=b"127.0.0.1:8640") == (200, {"status": "ok"})
    assert (await listening.ask("/healthz", host=b"evil.example:8640"))[0] == 421


async def test_headers_that_claim_an_identity_never_reach_a_door() -> None:
    listening = Listening()
    await listening.ask("/mcp", [(b"x-forwarded-user", b"root"), (b"x-request-id", b"1"), (b"accept", b"*/*")])
    names = [name for name, _ in listening.mcp.seen[0]["headers"]]
    assert names == [b"host", b"x-request-id", b"accept"]


async def test_probes_tell_alive_from_ready() -> None:
    listening = Listening()
    assert await listening.ask("/healthz") == (200, {"status": "ok"})
    assert await listening.ask("/readyz") == (503, {"status": "starting", **SOUND})
    listening.health.ready = True
    assert await listening.ask("/readyz") == (200, {"status": "ready", **SOUND})
    listening.health.stopping = True
    assert await listening.ask("/readyz") == (503, {"status": "stopping", **SOUND})


async def test_what_cannot_be_offered_is_told_and_keeps_nobody_from_being_ready() -> None:
    listening = Listening()
    listening.health.ready = True
    listening.health.conflicts = lambda: 2
    assert await listening.ask("/readyz") == (200, {"status": "ready", **SOUND, "conflicts": 2})


async def test_a_refused_configuration_is_told_and_keeps_nobody_from_being_ready() -> None:
    listening = Listening()
    listening.health.ready, listening.health.refuses = True, lambda: True
    assert await listening.ask("/readyz") == (200, {"status": "ready", **SOUND, "configuration": "refused"})


async def test_nobody_is_sent_to_a_gateway_whose_storage_does_not_answer() -> None:
    listening = Listening()
    listening.health.ready, listening.health.storage_answers = True, lambda: False
    status, said = await listening.ask("/readyz")
    assert (status, said["status"]) == (503, "the storage does not answer")
    assert (await listening.ask("/healthz"))[0] == 200
    listening.health.storage_answers = lambda: True
    assert (await listening.ask("/readyz"))[0] == 200


async def test_a_doors_own_failure_is_left_to_break_the_connection() -> None:
    listening = Listening()
    listening.mcp.failure = RuntimeError("bug")
    with pytest.raises(RuntimeError):
        await listening.ask("/mcp")


async def test_a_websocket_is_closed_and_anything_else_ignored() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {}

    await Listening().server({"type": "websocket"}, receive, send)
    await Listening().server({"type": "lifespan"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_a_public_url_has_to_be_one() -> None:
    with pytest.raises(ValueError, match="https://"):
        ListenSettings(public_url="gateway.example.com")
