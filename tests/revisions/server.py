"""MCP servers that speak one revision each, and hold whoever calls them to it; one of 2024-11-05 over HTTP+SSE as well.

Made of bare ASGI: what a library would forgive is what these are to notice.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any

import anyio
from anyio.abc import TaskGroup
from starlette.types import Receive, Scope, Send

from tests.revisions.contents import (
    MODERN,
    PROMPTS,
    READ,
    RESOURCES,
    SAMPLING,
    SKILLS,
    VERSIONS,
    capabilities,
    prompt_result,
    tool_result,
    tools,
)

Message = dict[str, Any]
Say = Callable[[Message], Awaitable[None]]
META = "io.modelcontextprotocol/"
HEADER_SINCE = "2025-06-18"
"""Since when each request after the first names the revision in a header."""
NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
WITHIN_S = 120


class Refused(Exception):
    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"code": code, "message": message}


class RevisionServer:
    """A server of one revision, at a path of its own."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.complaints: list[str] = []
        """What was not as its revision has it."""
        self.sessions: dict[str, Message] = {}
        """By id, what each client declared that it can be asked for."""
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if scope["method"] == "DELETE" and self.version != MODERN:
            await _answer(send, 200, None)
        elif scope["method"] != "POST":
            await _answer(send, 405, None)
        else:
            message: Message = json.loads(await _body(receive))
            try:
                await self._post(message, headers, send)
            except Refused as refused:
                said = {"jsonrpc": "2.0", "id": message.get("id"), "error": refused.error}
                await _answer(send, refused.status, said)

    async def _post(self, message: Message, headers: Mapping[str, str], send: Send) -> None:
        declared = self._checked(message, headers)
        if "method" not in message:
            self.told(message)
        if "method" not in message or "id" not in message:
            await _answer(send, 202, None)
            return
        if not self._streams(message):
            said = _response(message, await self.result(message, declared, _mute))
            opened = [("mcp-session-id", next(reversed(self.sessions)))] if message["method"] == "initialize" else []
            await _answer(send, 200, self.framed(said), opened)
            return
        stream = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": stream})

        async def say(said: Message) -> None:
            await send({"type": "http.response.body", "body": _event(said), "more_body": True})

        saying = self.gathering(say)
        await saying(_response(message, await self.result(message, declared, saying)))
        await send({"type": "http.response.body", "body": b""})

    def framed(self, said: Message) -> Any:
        """An answer as it goes out by itself."""
        return said

    def gathering(self, say: Say) -> Say:
        """What says something on the way to one answer, and the answer."""
        return say

    def _checked(self, message: Message, headers: Mapping[str, str]) -> Message:
        """What the client can be asked for. Raises: Refused."""
        named = headers.get("mcp-protocol-version")
        if self.version == MODERN:
            return self._checked_modern(message, headers)
        if named == MODERN:
            raise Refused(400, -32600, "Bad Request: no such protocol version, and no session")
        self.check(message)
        if message.get("method") == "initialize":
            return {}
        session = headers.get("mcp-session-id", "")
        if session not in self.sessions:
            raise Refused(400, -32600, "Bad Request: no session")
        if self.version >= HEADER_SINCE and named != self.version:
            self.complaints.append(f"{message.get('method')} came under the protocol version {named}")
        return self.sessions[session]

    def _checked_modern(self, message: Message, headers: Mapping[str, str]) -> Message:
        meta = _meta(_params(message))
        if headers.get("mcp-protocol-version") != MODERN or meta.get(f"{META}protocolVersion") != MODERN:
            raise Refused(400, -32022, "Unsupported protocol version")
        method = message.get("method", "")
        wanted = {"mcp-method": method}
        if method in NAMED_BY:
            wanted["mcp-name"] = message["params"][NAMED_BY[method]]
        if any(headers.get(name) != value for name, value in wanted.items()):
            raise Refused(400, -32020, "Header mismatch")
        if f"{META}clientCapabilities" not in meta:
            raise Refused(400, -32602, "No capabilities")
        if "mcp-session-id" in headers:
            self.complaints.append(f"{method} came in a session")
        if "id" in message and method not in (*RESULTS, "server/discover", "tools/call"):
            raise Refused(404, -32601, "Method not found")
        declared: Message = meta[f"{META}clientCapabilities"]
        return declared

    def check(self, message: Message) -> None:
        """Whether a client of before 2026 would say this."""
        params = _params(message)
        ours = sorted(key for key in _meta(params) if key.startswith(META))
        later = sorted({"inputResponses", "requestState"} & params.keys())
        if ours or later:
            self.complaints.append(f"{message.get('method')} came with {', '.join((*ours, *later))}")

    def told(self, message: Message) -> None:
        """The client answers what it was asked."""
        waiting = self._waiting.pop(str(message.get("id")), None)
        if waiting is None:
            self.complaints.append("an answer came that nobody asked for")
        elif not waiting.done():
            waiting.set_result(message.get("result") or message.get("error"))

    async def result(self, message: Message, declared: Message, say: Say) -> Message:
        """The result of a request. Raises: Refused."""
        method, params = message["method"], _params(message)
        if method == "initialize":
            return self._greeting(params)
        if method == "server/discover":
            versions = {"supportedVersions": [MODERN], "capabilities": capabilities(self.version)}
            return {"resultType": "complete", "ttlMs": 1000, "cacheScope": "public", **versions}
        if method == "tools/call":
            called = await self._called(params, declared, say)
            return called if self.version != MODERN else {"resultType": "complete", **called}
        if method not in RESULTS:
            raise Refused(200, -32601, f"Method not found: {method}")
        found = RESULTS[method](self.version)
        if self.version != MODERN:
            return found
        fresh = {} if method in ("prompts/get", "skills/list") else {"ttlMs": 1000, "cacheScope": "public"}
        return {"resultType": "complete", **fresh, **found}

    def _greeting(self, params: Message) -> Message:
        if not (isinstance(params.get("protocolVersion"), str) and {"name", "version"} <= params["clientInfo"].keys()):
            self.complaints.append("initialize came without a version or a name")
        self.sessions[f"s-{self.version}-{next(self._numbers)}"] = params["capabilities"]
        info = {"name": f"server-{self.version}", "version": "1"}
        return {"protocolVersion": self.version, "capabilities": capabilities(self.version), "serverInfo": info}

    async def _called(self, params: Message, declared: Message, say: Say) -> Message:
        if params["name"] == "ask":
            return await self._asking(params, declared, say)
        token = params.get("_meta", {}).get("progressToken")
        for step in (1, 2) if token is not None else ():
            told: Message = {"progressToken": token, "progress": step, "total": 2}
            if self.version >= "2025-03-26":
                told["message"] = f"step {step}"
            await say({"jsonrpc": "2.0", "method": "notifications/progress", "params": told})
        return tool_result(self.version)

    async def _asking(self, params: Message, declared: Message, say: Say) -> Message:
        if "sampling" not in declared:
            raise Refused(400 if self.version == MODERN else 200, -32021, "This client cannot be asked")
        if self.version == MODERN:
            answer = params.get("inputResponses", {}).get("capital")
            if answer is None:
                asked = {"capital": {"method": "sampling/createMessage", "params": SAMPLING}}
                return {"resultType": "input_required", "inputRequests": asked, "requestState": "asked"}
            if params.get("requestState") != "asked":
                self.complaints.append("the state did not come back as it was given")
        else:
            number = f"q{next(self._numbers)}"
            self._waiting[number] = asyncio.get_running_loop().create_future()
            question = {"jsonrpc": "2.0", "id": number, "method": "sampling/createMessage", "params": SAMPLING}
            waiting = self._waiting[number]
            await say(question)
            answer = await asyncio.wait_for(waiting, WITHIN_S)
        return {"content": [{"type": "text", "text": f"The model says {answer['content']['text']}."}]}

    def _streams(self, message: Message) -> bool:
        if message["method"] == "tools/call" and self.version != MODERN:
            return True
        return "progressToken" in _meta(_params(message))


