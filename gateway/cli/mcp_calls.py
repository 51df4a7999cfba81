"""A tool of the running gateway, called as any MCP client of 2026-07-28 would call it, by whoever's key is given."""

import json

import httpx2
import orjson

from gateway import __version__
from gateway.cli.failure import UNREACHABLE, Failure
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

REVISION = "2026-07-28"
_META = "io.modelcontextprotocol/"
_TIMEOUT_S = 120.0


class Tools:
    """A client of one gateway; use it in a `with`."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._client = httpx2.Client(
            base_url=url,
            headers={
                "authorization": f"Bearer {key}",
                "accept": "application/json, text/event-stream",
                "content-type": "application/json",
                "mcp-protocol-version": REVISION,
                "mcp-method": "tools/call",
            },
            timeout=_TIMEOUT_S,
            trust_env=False,
            follow_redirects=False,
        )

    def __enter__(self) -> "Tools":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def call(self, capability: str, arguments: JsonObject) -> Json:
        """What the capability (`agent:risk`, `tool:orders/find`) answers, as data where it says any.

        Raises: Failure: it was refused, or failed.
        """
        name = tool_name(capability)
        meta: JsonObject = {
            f"{_META}protocolVersion": REVISION,
            f"{_META}clientCapabilities": {},
            f"{_META}clientInfo": {"name": "drawbridge", "version": __version__},
        }
        params: JsonObject = {"name": name, "arguments": arguments, "_meta": meta}
        body: JsonObject = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        try:
            response = self._client.post("/mcp", content=orjson.dumps(body), headers={"mcp-name": name})
        except httpx2.TransportError as error:
            raise Failure(f"the gateway at {self._url} does not answer", code=UNREACHABLE) from error
        said = _answer(response)
        error, result = json_object(said.get("error")), json_object(said.get("result"))
        if error or "result" not in said:
            raise Failure(f"{capability}: {json_text(error.get('message')) or f'status {response.status_code}'}")
        text = "\n".join(json_text(json_object(each).get("text")) for each in json_list(result.get("content")))
        if result.get("isError") is True:
            raise Failure(f"{capability} failed: {text[:400]}")
        return result["structuredContent"] if "structuredContent" in result else _data_in(text)


def tool_name(capability: str) -> str:
    """What an MCP client calls it: `agents__risk`, `workflows__help`, `orders__find`."""
    kind, _, local = capability.partition(":")
    return f"{kind}s__{local}" if kind in ("agent", "workflow") else local.replace("/", "__", 1)


def _answer(response: httpx2.Response) -> JsonObject:
    """The JSON-RPC answer, whether it came alone or as the last event of a stream."""
    text = response.text
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
        text = events[-1] if events else ""
    try:
        return json_object(json.loads(text))
    except ValueError:
        return {}


def _data_in(text: str) -> Json:
    try:
        found: Json = json.loads(text)
    except ValueError:
        return text
    return found
