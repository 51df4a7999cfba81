"""MCP clients that speak one revision each: what a client of it says, and no word more."""

import json
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import httpx2

from tests.revisions.contents import MODERN, SAMPLED
from tests.revisions.schemas import complaints
from tests.revisions.server import HEADER_SINCE, META, NAMED_BY

CAPABILITIES: dict[str, Any] = {"sampling": {}}
_INFO = {"name": "one-revision", "version": "1"}


class RevisionClient:
    """A client at one endpoint. What it got is in `complaints` where its revision has it otherwise."""

    def __init__(self, version: str, http: httpx2.AsyncClient, path: str) -> None:
        self.version = version
        self.complaints: list[str] = []
        self.asked: list[dict[str, Any]] = []
        """Requests of the server."""
        self.told: list[dict[str, Any]] = []
        """Its notifications."""
        self._http = http
        self._path = path
        self._session: dict[str, str] = {}
        self._numbers = count(1)

    async def begin(self) -> dict[str, Any]:
        """Greet the server, as the revision has it."""
        if self.version == MODERN:
            return await self.request("server/discover")
        params = {"protocolVersion": self.version, "capabilities": CAPABILITIES, "clientInfo": _INFO}
        result = await self.request("initialize", params)
        if self.version >= HEADER_SINCE:
            self._session["mcp-protocol-version"] = self.version
        taken = await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert taken.status_code == 202
        return result

    async def request(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of a request, held to the schema of the revision; what is asked meanwhile is answered."""
        result = await self._result(method, params or {})
        while result.get("resultType") == "input_required":
            self.asked += result["inputRequests"].values()
            answers: dict[str, Any] = {"inputResponses": dict.fromkeys(result["inputRequests"], SAMPLED)}
            if "requestState" in result:
                answers["requestState"] = result["requestState"]
            result = await self._result(method, {**(params or {}), **answers})
        self.complaints += [f"{method}: {each}" for each in complaints(method, result, self.version)]
        return result

    async def _result(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        headers = dict(self._session)
        if self.version == MODERN:
            envelope = {"protocolVersion": MODERN, "clientCapabilities": CAPABILITIES, "clientInfo": _INFO}
            meta = {**params.get("_meta", {}), **{META + name: each for name, each in envelope.items()}}
            body["params"] = {**params, "_meta": meta}
            headers |= {"mcp-protocol-version": MODERN, "mcp-method": method}
            if method in NAMED_BY:
                headers["mcp-name"] = params[NAMED_BY[method]]
        async with self._http.stream("POST", self._path, json=body, headers=headers) as response:
            if "mcp-session-id" in response.headers:
                self._session["mcp-session-id"] = response.headers["mcp-session-id"]
            async for message in _messages(response):
                if message.get("id") == number and "method" not in message:
                    assert "result" in message, message
                    result: dict[str, Any] = message["result"]
                    return result
                await self._meanwhile(message)
        raise AssertionError(f"{method} was not answered")

    async def _meanwhile(self, message: dict[str, Any]) -> None:
        if "id" not in message:
            self.told.append(message)
            return
        self.asked.append({"method": message["method"], "params": message["params"]})
        taken = await self.post({"jsonrpc": "2.0", "id": message["id"], "result": SAMPLED})
        assert taken.status_code == 202

    async def post(self, body: Any) -> httpx2.Response:
        return await self._http.post(self._path, json=body, headers=self._session)


async def _messages(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        yield json.loads(await response.aread())
        return
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
