"""Forms with files over a real server, read by another parser, and operations that have a server of their own."""

import base64
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import InvalidRequest
from tests.adapters.openapi.documents import TEXT, call, document, operation, read, service
from tests.fakes_upstreams import Exchange, raw_server

pytestmark = pytest.mark.anyio
BYTES = bytes(range(256)) + b"\r\n--"
FILE = base64.b64encode(BYTES).decode()
GIVEN = {
    "description": "A file in base64, alone or with its name.",
    "anyOf": [
        {"type": "string", "contentEncoding": "base64"},
        {
            "type": "object",
            "properties": {
                "data": {"type": "string", "contentEncoding": "base64"},
                "filename": TEXT,
                "media_type": TEXT,
            },
            "required": ["data"],
            "additionalProperties": False,
        },
    ],
}


def form(**members: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": members, "required": ["title"]}
    media = {"schema": {"$ref": "#/components/schemas/Form"}, "encoding": {"photo": {"contentType": "image/png"}}}
    return document(
        {"/upload": {"post": operation(operationId="upload", requestBody={"content": {"multipart/form-data": media}})}},
        components={"schemas": {"Form": schema, "Blob": {"type": "string", "format": "binary"}}},
    )


BINARY = {"type": "string", "format": "binary"}
MEMBERS: dict[str, Any] = {
    "title": TEXT,
    "about": {"type": "object"},
    "photo": {"$ref": "#/components/schemas/Blob"},
    "more": {"type": "array", "items": {"type": "string", "contentMediaType": "application/octet-stream"}},
}


def parts_of(exchange: Exchange) -> list[tuple[str | None, str | None, str, bytes]]:
    """Name, file name, media type and bytes of each part."""
    message = message_from_bytes(b"content-type: " + exchange.headers[b"content-type"] + b"\r\n\r\n" + exchange.body)
    found: list[tuple[str | None, str | None, str, bytes]] = []
    for part in message.walk():
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            name = part.get_param("name", header="content-disposition")
            found.append((str(name), part.get_filename(), part.get_content_type(), payload))
    return found


async def test_files_are_given_in_base64_and_sent_as_they_are(tmp_path: Path) -> None:
    async with (
        raw_server(lambda exchange: exchange.answer(b"{}")) as server,
        service(tmp_path, form(**MEMBERS), base_url=f"http://127.0.0.1:{server.port}") as crm,
    ):
        (tool,) = (await crm.capabilities()).capabilities
        named = {"data": FILE, "filename": 'a "b".pdf'}
        await call(crm, "upload", {"body": {"title": "t", "about": {"a": 1}, "photo": FILE, "more": [named, FILE]}})
    schema: Any = tool.input_schema
    assert schema["properties"]["body"] == {
        "type": "object",
        "properties": {
            "title": TEXT,
            "about": {"type": "object"},
            "photo": GIVEN,
            "more": {"type": "array", "items": GIVEN},
        },
        "required": ["title"],
    }
    assert parts_of(server.exchanges[0]) == [
        ("title", None, "text/plain", b"t"),
        ("about", None, "application/json", b'{"a":1}'),
        ("photo", "photo", "image/png", BYTES),
        ("more", "a %22b%22.pdf", "application/pdf", BYTES),
        ("more", "more", "application/octet-stream", BYTES),
    ]


@pytest.mark.parametrize(
    "photo",
    [
        "no base64!",
        7,
        {"filename": "x"},
        {"data": FILE, "media_type": "a/b\r\nx: y"},
        {"data": FILE, "filename": "x" * 300},
    ],
)
async def test_what_is_no_file_is_never_sent(tmp_path: Path, photo: Any) -> None:
    async with (
        raw_server(None) as server,
        service(tmp_path, form(**MEMBERS), base_url=f"http://127.0.0.1:{server.port}") as crm,
    ):
        with pytest.raises(InvalidRequest) as refused:
            await call(crm, "upload", {"body": {"title": "t", "photo": photo}})
    assert "body.photo" in refused.value.message
    assert server.exchanges == []


def test_a_form_without_files_stays_as_its_document_has_it() -> None:
    item = operation(requestBody={"content": {"multipart/form-data": {"schema": {"properties": {"a": TEXT}}}}})
    (tool,) = read({"/a": {"post": item}}).found.values()
    schema: Any = tool.definition["inputSchema"]
    assert schema["properties"]["body"] == {"properties": {"a": TEXT}}


async def test_an_operation_is_served_where_its_own_server_says_on_the_same_host_only(tmp_path: Path) -> None:
    async with raw_server(lambda exchange: exchange.answer(b"{}")) as server:
        host = f"http://127.0.0.1:{server.port}"
        paths: dict[str, Any] = {
            "/a": {"get": operation(operationId="own", servers=[{"url": f"{host}/v3"}])},
            "/b": {
                "servers": [{"url": "/v4/{r}", "variables": {"r": {"default": "eu"}}}],
                "get": operation(operationId="all"),
            },
            "/c": {"get": operation(operationId="usual")},
            "/d": {"get": operation(operationId="other", servers=[{"url": "https://files.example.com/v3"}])},
            "/e": {"servers": [{"url": "http://127.0.0.1:1/"}], "get": operation(operationId="port")},
        }
        async with service(tmp_path, document(paths), base_url=f"{host}/v2") as crm:
            listing = await crm.capabilities()
            for name in ("own", "all", "usual"):
                await call(crm, name)
    assert [each.target for each in server.exchanges] == [b"/v3/a", b"/v4/eu/b", b"/v2/c"]
    assert [each.local for each in listing.capabilities] == ["own", "all", "usual"]
    assert listing.about["dropped_count"] == 2
    assert "served at another host" in str(listing.about["dropped"])
    assert "example.com" not in str(listing.about["dropped"])