class OlderTransport(RevisionServer):
    """HTTP+SSE (2024-11-05): every answer comes by the one stream of the session."""

    def __init__(self) -> None:
        super().__init__(VERSIONS[0])
        self._open: dict[str, tuple[TaskGroup, Say]] = {}
        """By session, whose stream it is and what says something by it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = scope["query_string"].decode()
        if scope["method"] == "GET":
            await self._stream(scope["path"], receive, send)
        elif session not in self._open:
            await _answer(send, 405, None)
        else:
            message: Message = json.loads(await _body(receive))
            self.check(message)
            if "method" not in message:
                self.told(message)
            elif "id" in message:
                group, say = self._open[session]
                group.start_soon(self._reply, session, message, say)
            await _answer(send, 202, None)

    async def _stream(self, path: str, receive: Receive, send: Send) -> None:
        session = f"session=older-{next(self._numbers)}"

        async def say(said: Message) -> None:
            await send({"type": "http.response.body", "body": _event(said), "more_body": True})

        stream = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": stream})
        first = f"event: endpoint\ndata: {path}?{session}\n\n".encode()
        async with anyio.create_task_group() as group:
            self._open[session] = group, say
            await send({"type": "http.response.body", "body": first, "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass
            del self._open[session]
            group.cancel_scope.cancel()

    async def _reply(self, session: str, message: Message, say: Say) -> None:
        if message["method"] == "initialize":
            self.sessions[session] = message["params"]["capabilities"]
        try:
            say = self.gathering(say)
            await say(_response(message, await self.result(message, self.sessions.get(session, {}), say)))
        except Refused as refused:
            await say({"jsonrpc": "2.0", "id": message["id"], "error": refused.error})


class Servers:
    """All of them, by path: `/2025-03-26`, and `/older` for HTTP+SSE; `more` too. An ASGI application."""

    def __init__(self, **more: RevisionServer) -> None:
        self.by_name: dict[str, RevisionServer] = {f"v{each}": RevisionServer(each) for each in VERSIONS}
        self.by_name |= {"older": OlderTransport(), **more}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.by_name[scope["path"].strip("/")](scope, receive, send)


RESULTS: dict[str, Callable[[str], Message]] = {
    "ping": lambda version: {},
    "tools/list": lambda version: {"tools": tools(version)},
    "prompts/list": lambda version: {"prompts": PROMPTS},
    "resources/list": lambda version: {"resources": RESOURCES},
    "resources/templates/list": lambda version: {"resourceTemplates": []},
    "prompts/get": prompt_result,
    "skills/list": lambda version: SKILLS,
    "resources/read": lambda version: READ,
}


def _params(message: Message) -> Message:
    params: Message = message.get("params") or {}
    return params


def _meta(params: Message) -> Message:
    meta: Message = params.get("_meta") or {}
    return meta


async def _mute(said: Message) -> None:
    raise AssertionError("nothing is said before the answer")


def _response(message: Message, result: Message) -> Message:
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _event(said: Message) -> bytes:
    return b"event: message\ndata: %b\n\n" % json.dumps(said).encode()


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def _answer(send: Send, status: int, said: Any, more: list[tuple[str, str]] | None = None) -> None:
    body = b"" if said is None else json.dumps(said).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    headers += [(b"content-type", b"application/json")] if said is not None else []
    headers += [(name.encode(), value.encode()) for name, value in more or ()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
