"""A service that has only an OpenAPI document, used by an MCP client through a real gateway."""

import json
from collections.abc import Generator
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from tests.e2e.conftest import Serve
from tests.e2e.gateways import Caller, Gateway, operator, text_of
from tests.fakes_upstreams import Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio

DOCUMENT = """
openapi: 3.0.3
info: {title: CRM, version: 2021-01-01}
security: [{key: []}]
components:
  securitySchemes: {key: {type: apiKey, in: header, name: X-Key}}
  schemas:
    Ticket:
      type: object
      properties: {title: {type: string}, parent: {$ref: "#/components/schemas/Ticket"}}
      required: [title]
paths:
  /tickets/{id}:
    get:
      operationId: getTicket
      summary: Shows a ticket
      parameters:
        - {name: id, in: path, required: true, schema: {type: integer, nullable: true}}
        - {name: fields, in: query, explode: false, schema: {type: array, items: {type: string}}}
      responses: {200: {description: ok}}
  /tickets:
    post:
      operationId: addTicket
      requestBody: {required: true, content: {application/json: {schema: {$ref: "#/components/schemas/Ticket"}}}}
      responses: {201: {description: ok}}
    put: {parameters: [{$ref: "other.yaml#/limit"}], responses: {200: {description: ok}}}
    delete: {operationId: dropTickets, tags: [admin], responses: {204: {description: ok}}}
"""


def behave(exchange: Exchange) -> None:
    if exchange.headers.get(b"x-key") != b"s3cret":
        exchange.answer(b'{"error":"no key"}', status=401)
    elif exchange.method == b"POST":
        exchange.answer(b'{"error":"title is taken"}', status=409)
    else:
        exchange.answer(json.dumps({"target": exchange.target.decode()}).encode())


@pytest.fixture(scope="module")
def crm(portal: BlockingPortal) -> Generator[RawServer]:
    with portal.wrap_async_context_manager(raw_server(behave)) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(serve: Serve, crm: RawServer, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    path = tmp_path_factory.mktemp("crm") / "crm.yaml"
    path.write_text(DOCUMENT)
    server: dict[str, Any] = {
        "openapi": str(path),
        "base_url": f"http://127.0.0.1:{crm.port}/api",
        "credentials": {"key": "env:CRM_SECRET"},
        "exclude": ["tag:admin"],
        "safe_reads": True,
        "tools": {"addTicket": {"idempotency": "header:Idempotency-Key"}},
    }
    roles = {
        "all": {"allow": ["*"]},
        "few": {"allow": [{"call": "tool:crm/getTicket", "when": "args.id <= 10"}]},
    }
    people = {"ana": {"roles": ["all"], "key": "env:ANA_KEY"}, "ben": {"roles": ["few"], "key": "env:BEN_KEY"}}
    configuration = {
        "servers": {"crm": server},
        "roles": roles,
        "principals": people,
        "sets": {"lean": {"search": True}},
    }
    return serve(configuration, CRM_SECRET="s3cret")


async def test_operations_are_tools_that_are_judged_called_and_recorded(gateway: Gateway, crm: RawServer) -> None:
    async with Caller(gateway, "ana") as ana, Caller(gateway, "ben") as ben, operator(gateway) as olga:
        listed = (await ana.modern("tools/list", {})).json()["result"]["tools"]
        assert [each["name"] for each in listed] == ["crm__addTicket", "crm__getTicket"]
        add, get = listed
        assert add["inputSchema"]["properties"]["body"] == {"$ref": "#/$defs/Ticket"}
        assert add["inputSchema"]["$defs"]["Ticket"]["properties"]["parent"] == {"$ref": "#/$defs/Ticket"}
        assert get["annotations"]["readOnlyHint"] is True
        assert get["inputSchema"]["properties"]["id"] == {"type": ["integer", "null"]}

        shown = await ana.call("crm__getTicket", id=7, fields=["a", "b"])
        assert shown["result"]["structuredContent"] == {"target": "/api/tickets/7?fields=a,b"}
        refused = await ben.call("crm__getTicket", id=70)
        assert "few.allow[0]" in text_of(refused) or "DENIED_BY_POLICY" in text_of(refused)
        failed = await ana.call("crm__addTicket", meta={"drawbridge/idempotency-key": "k1"}, body={"title": "x"})
        assert failed["result"]["isError"] is True
        assert text_of(failed) == 'HTTP status 409: {"error":"title is taken"}'
        wrong = await ana.call("crm__getTicket", id=7, other=1)
        assert "There is no argument other" in text_of(wrong)
        (record,) = await olga.records(call="tool:crm/addTicket", outcome="error")
        assert record["capability"] == "tool:crm/addTicket"
    found = gateway.drawbridge("doctor").stdout
    left_out = "other.yaml#/limit cannot be followed: other.yaml cannot be read"
    assert f"server crm: tool PUT /tickets is left out: {left_out}" in found
    assert [each.method for each in crm.exchanges] == [b"GET", b"POST"]
    assert crm.exchanges[1].headers[b"idempotency-key"]
    assert "s3cret" not in gateway.log_tail()


async def test_its_operations_are_found_and_called_by_search(gateway: Gateway) -> None:
    async with Caller(gateway, "ana") as ana:
        body = {"name": "search", "arguments": {"query": "show ticket"}}
        found = (await ana.modern("tools/call", body, path="/mcp/sets/lean")).json()
        assert json.loads(text_of(found))["tools"][0]["name"] == "crm__getTicket"
        call = {"name": "call", "arguments": {"name": "crm__getTicket", "arguments": {"id": 8}}}
        said = (await ana.modern("tools/call", call, path="/mcp/sets/lean")).json()
        assert said["result"]["structuredContent"] == {"target": "/api/tickets/8"}
