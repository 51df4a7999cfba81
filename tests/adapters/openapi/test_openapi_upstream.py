"""Calls of an OpenAPI service over real sockets: what is sent, what comes of the answers, and who may be asked."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from adapters.openapi.settings import OperationSettings
from gateway.core.content import Content
from gateway.core.errors import DeadlineExceeded, Denied, InvalidRequest, Unavailable, UpstreamFailed
from gateway.core.labels import CLEAN
from gateway.core.limits import Limits
from gateway.core.model import Complete
from tests.adapters.openapi.documents import call, document, operation, parameter, service
from tests.fakes_oauth import CallersTokens
from tests.fakes_upstreams import Behave, Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio

SCHEMES = {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}}
PATHS: dict[str, Any] = {
    "/pets/{id}": {
        "get": operation(parameter("id", "path"), parameter("verbose"), operationId="getPet"),
        "delete": operation(parameter("id", "path"), operationId="dropPet"),
    },
    "/pets": {
        "post": operation(
            operationId="addPet",
            security=[{"bearer": []}],
            requestBody={"content": {"application/json": {"schema": {"type": "object"}}}, "required": True},
        ),
        "head": operation(operationId="countPets"),
    },
}
DOCUMENT = document(PATHS, components=SCHEMES)


def base(server: RawServer) -> str:
    return f"http://127.0.0.1:{server.port}/v2"


def answering(body: bytes, **how: Any) -> Behave:
    def answer(exchange: Exchange) -> None:
        exchange.answer(body, **how)

    return answer


def content(result: Complete) -> Content:
    return result.body.content()


async def test_a_call_is_one_request_and_its_answer_a_value(tmp_path: Path) -> None:
    async with (
        raw_server(answering(b'{"name":"Rex"}')) as server,
        service(tmp_path, DOCUMENT, base_url=base(server), headers={"X-Team": "crm"}) as crm,
    ):
        result = await call(crm, "getPet", {"id": "a/7", "verbose": "yes"})
    (sent,) = server.exchanges
    assert (sent.method, sent.target, sent.body) == (b"GET", b"/v2/pets/a%2F7?verbose=yes", b"")
    assert (sent.headers[b"x-team"], sent.headers[b"traceparent"][:2]) == (b"crm", b"00")
    assert b"authorization" not in sent.headers
    assert content(result).structured == {"name": "Rex"}
    assert content(result).text == '{"name":"Rex"}'
    assert result.is_error is False
    assert result.labels.untrusted == {"server:crm"}


async def test_credentials_are_resolved_and_sent_where_the_operation_asks_for_them(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"credentials": {"bearer": "env:TOKEN"}, "trusted": True}
    async with (
        raw_server(answering(b"[1]")) as server,
        service(tmp_path, DOCUMENT, base_url=base(server), **settings) as crm,
    ):
        added = await call(crm, "addPet", {"body": {"name": "Rex"}})
        await call(crm, "getPet", {"id": "1"})
    post, get = server.exchanges
    assert (post.headers[b"authorization"], post.body) == (b"Bearer t0ken", b'{"name":"Rex"}')
    assert b"authorization" not in get.headers
    assert content(added).structured == [1]
    assert added.labels == CLEAN


async def test_what_a_missing_secret_is_called_is_for_operators_alone(tmp_path: Path) -> None:
    missing = {"bearer": "env:MISSING"}
    async with (
        raw_server(None) as server,
        service(tmp_path, DOCUMENT, base_url=base(server), credentials=missing) as crm,
    ):
        with pytest.raises(Unavailable) as failed:
            await crm.capabilities()
    assert "MISSING" not in json.dumps(failed.value.describe())
    assert "MISSING" in failed.value.for_operators


async def test_without_a_credential_nothing_is_sent(tmp_path: Path) -> None:
    async with raw_server(None) as server, service(tmp_path, DOCUMENT, base_url=base(server)) as crm:
        with pytest.raises(UpstreamFailed) as refused:
            await call(crm, "addPet", {"body": {}})
    assert "servers.crm.credentials" in refused.value.message
    assert server.exchanges == []


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500])
async def test_a_status_that_is_no_success_is_an_error_of_the_tool_with_its_body(tmp_path: Path, status: int) -> None:
    body = json.dumps({"detail": "no such pet"}).encode()
    async with (
        raw_server(answering(body, status=status)) as server,
        service(tmp_path, DOCUMENT, base_url=base(server)) as crm,
    ):
        result = await call(crm, "getPet", {"id": "1"})
    assert result.is_error is True
    assert content(result).text == f"HTTP status {status}: {body.decode()}"
    assert content(result).metadata == {"status": status}


@pytest.mark.parametrize(
    ("how", "body", "said"),
    [
        ({"status": 400}, b"x" * 20_000, "… (20000 bytes in all)"),
        ({"status": 500, "content_type": "image/png"}, b"\x89PNG", "HTTP status 500: 4 bytes"),
        ({"status": 404}, b"", "HTTP status 404: without a body"),
        ({"status": 302, "more": "location: http://169.254.169.254/\r\n"}, b"", "which is not followed"),
    ],
)
async def test_errors_are_told_within_bounds(tmp_path: Path, how: Any, body: bytes, said: str) -> None:
    how = {"content_type": "text/plain", **how}
    async with (
        raw_server(answering(body, **how)) as server,
        service(tmp_path, DOCUMENT, base_url=base(server)) as crm,
    ):
        text = content(await call(crm, "getPet", {"id": "1"})).text
    assert said in text
    assert len(text) < 9000
    assert len(server.exchanges) == 1


@pytest.mark.parametrize(("status", "after", "expected"), [(429, "7", 7.0), (503, "soon", None)])
async def test_a_busy_service_is_unavailable_for_a_while(
    tmp_path: Path, status: int, after: str, expected: float | None
) -> None:
    async with (
        raw_server(answering(b"", status=status, more=f"retry-after: {after}\r\n")) as server,
        service(tmp_path, DOCUMENT, base_url=base(server)) as crm,
    ):
        with pytest.raises(Unavailable) as refused:
            await call(crm, "getPet", {"id": "1"})
    assert refused.value.retry_after_s == expected


@pytest.mark.parametrize(
    ("content_type", "body", "kind", "value"),
    [
        ("text/html; charset=utf-8", b"<p>", "text", "<p>"),
        ("application/json", b"{broken", "text", "{broken"),
        ("application/problem+json", b'"x"', "text", '"x"'),
        ("image/png", b"\x00\x01", "raw", "AAE="),
        ("application/json", b"", "text", "HTTP status 200, without a body"),
    ],
)
async def test_answers_of_any_type_are_carried(
    tmp_path: Path, content_type: str, body: bytes, kind: str, value: str
) -> None:
    async with (
        raw_server(answering(body, content_type=content_type)) as server,
        service(tmp_path, DOCUMENT, base_url=base(server)) as crm,
    ):
        (part,) = content(await call(crm, "getPet", {"id": "1"})).parts
    assert (part.kind, part.raw if kind == "raw" else part.text) == (kind, value)


async def test_an_answer_beyond_the_limit_is_cut_off_and_named(tmp_path: Path) -> None:
    async with (
        raw_server(answering(b"x" * 5000, content_type="text/plain")) as server,
        service(tmp_path, DOCUMENT, base_url=base(server), limits=Limits(result_bytes=1000)) as crm,
    ):
        with pytest.raises(UpstreamFailed) as refused:
            await call(crm, "getPet", {"id": "1"})
    assert "more than 1000 bytes" in refused.value.message


async def test_head_has_no_body_to_wait_for(tmp_path: Path) -> None:
    def head(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: 700\r\ncontent-type: application/json\r\n\r\n")

    async with raw_server(head) as server, service(tmp_path, DOCUMENT, base_url=base(server)) as crm:
        with anyio.fail_after(30):
            result = await call(crm, "countPets")
            again = await call(crm, "countPets")
    assert content(result).text == content(again).text == "HTTP status 200, without a body"


async def test_a_service_that_does_not_answer_in_time_is_given_up(tmp_path: Path) -> None:
    # Long enough to be connected.
    async with raw_server(None) as server, service(tmp_path, DOCUMENT, base_url=base(server), timeout_s=2) as crm:
        with pytest.raises(DeadlineExceeded):
            await call(crm, "getPet", {"id": "1"})


async def test_a_connection_is_used_again_and_the_idempotency_key_goes_along(tmp_path: Path) -> None:
    from_key: dict[str, dict[str, Any]] = {
        "addPet": {"idempotency": "header:Idempotency-Key"},
        "dropPet": {"idempotency": "argument:id"},
    }
    async with (
        raw_server(answering(b"{}")) as server,
        service(
            tmp_path,
            DOCUMENT,
            base_url=base(server),
            credentials={"bearer": "literal"},
            operations={name: OperationSettings(**each) for name, each in from_key.items()},
        ) as crm,
    ):
        await call(crm, "addPet", {"body": {}}, key="k1")
        await call(crm, "dropPet", key="k2")
        listing = {each.local: each for each in (await crm.capabilities()).capabilities}
    post, delete = server.exchanges
    assert post.headers[b"idempotency-key"] == b"k1"
    assert delete.target == b"/v2/pets/k2"
    assert post.connection == delete.connection
    assert {name: each.idempotency for name, each in listing.items()} == {
        "getPet": "",
        "dropPet": "argument:id",
        "addPet": "meta",
        "countPets": "",
    }


async def test_effects_are_an_operators_word(tmp_path: Path) -> None:
    found: dict[str, dict[str, str]] = {}
    ways: dict[str, dict[str, Any]] = {
        "plain": {},
        "safe": {"safe_reads": True},
        "tagged": {"tags": frozenset({"read"})},
        "one": {"operations": {"addPet": OperationSettings(tags=frozenset({"read"}))}},
    }
    for name, settings in ways.items():
        async with service(tmp_path, DOCUMENT, base_url="http://127.0.0.1:1", **settings) as crm:
            found[name] = {each.local: each.effect for each in (await crm.capabilities()).capabilities}
    assert found == {
        "plain": {"getPet": "sink", "dropPet": "sink", "addPet": "sink", "countPets": "sink"},
        "safe": {"getPet": "read", "dropPet": "sink", "addPet": "sink", "countPets": "read"},
        "tagged": {"getPet": "read", "dropPet": "sink", "addPet": "read", "countPets": "read"},
        "one": {"getPet": "sink", "dropPet": "sink", "addPet": "read", "countPets": "sink"},
    }


async def test_an_address_the_document_names_is_vetted_and_one_of_the_configuration_is_not(tmp_path: Path) -> None:
    async with raw_server(answering(b"{}")) as server:
        variables = {"host": {"default": "127.0.0.1"}, "port": {"default": str(server.port)}}
        address = {"url": "http://{host}:{port}/v3", "variables": variables}
        said = document(PATHS, servers=[address], components=SCHEMES)
        async with service(tmp_path, said) as crm:
            with pytest.raises(Denied):
                await call(crm, "getPet", {"id": "1"})
        async with service(tmp_path, said, allow=("127.0.0.1",)) as crm:
            await call(crm, "getPet", {"id": "1"})
    assert [each.target for each in server.exchanges] == [b"/v3/pets/1"]


async def test_a_document_that_changes_is_read_again_and_one_that_is_gone_is_named(tmp_path: Path) -> None:
    async with service(tmp_path, DOCUMENT, base_url="http://127.0.0.1:1") as crm:
        before = await crm.capabilities()
        (tmp_path / "crm.json").write_text(json.dumps(document({"/a": {"get": operation()}, "/b": {"get": 7}})))
        after = await crm.capabilities()
        (tmp_path / "crm.json").unlink()
        with pytest.raises(InvalidRequest):
            await crm.capabilities()
    assert len(before.capabilities) == 4
    assert [each.name for each in after.capabilities] == ["tool:crm/get_a"]
    assert after.about["serverInfo"] == {"name": "CRM", "version": "2"}


async def test_a_document_without_a_server_needs_an_address(tmp_path: Path) -> None:
    async with service(tmp_path, document(PATHS, servers=[{"url": "/v1"}])) as crm:
        with pytest.raises(InvalidRequest) as refused:
            await crm.capabilities()
    assert "base_url" in refused.value.message


# In callers' names


async def test_each_caller_is_shown_with_a_token_of_its_own_and_a_refused_one_is_replaced_once(tmp_path: Path) -> None:
    def door(exchange: Exchange) -> None:
        exchange.answer(b"[1]", status=401 if exchange.headers[b"authorization"] == b"Bearer first-bob" else 200)

    tokens = CallersTokens()
    async with (
        raw_server(door) as server,
        service(tmp_path, DOCUMENT, base_url=base(server), tokens=tokens) as crm,
    ):
        for credential in ("ana", "bob"):
            await call(crm, "addPet", {"body": {"name": "Rex"}}, credential=credential)
        with pytest.raises(Denied):
            await call(crm, "getPet", {"id": "1"})
    shown = [exchange.headers[b"authorization"] for exchange in server.exchanges]
    assert shown == [b"Bearer first-ana", b"Bearer first-bob", b"Bearer second-bob"]
    assert tokens.refusals == ["first-bob"]


@pytest.mark.parametrize("url", ["http://crm.test/v2", ""])
async def test_no_token_is_shown_in_clear_or_where_only_the_document_says(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidRequest):
        async with service(tmp_path, DOCUMENT, base_url=url, tokens=CallersTokens()):
            pass


async def test_what_is_said_to_one_person_is_not_remembered_for_another(tmp_path: Path) -> None:
    kept = {"getPet": OperationSettings(stale_on_error=True, tags=frozenset({"read"}))}
    async with service(tmp_path, DOCUMENT, base_url="http://crm.test", operations=kept, personal=True) as crm:
        listing = await crm.capabilities()
    (rule,) = [each.remembering for each in listing.capabilities if each.local == "getPet"]
    assert rule is not None and rule.personal
